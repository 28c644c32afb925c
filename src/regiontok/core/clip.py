"""Clip: frames of one size in order. The only place that turns a video into pictures.

A video file (through PyAV, `regiontok[video]`), an animated GIF or WebP, a folder of frames, a list
of pictures or one array leaves as a tuple of pictures.

A video, or frames of a known `rate`, is sampled by time: at `fps` the frames on screen at 0, 1/fps,
2/fps ... seconds after the first one are taken, each frame once, so that a video slower than `fps`
gives all its frames. Timestamps may be off by 1 ms (Matroska rounds to that).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from PIL import Image

from regiontok.core.animation import Animation, is_animation_format
from regiontok.core.picture import SUFFIXES, ImageSource, Picture
from regiontok.core.sampling import is_sampled
from regiontok.core.sizes import counted, shape_text
from regiontok.core.video import Video
from regiontok.system.drawn import is_drawn
from regiontok.system.errors import RegiontokError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

MOST = 256  # frames of a clip unless it is told otherwise
MAX_PIXELS = 2**29  # of all frames together: 1.5 GiB, or 256 frames of 1920 x 1080
MAX_DECODED = 500_000  # frames that are decoded to sample from: more than four hours at 30 a second
Cut = Literal["error", "keep"]

# Everything that `Clip.of` takes.
ClipSource: TypeAlias = "Clip | str | Path | Iterable[ImageSource] | np.ndarray | Tensor"
Frames: TypeAlias = "Sequence[ImageSource] | np.ndarray | Tensor"


class ClipError(RegiontokError, ValueError):
    """A clip that cannot be had whole; the message names it and says what is wrong."""


@dataclass(frozen=True, eq=False, repr=False)
class Clip:
    """The frames of one clip.

    Attributes:
        frames: pictures of one size, in order; at least one.
        fps: frames a second, None if nobody knows.
        key: hash of the frames' keys: the same frames have the same key.
        name: what messages and tables call it.
        times: seconds of each frame after the first one; empty if nobody knows.
        damage: why the frames end early, if they do and `cut="keep"` took those before.

    Raises:
        ClipError: If there are no frames, frames of several sizes, or not one time a frame.

    >>> import numpy as np
    >>> clip = Clip.of(np.zeros((3, 4, 6, 3), np.uint8), fps=2)
    >>> clip
    Clip('clip', 3 frames of 4 x 6 pixels, 2 a second)
    >>> len(clip), clip.size, clip.times
    (3, (4, 6), (0.0, 0.5, 1.0))
    """

    frames: tuple[Picture, ...]
    fps: float | None
    key: str
    name: str = "clip"
    times: tuple[float, ...] = ()
    damage: str = ""

    def __post_init__(self) -> None:
        if not self.frames:
            raise ClipError(f"{self.name}: no frames")
        for index, frame in enumerate(self.frames):
            if frame.size != self.size:
                raise ClipError(
                    f"{self.name}: all frames must have one size, but frame {index} is "
                    f"{frame.size} and frame 0 is {self.size} (H, W)"
                )
        if self.times and len(self.times) != len(self.frames):
            raise ClipError(
                f"{self.name}: {len(self.frames)} frames need as many times, got {len(self.times)}"
            )

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        rate = f", {self.fps:g} a second" if self.fps else ""
        frames = counted(len(self), "frame")
        return f"Clip({self.name!r}, {frames} of {shape_text(self.size)} pixels{rate})"

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels of every frame."""
        return self.frames[0].size

    @classmethod
    def of(
        cls,
        source: ClipSource,
        fps: float | None = None,
        *,
        rate: float | None = None,
        most: int = MOST,
        cut: Cut = "error",
        name: str | None = None,
    ) -> Clip:
        """A clip from a video, an animation, a folder of frames, a list of pictures or an array.

        Args:
            source: the clip. A folder is read in natural order (2 before 10), an array is
                `[T H W 3]`, and frames may be anything that `Picture.of` takes.
            fps: frames a second to take, as the module's docstring says; None takes all.
            rate: frames a second of a source that has no timestamps (all but videos and
                animations). Where it is None, all frames are taken, and `fps` is what they are
                taken to run at.
            most: a clip of more frames is an error, never a shorter clip.
            cut: what to do with a video that is cut off or damaged: "error", or "keep" the whole
                frames before it (`damage` then says what happened). A container that does not say
                how long it is (MPEG-TS, a live recording) hides a cut.
            name: what messages and tables call it.

        Raises:
            ClipError: If there are no frames, too many, too large ones or ones of several sizes; if
                the video is cut off, or none at all; or if a GIF or WebP has one frame.
            PictureError: If a frame cannot be decoded.
            MissingPackage: If the source is a video and PyAV is not installed.
            ValueError: If `fps`, `rate` or `most` is not positive.
        """
        if isinstance(source, Clip):
            return source
        _check_settings(fps, rate, most, cut)
        if isinstance(source, str | Path):
            path = Path(source)
            name = name or str(path)
            if not path.is_dir():
                return _clip_of_file(path, fps, most, cut, name)
            frames: Frames = _files_of_folder(path)
        else:
            name = name or "clip"
            frames = _frames_of(source)
        if rate is None:
            indices = list(range(len(frames)))
            times = [index / fps for index in indices] if fps else []
        else:
            indices = [
                index
                for index in range(len(frames))
                if is_sampled(index / rate, (index + 1) / rate, fps)
            ]
            times = [index / rate for index in indices]
            fps = min(fps or rate, rate)
        _check_count(len(indices), most, name)
        return _clip_of_pictures(_pictures(frames, indices, name), fps, name, times)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key under which frame2 stands before frame10, and a number before a word.

    >>> sorted(["f10.png", "f2.png", "f1.png"], key=natural_key)
    ['f1.png', 'f2.png', 'f10.png']
    """
    pieces = re.findall(r"[0-9]+|[^0-9]+", name.lower())
    return [(0, int(piece), "") if piece[0] in "0123456789" else (1, 0, piece) for piece in pieces]


def frame_files(folder: Path) -> list[Path]:
    """The images that lie directly in a folder, in natural order; none that this project drew."""
    paths = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and not is_drawn(path)
    ]
    return sorted(paths, key=lambda path: (natural_key(path.name), path.name))


def _check_settings(fps: float | None, rate: float | None, most: int, cut: str) -> None:
    for setting, value in (("fps", fps), ("rate", rate)):
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{setting} must be a positive number of frames a second, got {value}")
    if most < 1:
        raise ValueError(f"a clip has at least one frame, got most={most}")
    if cut not in get_args(Cut):
        raise ValueError(f"cut must be 'error' or 'keep', not {cut!r}")


def _check_count(count: int, most: int, name: str) -> None:
    if count > most:
        raise ClipError(
            f"{name}: more than {most} frames; take fewer a second (fps), or allow more (most)"
        )


def _check_pixels(count: int, size: tuple[int, int], name: str) -> None:
    """Refuse frames of too many pixels, one by one or `count` of them together."""
    height, width = size
    if Image.MAX_IMAGE_PIXELS and height * width > Image.MAX_IMAGE_PIXELS:
        limit = Image.MAX_IMAGE_PIXELS / 1e6
        raise ClipError(
            f"{name}: frames of {width} x {height} have more than {limit:.0f} million pixels "
            "(PIL.Image.MAX_IMAGE_PIXELS)"
        )
    if count * height * width > MAX_PIXELS:
        raise ClipError(
            f"{name}: {count} frames of {width} x {height} are more than {MAX_PIXELS} pixels; "
            "take fewer (fps, most)"
        )


def _files_of_folder(folder: Path) -> list[Path]:
    try:
        paths = frame_files(folder)
    except OSError as error:
        raise ClipError(f"{folder}: cannot be read ({error.strerror})") from error
    if not paths:
        raise ClipError(
            f"{folder}: no frames: no images lie in this folder "
            f"(looked for {' '.join(sorted(SUFFIXES))})"
        )
    return paths


def _frames_of(source: Iterable[ImageSource] | np.ndarray | Tensor) -> Frames:
    """The frames of a source that is no file, as something that has a length and indices."""
    if hasattr(source, "ndim"):
        array: np.ndarray | Tensor = source  # type: ignore[assignment]
        if array.ndim != 4:
            raise ClipError(f"expected an array of frames [T H W 3], got shape {list(array.shape)}")
        return array
    if not isinstance(source, Iterable) or isinstance(source, bytes | bytearray | Picture):
        raise TypeError(
            "expected a video file, a folder of frames, a list of pictures or an array "
            f"[T H W 3]; got {type(source).__name__}"
        )
    return list(source)


def _pictures(frames: Frames, indices: list[int], name: str) -> Iterator[Picture]:
    for count, index in enumerate(indices, start=1):
        frame = frames[index]
        has_name = isinstance(frame, str | Path | Picture)
        picture = Picture.of(frame, None if has_name else f"{name} frame {index}")
        _check_pixels(count, picture.size, name)
        yield picture


def _clip_of_pictures(
    frames: Iterable[Picture], fps: float | None, name: str, times: list[float], damage: str = ""
) -> Clip:
    pictures = tuple(frames)
    digest = hashlib.sha256(b"clip\n" + "\n".join(picture.key for picture in pictures).encode())
    return Clip(
        frames=pictures,
        fps=fps,
        key=digest.hexdigest()[:32],
        name=name,
        times=tuple(times),
        damage=damage,
    )


def _clip_of_file(path: Path, fps: float | None, most: int, cut: Cut, name: str) -> Clip:
    if not path.is_file():
        reason = "a device, not a video" if path.exists() else "no such file or folder"
        raise ClipError(f"{name}: {reason}")
    if not path.stat().st_size:
        raise ClipError(f"{name}: empty (0 bytes)")
    with path.open("rb") as file:
        try:
            reader = Animation(path) if is_animation_format(path) else Video(file)
        except ValueError as error:
            raise ClipError(f"{name}: {error}") from None
        with closing(reader):
            return _sampled_clip(reader, fps, most, cut, name)


def _sampled_clip(
    reader: Animation | Video, fps: float | None, most: int, cut: Cut, name: str
) -> Clip:
    _check_pixels(1, reader.size, name)
    frames: list[Picture] = []
    times: list[float] = []
    decoded = 0
    for decoded, timed in enumerate(reader.timed_frames(), start=1):
        if decoded > MAX_DECODED:
            raise ClipError(f"{name}: more than {MAX_DECODED} frames; cut the {reader.kind} first")
        if not is_sampled(timed.start, timed.end, fps):
            continue
        _check_count(len(frames) + 1, most, name)
        _check_pixels(len(frames) + 1, timed.size, name)
        frames.append(Picture.of(timed.pixels(), f"{name} at {timed.start:.2f} s"))
        times.append(timed.start)
        if frames[-1].size != frames[0].size:
            raise ClipError(
                f"{name}: its frames change size, {frames[0].size} to {frames[-1].size} "
                f"at {timed.start:.2f} s"
            )
    if reader.damage and cut == "error":
        raise ClipError(
            f"{name}: cut off or damaged after {decoded} frames ({reader.damage}); "
            "cut='keep' takes those that are whole"
        )
    if not decoded:
        raise ClipError(f"{name}: no frames{f' ({reader.damage})' if reader.damage else ''}")
    if decoded == 1 and isinstance(reader, Animation) and not reader.damage:
        raise ClipError(
            f"{name}: one frame, so it is a picture and no clip; tokenize it as an image"
        )
    fps = min(fps or reader.rate, reader.rate)
    return _clip_of_pictures(frames, fps, name, times, reader.damage)
