"""DAVIS: the boxes of masks. An object of a clip is a target; its box is that of its pixels.

A clip of several objects (DAVIS 2017) gives a clip for each of them, NAME-ID.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from regiontok.core.formats import PictureError, open_image
from regiontok.probe.track.clip_files import numbered_frames
from regiontok.probe.track.clips import TrackClip
from regiontok.probe.track.errors import BadClip, NoClips

if TYPE_CHECKING:
    from jaxtyping import Float, Int

RESOLUTION = "480p"


def davis_clips(root: Path, split: str) -> Iterator[tuple[str, Callable[[], TrackClip]]]:
    """The name of each clip and what reads it.

    Raises:
        NoClips: If a split is asked for that the folder does not list.
    """
    masks = root / "Annotations" / RESOLUTION
    for clip in _names(root, split, masks):
        try:
            first = read_labels_image(min((masks / clip).glob("*.png"), default=masks / clip))
        except BadClip as error:
            yield clip, partial(_refused, error)
            continue
        objects = [int(number) for number in np.unique(first) if number]
        for number in objects or [1]:
            name = clip if len(objects) < 2 else f"{clip}-{number}"
            yield name, partial(_clip, root, clip, name, number)


def _names(root: Path, split: str, masks: Path) -> list[str]:
    if split == "all":
        return sorted(path.name for path in masks.glob("*") if path.is_dir())
    for year in ("2016", "2017"):
        listed = root / "ImageSets" / year / f"{split}.txt"
        if listed.exists():
            return listed.read_text(encoding="utf-8").split()
    raise NoClips(
        f"{root} does not list the split {split!r} in ImageSets/2016/{split}.txt: choose the "
        "split all"
    )


def _refused(error: BadClip) -> TrackClip:
    raise error


def _clip(root: Path, clip: str, name: str, number: int) -> TrackClip:
    frames = numbered_frames(root / "JPEGImages" / RESOLUTION / clip)
    folder = root / "Annotations" / RESOLUTION / clip
    masks = {path.stem: path for path in folder.glob("*.png")}
    missing = [frame.stem for frame in frames if frame.stem not in masks]
    if missing or len(masks) != len(frames):
        raise BadClip(
            f"{clip} has {len(frames)} frames and {len(masks)} masks: expected a mask a frame"
            + (f", {missing[0]} has none" if missing else "")
        )
    boxes = [box_of_mask(read_labels_image(masks[frame.stem]) == number) for frame in frames]
    return TrackClip(name, frames, np.stack(boxes), np.ones(len(frames), bool))


def box_of_mask(mask: np.ndarray) -> Float[np.ndarray, "4"]:
    """x, y, width and height of the smallest box around a mask; zeros where it is empty.

    >>> box_of_mask(np.array([[0, 0, 0], [0, 1, 1]], bool)).tolist()
    [1.0, 1.0, 2.0, 1.0]
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.zeros(4)
    x, y = columns[0], rows[0]
    return np.array([x, y, columns[-1] + 1 - x, rows[-1] + 1 - y], dtype=np.float64)


def read_labels_image(path: Path) -> Int[np.ndarray, "H W"]:
    """The numbers of a PNG of object ids: palette indices, or grey values.

    Raises:
        BadClip: If it cannot be decoded, or has colours instead of numbers.
    """
    try:
        with open_image(path) as image:
            if image.mode not in ("P", "L", "1"):
                raise BadClip(f"{path} has colours ({image.mode}); a mask has object numbers")
            return np.array(image, dtype=np.int64)
    except (PictureError, OSError, SyntaxError) as error:
        raise BadClip(f"{path} cannot be read as a mask: {error}") from error
