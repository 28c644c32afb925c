"""What makes the tokens of an export: the visual side of a trained or of a released model.

The language model is never loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from regiontok.core.picture import Picture
from regiontok.model.config import RegionVLMConfig
from regiontok.model.eyes import RegionEyes
from regiontok.released.loading import eyes_of_vlm
from regiontok.released.server_form import ServerForm
from regiontok.settings.recipe import TokenizerSettings
from regiontok.system.checkpoint import fingerprint, locate, read_json
from regiontok.system.devices import resolve_device
from regiontok.system.errors import RegiontokError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

# a trained model's language model, alone or in the form of a LLaVA
TRAINED_FORM = ServerForm(as_lm=True)


class NotServed(RegiontokError, ValueError):
    """A server cannot give the answers of this model."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TokenSource:
    """The visual side of a model: pictures in, tokens of the language model's width out.

    Attributes:
        name: the model: a hub name or a folder.
        model_type: its `model_type`.
        width: of a token's row: e, the width of the language model; (1 + levels) e where there are
            deep-stacked levels.
        identity: everything that decides the tokens, as text: the settings, and hashes of the
            weights where a trained model keeps them.
        tokens_of: `[k width]` of each picture.
        longest: positions of the language model; None where it does not say.
        settings: what made the tokens, for people: specs, and hashes of the weights.
        form: what a server must be given beside them.
        levels: deep-stacked levels of a row behind the first.
        placeholder: the text that stands for an image in a prompt.
        image_token_id: its id; -1 if it is not known.
        vocabulary: ids of the language model; 0 if it is not known.
    """

    name: str
    model_type: str
    width: int
    identity: str
    tokens_of: Callable[[Sequence[Picture]], Sequence[Float[Tensor, "k e"]]]
    longest: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    form: ServerForm = TRAINED_FORM
    levels: int = 0
    placeholder: str = "<image>"
    image_token_id: int = -1
    vocabulary: int = 0


def open_token_source(
    name: str,
    *,
    regions: str = "",
    segmenter: str = "",
    revision: str = "",
    device: str = "cpu",
    dtype: str = "auto",
) -> TokenSource:
    """The visual side of a `RegionVLM` folder or of a released model.

    Args:
        name: a folder, or a hub name.
        regions: spec, say "merge(k=144) | sort('com')"; "" is a trained model's own, and a released
            model's own tokens.
        segmenter: spec, for regions that read masks.
        revision: branch, tag or commit of a hub name; "" is its main branch.
        device, dtype: where and in what type the model computes.

    Raises:
        ValueError: If there is no such model.
        NotServed: If vLLM takes no tokens of such a model, or would lay them at other positions.
    """
    folder = locate(name, revision or None)
    model_type = str(read_json(folder / "config.json").get("model_type"))
    specs = {"regions": regions, "segmenter": segmenter}
    if model_type == RegionVLMConfig.model_type:
        return _of_trained(name, folder, specs, device=device, dtype=dtype)
    return _of_released(name, folder, specs, revision=revision, device=device, dtype=dtype)


def _of_released(
    name: str, folder: Path, specs: Mapping[str, str], *, revision: str, device: str, dtype: str
) -> TokenSource:
    vlm = eyes_of_vlm(
        name,
        regions=specs["regions"],
        segmenter=specs["segmenter"] or None,
        revision=revision or None,
        device=device,
        dtype=dtype,
    )
    model_type, form = vlm.model.config.model_type, vlm.family.server_form
    if form is None:
        raise NotServed(
            f"{name} is a {model_type!r}, of which vLLM takes no ready-made tokens: give a LLaVA, "
            "LLaVA-NeXT, LLaVA-OneVision, InternVL, Qwen-VL, or a RegionVLM's folder"
        )
    placeholder = vlm.processor.image_token

    def tokens_of(pictures: Sequence[Picture]) -> list[Tensor]:
        prepared = vlm.prepare(list(pictures), [placeholder] * len(pictures))
        return [torch.cat([image.values, *image.deepstack], 1) for image in prepared.tokens]

    text_config = vlm.model.config.get_text_config()
    settings = {"model": name, "weights": fingerprint(folder), **specs}
    return TokenSource(
        name=name,
        model_type=model_type,
        width=text_config.hidden_size * (1 + vlm.family.deepstack_levels),
        identity=json.dumps([settings, vlm.model.config.to_json_string()]),
        tokens_of=tokens_of,
        longest=getattr(text_config, "max_position_embeddings", None),
        settings=settings,
        form=form,
        levels=vlm.family.deepstack_levels,
        placeholder=placeholder,
        image_token_id=vlm.image_token_id,
        vocabulary=text_config.vocab_size,
    )


def _of_trained(
    name: str, folder: Path, specs: Mapping[str, str], *, device: str, dtype: str
) -> TokenSource:
    check_positions(folder, name)
    eyes = RegionEyes.of_folder(folder, dtype=dtype).eval()
    torch.nn.Module.to(eyes, resolve_device(device))
    config = eyes.config
    settings = config.answering_settings
    if replaced := {key: text for key, text in specs.items() if text}:
        settings = TokenizerSettings.model_validate({**config.visual, **replaced})

    @torch.no_grad()
    def tokens_of(pictures: Sequence[Picture]) -> list[Tensor]:
        split: list[Tensor] = eyes.see(pictures, settings=settings).split()
        return split

    learned = _hash_of_learned(eyes)
    return TokenSource(
        name=name,
        model_type=config.model_type,
        width=eyes.width,
        identity=json.dumps([settings.model_dump(), config.visual_identity, learned]),
        tokens_of=tokens_of,
        longest=getattr(config.language_config, "max_position_embeddings", None),
        settings={
            "model": name,
            "weights": learned,
            "encoder_weights": config.visual_identity,
            **settings.model_dump(),
        },
        form=TRAINED_FORM,
        image_token_id=config.image_token_id,
        vocabulary=config.language_config.vocab_size,
    )


def check_positions(folder: Path, name: str) -> None:
    """Refuse a `RegionVLM` whose positions a server cannot keep.

    Args:
        folder: the model's folder.
        name: what the message calls it.

    Raises:
        NotServed: If the rows of a mask share a position: a server counts 0, 1, 2 ..., and its
            logits were off by 10.4 in a random Llama.
    """
    if read_json(folder / "config.json").get("positions") == "segment":
        raise NotServed(
            f"{name} was trained with positions='segment', and a server gives every token a "
            "position of its own: answer with `regiontok answer` or RegionVLM.generate, or train "
            "with positions='plain'"
        )


def _hash_of_learned(eyes: RegionEyes) -> str:
    """A hash of the weights that decide a trained model's visual tokens."""
    digest = hashlib.sha256()
    modules = [eyes.head, *([eyes.vision] if eyes.config.tune_encoder else [])]
    weights = [item for module in modules for item in sorted(module.state_dict().items())]
    if eyes.delimiter is not None:
        weights.append(("delimiter", eyes.delimiter.row))
    for key, value in weights:
        digest.update(key.encode() + value.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()
