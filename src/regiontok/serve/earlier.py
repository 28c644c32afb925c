"""What an earlier export left in a folder, and whether a new one may write there."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from regiontok.system.checkpoint import read_json
from regiontok.system.errors import RegiontokError
from regiontok.system.strict_json import parse_json
from regiontok.system.tensor_files import read_metadata
from regiontok.system.weights import file_tensors

MANIFEST = "manifest.json"
TENSORS, TORCH = ".safetensors", ".pt"  # endings of an image's two files


class OtherExport(RegiontokError, ValueError):
    """What stands in a folder is an export with other settings, of another image, or none."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an export.

    Raises:
        ValueError: If there is none: the run did not end, or it is no export.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(f"{folder} has no {MANIFEST}: it is no export, or the run did not end")
    return read_json(path)


def earlier_export(
    folder: Path, settings: Mapping[str, Any], *, overwrite: bool
) -> dict[str, Any] | None:
    """The manifest of the export that a new one goes on with; None if there is none.

    Args:
        folder: where the new export goes.
        settings: `dtype`, `k` (None if it is not known yet), `equal`, `made_by` and `settings` of
            the new export, as a manifest has them.
        overwrite: True removes an export with other settings; files that it did not write stay.

    Raises:
        OtherExport: If the export has other settings and may not be overwritten, or the file of the
            manifest's name is none.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    manifest = read_json(path)
    if not _is_manifest(manifest):
        raise OtherExport(f"{path} is no manifest of an export: choose another --out")
    other = _difference(manifest, settings)
    if not other:
        return manifest
    if not overwrite:
        raise OtherExport(
            f"{folder} holds an export with other settings: {other}; replace it with --overwrite, "
            "or choose another --out"
        )
    path.unlink()
    for entry in manifest["images"]:
        tensors = folder / entry["safetensors"]
        if _is_below(tensors, folder) and _provenance(tensors):
            tensors.unlink()
            tensors.with_name(tensors.name.removesuffix(TENSORS) + TORCH).unlink(missing_ok=True)
    return None


def _is_manifest(content: Mapping[str, Any]) -> bool:
    """True if a file's content is the manifest of an export, of this or an older release."""
    images = content.get("images")
    return (
        {"dtype", "k", "made_by"} <= content.keys()
        and isinstance(content.get("settings", {}), dict)
        and isinstance(images, list)
        and all(isinstance(e, dict) and isinstance(e.get("safetensors"), str) for e in images)
    )


def _difference(manifest: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """The first setting that is not the same, in words; "" if all are."""
    before, now = manifest.get("settings", {}), settings["settings"]
    pairs = [(key, before[key], value) for key, value in now.items() if key in before]
    pairs += [(key, manifest[key], settings[key]) for key in ("dtype", "k", "made_by")]
    for key, earlier, value in pairs:
        if earlier != value and not (key == "k" and None in (earlier, value)):
            return f"{key} {earlier!r}, now {value!r}"
    counts = {True: "one number of tokens for all images", False: "any number of tokens an image"}
    before_equal, equal = bool(manifest.get("equal", True)), settings["equal"]
    return "" if before_equal == equal else f"{counts[before_equal]}, now {counts[equal]}"


def obstacle(tensors: Path, key: str, made_by: str, *, overwrite: bool) -> str:
    """Why the files of an image may not be written; "" if they may.

    Args:
        tensors: the safetensors file; the .pt stands beside it.
        key: hash of the image's bytes.
        made_by: hash of what makes its tokens.
        overwrite: True replaces the tokens of another image or of other settings.
    """
    torch_file = tensors.with_name(tensors.name.removesuffix(TENSORS) + TORCH)
    present = next((path for path in (tensors, torch_file) if path.exists()), None)
    if present is None:
        return ""
    provenance = _provenance(tensors)
    if not provenance:
        return f"{present} is there and is no export; choose another --out"
    # an older release wrote the image's key alone
    if overwrite or (provenance["key"], provenance.get("made_by", made_by)) == (key, made_by):
        return ""
    return (
        f"{tensors} holds the tokens of another picture, or of other settings; replace it with "
        "--overwrite, or choose another --out"
    )


def standing_tokens(tensors: Path, key: str, made_by: str) -> Tensor | None:
    """The tokens that an export wrote for an image, if its two files are there and whole.

    Args:
        tensors: the safetensors file; the .pt stands beside it.
        key: hash of the image's bytes.
        made_by: hash of what makes its tokens.
    """
    provenance = _provenance(tensors)
    if (provenance.get("key"), provenance.get("made_by")) != (key, made_by):
        return None
    torch_file = tensors.with_name(tensors.name.removesuffix(TENSORS) + TORCH)
    try:
        values = file_tensors(tensors)["image_embeds"]
        twin = torch.load(torch_file, weights_only=True)
    except (OSError, ValueError, KeyError, RuntimeError, EOFError, pickle.UnpicklingError):
        return None  # they are cut, or gone
    return values if torch.equal(values, twin) else None


def _provenance(tensors: Path) -> dict[str, Any]:
    """What a safetensors file says of its image and its maker; {} if it is no export's."""
    metadata = read_metadata(tensors) or {}
    try:
        provenance = parse_json(metadata.get("regiontok", json.dumps(metadata)))
    except ValueError:
        return {}
    is_own = isinstance(provenance, dict) and "key" in provenance
    return provenance if is_own else {}


def _is_below(path: Path, folder: Path) -> bool:
    """True unless a manifest names a file outside its folder."""
    return path.resolve().is_relative_to(folder.resolve())
