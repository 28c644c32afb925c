"""A released vision-language model and its processor, from the hub or a folder: safetensors only,
no remote code."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from regiontok.system.checkpoint import locate, weight_files
from regiontok.system.choices import nearest
from regiontok.system.errors import first_line
from regiontok.system.need import need
from regiontok.system.pretrained import load_pretrained, quiet_transformers

TEXT_FILES = ["*.json", "*.jinja", "*.model", "*.txt"]


def load(
    name: str,
    kinds: Iterable[str],
    *,
    device: str,
    dtype: str,
    attention: str | None,
    revision: str | None,
) -> tuple[Any, Any]:
    """Model and processor of a checkpoint whose model_type is one of `kinds`.

    Raises:
        ValueError: no such checkpoint, of another kind, damaged, or with pickled weights only.
    """
    folder = locate(name, revision)
    if (
        not Path(name).expanduser().is_dir()
    ):  # the tokenizer's files, which locate does not bring, lie beside the weights
        hub = need("huggingface_hub", extra="hub")
        try:
            folder = Path(
                hub.snapshot_download(
                    name, revision=revision, allow_patterns=[*TEXT_FILES, "*.safetensors"]
                )
            )
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{name!r}: its tokenizer cannot be had from the hub or its cache ({first_line(error)})"
            ) from None
    found = weight_files(folder)[0]
    if found.suffix != ".safetensors":
        raise ValueError(
            f"{name} has pickled weights only ({found.name}): convert them to safetensors first"
        )
    rules = {"local_files_only": True, "trust_remote_code": False}
    try:
        with quiet_transformers():
            kind = AutoConfig.from_pretrained(str(folder), **rules).model_type
            check_kind(kind, kinds)
            processor = AutoProcessor.from_pretrained(str(folder), **rules)
    except OSError as error:
        raise ValueError(
            f"{name}: config, tokenizer or processor cannot be read ({first_line(error)})"
        ) from None
    options = {} if attention is None else {"attn_implementation": attention}
    model = load_pretrained(AutoModelForImageTextToText, folder, name, dtype=dtype, **options)
    return model.to(device).eval(), processor


def check_kind(kind: str, kinds: Iterable[str]) -> str:
    """The model_type itself.

    Raises:
        ValueError: it is none of `kinds`.
    """
    if kind not in set(kinds):
        raise ValueError(
            f"model_type {kind!r} is not one of {', '.join(kinds)}{nearest(kind, kinds)}"
        )
    return kind
