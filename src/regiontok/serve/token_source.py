"""What makes the tokens of an export: the visual side of a trained or of a released model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from regiontok.core.picture import Picture
from regiontok.model.config import RegionVLMConfig
from regiontok.model.visual import embedding_width
from regiontok.model.vlm import RegionVLM
from regiontok.released.loading import from_vlm
from regiontok.settings.recipe import TokenizerSettings
from regiontok.system.checkpoint import fingerprint, locate, read_json
from regiontok.system.devices import resolve_device

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class TokenSource:
    """The visual side of a model: pictures in, tokens of the language model's width out.

    Attributes:
        name: the model: a hub name or a folder.
        model_type: its `model_type`.
        width: e, the width of the language model.
        identity: everything that decides the tokens, as text: the settings, and hashes of the
            weights where a trained model keeps them.
        tokens_of: `[k e]` of each picture.
        longest: positions of the language model; None where it does not say.
        settings: what made the tokens, for people: specs, and hashes of the weights.
    """

    name: str
    model_type: str
    width: int
    identity: str
    tokens_of: Callable[[Sequence[Picture]], Sequence[Float[Tensor, "k e"]]]
    longest: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def open_token_source(
    name: str,
    *,
    regions: str = "",
    segmenter: str = "",
    revision: str = "",
    device: str = "cpu",
    dtype: str = "auto",
) -> TokenSource:
    """The visual side of a `RegionVLM` folder or of a released LLaVA-1.5.

    Args:
        name: a folder, or a hub name.
        regions: spec, say "merge(k=144) | sort('com')"; "" is a trained model's own, and a released
            model's own tokens.
        segmenter: spec, for regions that read masks.
        revision: branch, tag or commit of a hub name; "" is its main branch.
        device, dtype: where and in what type the model computes.

    Raises:
        ValueError: If there is no such model, or a released one is no LLaVA-1.5: other models of
            vLLM want more beside their tokens.
    """
    folder = locate(name, revision or None)
    model_type = str(read_json(folder / "config.json").get("model_type"))
    if model_type == RegionVLMConfig.model_type:
        return _of_trained(
            name, regions, segmenter, revision=revision or "main", device=device, dtype=dtype
        )
    if model_type != "llava":
        raise ValueError(
            f"{name} is a {model_type!r}: vLLM takes bare image tokens in its LLaVA-1.5 ('llava') "
            "only; give one, or a RegionVLM's folder"
        )
    vlm = from_vlm(
        name,
        regions=regions,
        segmenter=segmenter or None,
        revision=revision or None,
        device=device,
        dtype=dtype,
    )
    placeholder = vlm.processor.image_token

    def tokens_of(pictures: Sequence[Picture]) -> list[Tensor]:
        prepared = vlm.prepare(list(pictures), [placeholder] * len(pictures))
        return [image.values for image in prepared.tokens]

    text_config = vlm.model.config.get_text_config()
    settings = {
        "model": name,
        "weights": fingerprint(folder),
        "regions": regions,
        "segmenter": segmenter,
    }
    return TokenSource(
        name=name,
        model_type=model_type,
        width=text_config.hidden_size,
        identity=json.dumps([settings, vlm.model.config.to_json_string()]),
        tokens_of=tokens_of,
        longest=getattr(text_config, "max_position_embeddings", None),
        settings=settings,
    )


def _of_trained(
    name: str, regions: str, segmenter: str, *, revision: str, device: str, dtype: str
) -> TokenSource:
    model = RegionVLM.from_pretrained(name, revision=revision, dtype=dtype)
    model = model.to(resolve_device(device)).eval()
    replaced = {key: text for key, text in (("regions", regions), ("segmenter", segmenter)) if text}
    settings = model.config.answering_settings
    if replaced:
        settings = TokenizerSettings.model_validate({**model.config.visual, **replaced})

    @torch.no_grad()
    def tokens_of(pictures: Sequence[Picture]) -> list[Tensor]:
        split: list[Tensor] = model.see(pictures, settings=settings).split()
        return split

    text_config = model.config.language_config
    learned = _hash_of_learned(model)
    return TokenSource(
        name=name,
        model_type=model.config.model_type,
        width=embedding_width(model),
        identity=json.dumps([settings.model_dump(), model.config.visual_identity, learned]),
        tokens_of=tokens_of,
        longest=getattr(text_config, "max_position_embeddings", None),
        settings={
            "model": name,
            "weights": learned,
            "encoder_weights": model.config.visual_identity,
            **settings.model_dump(),
        },
    )


def _hash_of_learned(model: RegionVLM) -> str:
    """A hash of the weights that decide a trained model's visual tokens."""
    digest = hashlib.sha256()
    modules = [model.head, *([model.vision] if model.config.tune_encoder else [])]
    for module in modules:
        for key, value in sorted(module.state_dict().items()):
            digest.update(key.encode() + value.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()
