"""A clip with one target: its frames on disk, the target's box and whether it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from regiontok.core.picture import Picture
from regiontok.core.sizes import counted
from regiontok.probe.track.errors import BadClip, NoClips

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


@dataclass(frozen=True, eq=False, repr=False)
class TrackClip:
    """The frames of a clip in order, with the box of its one target.

    Attributes:
        name: what files and tables call it.
        frames: paths of the images, in the order of time.
        boxes: `[n 4]` float64, x, y, width and height in pixels, counted from 0 at the left and
            upper edge; one row a frame, or the first frame's alone where a server keeps the rest.
        is_present: `[n]`, True where the target is seen; a row for each row of `boxes`.

    Raises:
        BadClip: If boxes and labels differ in number, or fit neither all frames nor the first.
    """

    name: str
    frames: tuple[Path, ...]
    boxes: Float[np.ndarray, "n 4"]
    is_present: Bool[np.ndarray, "n"]

    def __post_init__(self) -> None:
        count, rows = len(self.frames), len(self.boxes)
        if not count:
            raise BadClip(f"{self.name} has no frames")
        if rows not in (1, count):
            raise BadClip(
                f"{self.name} has {counted(count, 'frame')} and {rows} boxes: expected a box for "
                "each frame, or the first frame's alone"
            )
        if len(self.is_present) != rows:
            raise BadClip(
                f"{self.name} has {rows} boxes, and {len(self.is_present)} labels that say whether "
                "the target is seen: expected one a box"
            )

    def __repr__(self) -> str:
        return f"TrackClip({self.name!r}, {counted(len(self), 'frame')})"

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def is_labelled(self) -> bool:
        """True if every frame has its box; False where only the first one is published."""
        return len(self.boxes) == len(self)

    @cached_property
    def has_target(self) -> Bool[np.ndarray, "n"]:
        """`[n]`, True where the target is seen and its box has an area; NaN and zeros have none."""
        finite = np.isfinite(self.boxes).all(1)
        has_area: Bool[np.ndarray, "n"] = (np.nan_to_num(self.boxes[:, 2:]) > 0).all(1)
        return self.is_present & finite & has_area

    def check_start(self) -> None:
        """Refuse a clip that cannot be followed from its first box.

        Raises:
            BadClip: If the first box is empty or its target is not seen.
        """
        if not self.has_target[0]:
            raise BadClip(
                f"{self.name} has no target on its first frame (box {self.boxes[0].tolist()}): "
                "nothing says what to follow"
            )

    def picture(self, index: int) -> Picture:
        """A decoded frame.

        Raises:
            PictureError: If it cannot be decoded whole; the message names the file.
        """
        return Picture.of(self.frames[index])


@dataclass(frozen=True, eq=False)
class ClipSet:
    """The usable clips of a data set, and what was set aside.

    Attributes:
        name: what tables call the data set.
        clips: the clips, by name.
        set_aside: name and reason of each clip that cannot be used.
    """

    name: str
    clips: tuple[TrackClip, ...]
    set_aside: dict[str, str]

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def frames(self) -> int:
        """Number of frames of all clips."""
        return sum(len(clip) for clip in self.clips)

    @staticmethod
    def gather(name: str, readers: Iterable[tuple[str, Callable[[], TrackClip]]]) -> ClipSet:
        """Read clip by clip; one that cannot be read is set aside.

        Args:
            name: what tables call the data set.
            readers: the name of each clip, and what reads it.

        Raises:
            NoClips: If no clip is left.
        """
        clips: list[TrackClip] = []
        set_aside: dict[str, str] = {}
        for clip_name, read in readers:
            try:
                clips.append(read())
            except (BadClip, OSError) as error:
                set_aside[clip_name] = str(error)
        if not clips:
            reasons = "; ".join(list(set_aside.values())[:3]) or "it holds none"
            raise NoClips(f"{name} has no usable clip: {reasons}")
        return ClipSet(name, tuple(clips), set_aside)

    def startable(self) -> ClipSet:
        """The clips that can be followed from their first box; the others are set aside.

        Raises:
            NoClips: If none can be.
        """

        def checked(clip: TrackClip) -> TrackClip:
            clip.check_start()
            return clip

        readers = ((clip.name, partial(checked, clip)) for clip in self.clips)
        chosen = ClipSet.gather(self.name, readers)
        return ClipSet(self.name, chosen.clips, {**self.set_aside, **chosen.set_aside})

    def first(self, count: int) -> ClipSet:
        """The first `count` clips; 0 takes all."""
        return ClipSet(self.name, self.clips[: count or None], self.set_aside)
