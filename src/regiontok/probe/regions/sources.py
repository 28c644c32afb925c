"""What `--data` names: generated pictures, shards, a JSON in COCO's form, or a folder of masks.

After: nothing published.
Differs: nothing known.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from regiontok.data.collect import collect
from regiontok.miniworld.world import is_world
from regiontok.probe.regions.coco import CocoSet
from regiontok.probe.regions.labelled import LabelledSet, LabelledSetError, Support
from regiontok.probe.regions.scenes import SceneSet, is_scenes
from regiontok.probe.regions.shards import ShardSet
from regiontok.probe.regions.stored import StoredSet
from regiontok.probe.regions.world import WorldSet
from regiontok.segment.formats.rle import read_json
from regiontok.shards.sidecar import SUFFIX
from regiontok.system.choices import check_choice


def labelled_set(data: str, images: Path | None = None, support: Support = "masks") -> LabelledSet:
    """The labelled set of a text.

    Args:
        data: "scenes(400, labels='shape')" or "world(400, labels='shape')"; a folder of pretraining
            shards; a JSON in COCO's form; a spec such as "stored('masks.json', format='panoptic')";
            or a file or folder that `stored` reads, whose names of masks are the classes.
        images: the photos, for all but generated pictures and shards.
        support: whether a region is its mask or its box.

    Raises:
        ValueError: If there is no such file or folder, or photos are missing.
    """
    check_choice("support", support, ("masks", "boxes"))
    if is_scenes(data):
        return SceneSet(data, support)
    if is_world(data):
        return WorldSet(data, support)
    path = Path(data).expanduser()
    is_spec = "(" in data and not path.exists()
    if not is_spec and not path.exists():
        raise LabelledSetError(
            f"{data}: no such file or folder, and no generated set such as scenes(400)"
        )
    if path.is_dir() and any(path.glob(f"*{SUFFIX}")):
        return ShardSet(path, support)
    if images is None or not images.is_dir():
        given = "none was named" if images is None else f"{images} is none"
        raise LabelledSetError(f"{data} needs the folder of its photos as images; {given}")
    if not is_spec and _is_coco(path):
        return CocoSet(path, images, support)
    photos = [item.path for item in collect([str(images)])]
    return StoredSet(photos, data if is_spec else f"stored({str(path)!r})", support)


def _is_coco(path: Path) -> bool:
    """True for annotations in COCO's form that are not panoptic."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    data = read_json(path)
    annotations = data.get("annotations") if isinstance(data, Mapping) else None
    if not isinstance(annotations, list) or "images" not in data:
        return False
    first = annotations[0] if annotations else {}
    return not (isinstance(first, Mapping) and "segments_info" in first)
