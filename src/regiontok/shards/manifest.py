"""The reports of a folder of side-cars in one file, so that a reader need not open each.

It only spares time: a shard that it does not know, or whose side-car or JSON has another length
now, is read from its own JSON. A relabelled folder gets a new one from whoever relabels it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from regiontok.shards.report import REPORT_SUFFIX, SidecarReport, read_report, report_path
from regiontok.shards.tar import ShardError
from regiontok.system.files import replacing_shared
from regiontok.system.storage import Location, child, listing, read_file
from regiontok.system.strict_json import parse_json

NAME = "regions.manifest.json"
FORMAT = "regiontok manifest 1"
SIDECAR_SUFFIX = ".regions.parquet"
KEPT = ("shard", "bytes", "images", "regions", "texts", "masks", "classes", "centroids", "offsets")


def read_manifest(folder: Location, files: Mapping[str, int]) -> dict[str, SidecarReport]:
    """What the manifest of a folder still says rightly, by shard, without errors and config.

    Args:
        folder: the folder of side-cars.
        files: its `listing`.
    """
    if NAME not in files:
        return {}
    try:
        stated = parse_json(read_file(child(folder, NAME)))
        if stated["format"] != FORMAT:
            return {}
        return {
            name: SidecarReport(**{key: entry[key] for key in KEPT})
            for name, entry in stated["shards"].items()
            if entry["files"] == _lengths(name, files)
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # damaged, or gone: it only spares time


def write_manifest(folder: Path) -> None:
    """Write the manifest of all side-cars of a folder, whole or not at all."""
    files = listing(folder)
    names = sorted(
        name.removesuffix(REPORT_SUFFIX) for name in files if name.endswith(REPORT_SUFFIX)
    )
    shards = {}
    for name in names:
        try:
            report = read_report(report_path(folder, name))
        except ShardError:
            continue  # a reader will name it
        counts = {key: getattr(report, key) for key in KEPT}
        shards[name] = {"files": _lengths(name, files), **counts}
    with replacing_shared(folder / NAME) as temporary:
        text = json.dumps({"format": FORMAT, "shards": shards})
        temporary.write_text(text + "\n", encoding="utf-8")


def _lengths(name: str, files: Mapping[str, int]) -> list[int | None]:
    """Bytes of a shard's JSON and of its side-car."""
    return [files.get(name + suffix) for suffix in (REPORT_SUFFIX, SIDECAR_SUFFIX)]
