"""What a mask store says of itself, and which images could not be done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from regiontok.maskstore.layout import is_store, part_files, shard_files
from regiontok.maskstore.maintenance import set_aside_corrupt
from regiontok.maskstore.store import MaskStore
from regiontok.maskstore.writer import locked
from regiontok.system.files import replacing
from regiontok.system.strict_json import json_bytes, parse_json

SET_ASIDE = "set_aside.json"


def store_info(root: str | Path) -> dict[str, Any]:
    """Whose masks a store holds, how many images and files, and how many bytes; no mask is read.

    Raises:
        ValueError: If there is no store.
    """
    root = Path(root)
    store = MaskStore(root)
    shards, parts = shard_files(store.folder), part_files(store.folder)
    size = sum(path.stat().st_size for path in [*shards, *parts])
    return {
        "store": str(root),
        "segmenter": store.segmenter.spec,
        "identity": store.segmenter.identity,
        "fingerprint": store.fingerprint,
        "images": len(store),
        "shards": len(shards),
        "parts": len(parts),
        "bytes": size,
        "bytes_per_image": round(size / len(store)) if len(store) else 0,
        "set_aside": len(read_set_aside(root)),
    }


def read_set_aside(root: Path) -> dict[str, str]:
    """The names of the images that could not be done, each with the reason."""
    path = root / SET_ASIDE
    reasons: dict[str, str] = parse_json(path.read_bytes()) if path.is_file() else {}
    return reasons


def write_set_aside(root: Path, reasons: Mapping[str, str], tried: Iterable[str]) -> None:
    """Bring the list of images that could not be done up to date.

    Args:
        root: the store.
        reasons: names of images that this run could not do, each with the reason.
        tried: names of all images that this run tried; for others the list stays as it was.
    """
    with locked(root):
        names = set(tried)
        earlier = {name: why for name, why in read_set_aside(root).items() if name not in names}
        listed = dict(sorted({**earlier, **reasons}.items()))
        if not listed:
            (root / SET_ASIDE).unlink(missing_ok=True)
            return
        with replacing(root / SET_ASIDE) as path:
            path.write_bytes(json_bytes(listed, indent=1))


def rename_corrupt(root: Path) -> list[str]:
    """Rename the corrupt files of a store, so that their images are computed again.

    Returns:
        What was wrong with each of them.
    """
    return [str(verdict.problem) for verdict in set_aside_corrupt(root)] if is_store(root) else []
