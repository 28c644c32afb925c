"""from_vlm: region tokens inside a released model, which is loaded or named.

Weights are read from safetensors only, and no remote code runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from regiontok.methods import Pool, RegionStep, Segmenter, Transform
from regiontok.released.eyes import class_of_eyes
from regiontok.released.family import Cut, Family, check_model_type
from regiontok.released.pooling import PoolStage
from regiontok.released.vlm import ReleasedVLM
from regiontok.settings import registry
from regiontok.system.checkpoint import locate, weight_files
from regiontok.system.devices import resolve_device
from regiontok.system.errors import first_line
from regiontok.system.loading import clear_model_errors
from regiontok.system.need import need
from regiontok.system.pretrained import load_pretrained, quiet_transformers

TEXT_FILES = ["*.json", "*.jinja", "*.model", "*.txt"]


def from_vlm(
    model: Any,
    processor: Any = None,
    *,
    regions: Sequence[RegionStep] | str = "",
    segmenter: Segmenter | str | None = None,
    transforms: Sequence[Transform] | str = "",
    pool: Pool | str = "mean",
    pool_stage: PoolStage = "before",
    cut: Cut = "stitched",
    padding: str = "drop",
    device: str = "cpu",
    dtype: str = "auto",
    attention: str | None = None,
    revision: str | None = None,
) -> ReleasedVLM:
    """A released vision-language model with region tokens in the place of its patches.

    Args:
        model: a hub name ("llava-hf/llava-1.5-7b-hf") or a folder: safetensors, no remote code. Or
            a model that is loaded.
        processor: the processor of a loaded model.
        regions, segmenter, transforms: specs, or built methods, as `RegionTokenizer` takes them.
            The empty pipeline gives the model's own tokens, and so its own output.
        pool: "mean" (one token a region) or "select" (its patches).
        pool_stage: "before" pools what the model's projector reads and projects the regions;
            "after" projects every patch and pools.
        cut: where an image has tiles: "stitched" cuts regions over all of them as one grid, "tile"
            in each by itself. The low-resolution view of the whole image has its own regions in
            front of either.
        padding: "drop" keeps patches that see only padding out of every region.
        device, dtype, attention, revision: how a model that is named is loaded; attention is
            "sdpa", "eager" or "flash_attention_2".

    Raises:
        ValueError: If there is no such model, it is damaged, has pickled weights only or is of a
            family that is not known, or transformers would ignore ready-made tokens.
    """
    if isinstance(model, str | Path):
        if processor is not None:
            raise ValueError(
                "a processor belongs to a model that is loaded; a name or folder brings its own"
            )
        model, processor = load_model_and_processor(
            str(model),
            registry.names("family"),
            device=device,
            dtype=dtype,
            attention=attention,
            revision=revision,
        )
    elif processor is None:
        raise ValueError(
            f"{type(model).__name__} is loaded already: give its processor as the second argument"
        )
    return ReleasedVLM(
        model,
        processor,
        regions=regions,
        segmenter=segmenter,
        transforms=transforms,
        pool=pool,
        pool_stage=pool_stage,
        cut=cut,
        padding=padding,
    )


def eyes_of_vlm(
    name: str,
    *,
    regions: str = "",
    segmenter: str | None = None,
    device: str = "cpu",
    dtype: str = "auto",
    revision: str | None = None,
) -> ReleasedVLM:
    """As `from_vlm`, but the language model stays on the disk: what is left makes visual tokens.

    Args:
        name: a hub name or a folder.
        regions, segmenter, device, dtype, revision: see `from_vlm`.

    Raises:
        ValueError: See `from_vlm`.
    """
    model, processor = load_model_and_processor(
        name,
        registry.names("family"),
        device=device,
        dtype=dtype,
        attention=None,
        revision=revision,
        eyes_only=True,
    )
    return ReleasedVLM(model, processor, regions=regions, segmenter=segmenter)


def load_model_and_processor(
    name: str,
    model_types: Iterable[str],
    *,
    device: str,
    dtype: str,
    attention: str | None,
    revision: str | None,
    eyes_only: bool = False,
) -> tuple[Any, Any]:
    """Model and processor of a checkpoint.

    Args:
        name: hub name or folder.
        model_types: the types of models that may come.
        device: where the model goes.
        dtype: type of its weights, "auto" for that of the checkpoint.
        attention: attention implementation of transformers; None leaves the choice to it.
        revision: revision of the hub's repository.
        eyes_only: True leaves the language model out.

    Raises:
        ValueError: If there is no such checkpoint, or it is of another type, damaged, or has
            pickled weights only.
    """
    folder = _with_tokenizer(name, locate(name, revision), revision)
    weights = weight_files(folder)[0]
    if weights.suffix != ".safetensors":
        raise ValueError(
            f"{name} has pickled weights only ({weights.name}): convert them to safetensors first"
        )
    rules = {"local_files_only": True, "trust_remote_code": False}
    with clear_model_errors(name), quiet_transformers():
        config = AutoConfig.from_pretrained(str(folder), **rules)
    check_model_type(config.model_type, model_types)
    with clear_model_errors(name), quiet_transformers():
        processor = AutoProcessor.from_pretrained(str(folder), **rules)
    options = {} if attention is None else {"attn_implementation": attention}
    cls = AutoModelForImageTextToText
    if eyes_only:
        family: type[Family] = registry.load("family", config.model_type)
        cls = class_of_eyes(cls._model_mapping[type(config)], family.language_modules)
    model = load_pretrained(cls, folder, name, dtype=dtype, **options)
    return model.to(resolve_device(device)).eval(), processor


def _with_tokenizer(name: str, folder: Path, revision: str | None) -> Path:
    """The folder with the tokenizer's files, which `locate` does not bring from the hub."""
    if Path(name).expanduser().is_dir():
        return folder
    hub = need("huggingface_hub", extra="hub")
    patterns = [*TEXT_FILES, "*.safetensors"]
    try:
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=patterns))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{name!r}: its tokenizer cannot be had from the hub or its cache ({first_line(error)})"
        ) from None
