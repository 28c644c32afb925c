"""Data sets of tracking as they lie on disk: GOT-10k, LaSOT, TrackingNet, TNL2k, DAVIS.

| layout | folder of a clip | boxes | the target is not seen where |
| --- | --- | --- | --- |
| got10k | `[SPLIT/]NAME/00000001.jpg` | `groundtruth.txt` | `absence.label` is 1, `cover.label` 0 |
| lasot | `CLASS/CLASS-N/img/` | `groundtruth.txt` | `full_occlusion.txt`, `out_of_view.txt` are 1 |
| trackingnet | `TRAIN_K/frames/NAME/`, `TEST/...` | `TRAIN_K/anno/NAME.txt` | the box is empty |
| tnl2k | `[SPLIT/]NAME/imgs/` | `groundtruth.txt` | the box is empty |
| davis | `JPEGImages/480p/NAME/` | of the masks in `Annotations/480p/NAME/` | the mask is empty |

After: Huang et al. 2021 (GOT-10k), Fan et al. 2019 (LaSOT), Muller et al. 2018 (TrackingNet), Wang
    et al. 2021 (TNL2k), Perazzi et al. 2016 (DAVIS), as their archives unpack.
Differs: boxes keep the numbers of the files. GOT-10k, LaSOT and TNL2k count pixels from 1, so that
    their boxes lie one pixel too far right and down; OSTrack reads them so, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from regiontok.probe.track.clip_files import numbered_frames, read_boxes, read_labels
from regiontok.probe.track.clips import ClipSet, TrackClip
from regiontok.probe.track.errors import BadClip, NoClips
from regiontok.probe.track.mask_boxes import davis_clips

SPLITS = ("train", "val", "test", "all")
Readers = Iterator[tuple[str, Callable[[], TrackClip]]]


def read_clips(text: str, split: str = "all") -> ClipSet:
    """The clips of a data set.

    Args:
        text: layout and folder, as in ``got10k:data/got10k``.
        split: "train", "val", "test" or "all", where the folder tells them apart.

    Raises:
        ValueError: If the layout or split is none of those known, or there is no such folder.
        NoClips: If the folder is of another layout, or none of its clips can be used.
    """
    layout, colon, folder = text.partition(":")
    if not colon or layout not in LAYOUTS:
        raise ValueError(
            f"expected LAYOUT:FOLDER with one of {', '.join(LAYOUTS)}, as in got10k:data/got10k; "
            f"got {text!r}"
        )
    if split not in SPLITS:
        raise ValueError(f"split is one of {', '.join(SPLITS)}, not {split!r}")
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise ValueError(f"there is no folder {root} ({text})")
    return ClipSet.gather(f"{layout}:{root.name}", LAYOUTS[layout](root, split))


def _got10k(root: Path, split: str) -> Readers:
    """Clips of GOT-10k, and of `regiontok miniworld --format got10k`."""
    for folder in _clip_folders(root, split):
        yield folder.name, partial(_got10k_clip, folder)


def _got10k_clip(folder: Path) -> TrackClip:
    boxes = read_boxes(folder / "groundtruth.txt")
    is_present = np.ones(len(boxes), bool)
    if (folder / "absence.label").exists():
        is_present &= _as_many(read_labels(folder / "absence.label"), boxes, folder) == 0
    if (folder / "cover.label").exists():
        is_present &= _as_many(read_labels(folder / "cover.label"), boxes, folder) > 0
    return TrackClip(folder.name, numbered_frames(folder), boxes, is_present)


def _tnl2k(root: Path, split: str) -> Readers:
    for folder in _clip_folders(root, split):
        yield folder.name, partial(_tnl2k_clip, folder)


def _tnl2k_clip(folder: Path) -> TrackClip:
    boxes = read_boxes(folder / "groundtruth.txt")
    return TrackClip(
        folder.name, numbered_frames(folder / "imgs"), boxes, np.ones(len(boxes), bool)
    )


def _lasot(root: Path, split: str) -> Readers:
    """Clips of LaSOT: a folder a class, or the clips without their classes."""
    folders = {
        path.parent.name: path.parent
        for pattern in ("*/groundtruth.txt", "*/*/groundtruth.txt")
        for path in root.glob(pattern)
    }
    for name in _lasot_names(root, split, sorted(folders, key=_by_number)):
        yield name, partial(_lasot_clip, folders.get(name, root / name))


def _lasot_names(root: Path, split: str, names: list[str]) -> list[str]:
    """The names of a split: LaSOT's archive holds all clips, and its toolkit lists them."""
    if split == "all":
        return names
    listing, tested = root / f"{split}ing_set.txt", root / "testing_set.txt"
    if listing.exists():
        return listing.read_text(encoding="utf-8").split()
    if split == "train" and tested.exists():
        held_out = set(tested.read_text(encoding="utf-8").split())
        return [name for name in names if name not in held_out]
    raise NoClips(
        f"{root} does not say which clips are of the split {split!r}: put {listing.name} of "
        "LaSOT's toolkit there (a name a line), or choose the split all"
    )


def _lasot_clip(folder: Path) -> TrackClip:
    boxes = read_boxes(folder / "groundtruth.txt")
    is_present = np.ones(len(boxes), bool)
    for name in ("full_occlusion.txt", "out_of_view.txt"):
        is_present &= _as_many(read_labels(folder / name), boxes, folder) == 0
    return TrackClip(folder.name, numbered_frames(folder / "img"), boxes, is_present)


def _trackingnet(root: Path, split: str) -> Readers:
    """Clips of TrackingNet: TRAIN_0 to TRAIN_11 and TEST, or one of these folders."""
    chosen = {"train": ["TRAIN_*"], "test": ["TEST"], "val": [], "all": ["TRAIN_*", "TEST", "."]}
    for pattern in chosen[split]:
        for folder in sorted(root.glob(pattern) if pattern != "." else [root], key=_part_number):
            for path in sorted((folder / "anno").glob("*.txt")):
                yield path.stem, partial(_trackingnet_clip, folder, path)


def _trackingnet_clip(folder: Path, path: Path) -> TrackClip:
    boxes = read_boxes(path)
    frames = numbered_frames(folder / "frames" / path.stem)
    return TrackClip(path.stem, frames, boxes, np.ones(len(boxes), bool))


def _clip_folders(root: Path, split: str) -> list[Path]:
    """Folders with a `groundtruth.txt`, of a split's own folder where there is one.

    Without it the clips lie in the folder itself.
    """
    split_folders = [root / name for name in ((split,) if split != "all" else SPLITS)]
    split_folders = [folder for folder in split_folders if folder.is_dir()] or [root]
    folders = []
    for folder in split_folders:
        listed = folder / "list.txt"
        if listed.exists():
            folders += [folder / name for name in listed.read_text(encoding="utf-8").split()]
        else:
            folders += sorted(path.parent for path in folder.glob("*/groundtruth.txt"))
    return folders


def _as_many(labels: np.ndarray, boxes: np.ndarray, folder: Path) -> np.ndarray:
    """Labels, one a box; a clip whose first box alone is published may have labels of all frames.

    Raises:
        BadClip: If there are more or fewer.
    """
    if len(boxes) == 1:
        return labels[:1]
    if len(labels) != len(boxes):
        raise BadClip(
            f"{folder.name} has {len(boxes)} boxes, and {len(labels)} labels that say whether the "
            "target is seen: expected one a box"
        )
    return labels


def _by_number(name: str) -> tuple[str, int, str]:
    stem, _, number = name.rpartition("-")
    return stem, int(number) if number.isdecimal() else -1, name


def _part_number(folder: Path) -> tuple[int, str]:
    number = folder.name.rpartition("_")[2]
    return int(number) if number.isdecimal() else -1, folder.name


LAYOUTS: dict[str, Callable[[Path, str], Readers]] = {
    "got10k": _got10k,
    "lasot": _lasot,
    "trackingnet": _trackingnet,
    "tnl2k": _tnl2k,
    "davis": davis_clips,
}
