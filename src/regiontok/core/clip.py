"""Clip: frames of one size in order. The only place that decodes a video.

A video file (through PyAV, `regiontok[video]`), an animated GIF or WebP, a folder of frames, a list
of pictures or one array leaves as a tuple of pictures.

Sampling. A video, or frames of a known `rate`, is sampled by timestamps: at `fps` the frames on
screen at 0, 1/fps, 2/fps ... seconds after the first one, each frame once, so that a video slower
than `fps` gives all its frames. Timestamps may be off by 1 ms (Matroska rounds to that).

Differs: pixels are taken as square and colours as the file says they are; rotations by 90, 180 and
270 degrees are undone, mirrored and oblique ones are left as stored.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import numpy as np
from PIL import Image

from regiontok.core.animation import Animation, is_animation_format
from regiontok.core.picture import SUFFIXES, Picture
from regiontok.system.need import need

VIDEOS = frozenset(".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .ts .flv .ogv .wmv".split())
# Containers that hold their own frames: a playlist (HLS, concat) would open the files and addresses
# that it names.
CONTAINERS = "mov,matroska,avi,mpeg,mpegts,flv,ogg,asf"
MOST = 256  # frames of a clip unless it is told otherwise
MAX_PIXELS = 2**29  # of all frames together: 1.5 GiB, or 256 frames of 1920 x 1080
MAX_DECODED = 500_000  # frames looked at: more than four hours at 30 a second
TOLERANCE = 1e-3  # seconds
Cut = Literal["error", "keep"]


class ClipError(ValueError):
    """A clip that cannot be had whole; the message names it and says what is wrong."""


@dataclass(frozen=True, eq=False)
class Clip:
    """The frames of one clip.

    Attributes:
        frames: pictures of one size, in order; at least one.
        fps: frames a second, None if nobody knows.
        key: hash of the frames' keys: the same frames, the same key.
        name: what to call it in messages and tables.
        times: seconds of each frame after the first one; empty if nobody knows.
        damage: why the frames end early, if they do (`cut="keep"`).

    >>> clip = Clip.of(np.zeros((3, 4, 6, 3), np.uint8), fps=2)
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
        for at, frame in enumerate(self.frames):
            if frame.size != self.size:
                raise ClipError(
                    f"{self.name}: all frames must have one size, but frame {at} is {frame.size} and frame 0 is {self.size} (H, W)"
                )
        if self.times and len(self.times) != len(self.frames):
            raise ClipError(
                f"{self.name}: {len(self.frames)} frames need as many times, got {len(self.times)}"
            )

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels of every frame."""
        return self.frames[0].size

    @classmethod
    def of(
        cls,
        source: Any,
        fps: float | None = None,
        *,
        rate: float | None = None,
        most: int = MOST,
        cut: Cut = "error",
        name: str | None = None,
    ) -> Clip:
        """A clip from a video or animation, a folder of frames (in natural order: 2 before 10), a
        list of pictures, an array `[T H W 3]`.

        Args:
            source: see above; frames may be anything `Picture.of` takes.
            fps: frames a second to take, see the module's docstring; None takes all.
            rate: frames a second of a source that has no timestamps (all but videos and
                animations). Where it is None, all frames are taken, and `fps` is what they are
                taken to run at.
            most: a clip of more frames is an error, never a shorter clip.
            cut: what to do with a video that is cut off or damaged: "error", or "keep" the whole
                frames before it (`damage` then says what happened). A container that does not say
                how long it is (MPEG-TS, a live recording) hides a cut.
            name: what to call it.

        Raises:
            ClipError: no frames, too many, too large, of several sizes, cut off, no video at all,
                or a GIF or WebP of one frame.
            PictureError: a frame that cannot be decoded.
            MissingPackage: a video without PyAV installed.
            ValueError: `fps`, `rate` or `most` that is no positive number.
        """
        if isinstance(source, Clip):
            return source
        _check(fps, rate, most, cut)
        path = Path(source) if isinstance(source, str | Path) else None
        called = name or (str(path) if path else "clip")
        if path and not path.is_dir():
            return _of_video(path, fps, most, cut, called)
        frames = _folder(path) if path else _frames(source)
        if rate is None:
            times = [at / fps for at in range(len(frames))] if fps else []
            chosen = list(range(len(frames)))
        else:
            chosen = [
                at
                for at in range(len(frames))
                if fps is None or _wanted(at / rate, (at + 1) / rate, fps)
            ]
            times = [at / rate for at in chosen]
            fps = min(fps or rate, rate)
        _bounded(len(chosen), most, called)
        return _clip(_opened(frames, chosen, called), fps, called, times)


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key under which frame2 stands before frame10, and a number before a word.

    >>> sorted(["f10.png", "f2.png", "f1.png"], key=natural)
    ['f1.png', 'f2.png', 'f10.png']
    """
    parts = re.findall(r"[0-9]+|[^0-9]+", name.lower())
    return [(0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts]


def frame_files(folder: Path) -> list[Path]:
    """The images that lie directly in a folder, in natural order."""
    found = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]
    return sorted(found, key=lambda path: (natural(path.name), path.name))


def _check(fps: float | None, rate: float | None, most: int, cut: str) -> None:
    for what, value in (("fps", fps), ("rate", rate)):
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{what} must be a positive number of frames a second, got {value}")
    if most < 1:
        raise ValueError(f"a clip has at least one frame, got most={most}")
    if cut not in get_args(Cut):
        raise ValueError(f"cut must be 'error' or 'keep', not {cut!r}")


def _folder(folder: Path) -> list[Path]:
    try:
        found = frame_files(folder)
    except OSError as error:
        raise ClipError(f"{folder}: cannot be read ({error.strerror})") from error
    if not found:
        raise ClipError(
            f"{folder}: no frames: no images lie in this folder (looked for {' '.join(sorted(SUFFIXES))})"
        )
    return found


def _frames(source: Any) -> Any:
    if hasattr(source, "ndim"):
        if source.ndim != 4:
            raise ClipError(
                f"expected an array of frames [T H W 3], got shape {list(source.shape)}"
            )
        return source
    if not isinstance(source, Iterable) or isinstance(source, bytes | bytearray | Picture):
        raise TypeError(
            f"expected a video file, a folder of frames, a list of pictures or an array [T H W 3]; got {type(source).__name__}"
        )
    return list(source)


def _bounded(count: int, most: int, name: str) -> None:
    if count > most:
        raise ClipError(
            f"{name}: more than {most} frames; take fewer a second (fps), or allow more (most)"
        )


def _roomy(count: int, size: tuple[int, int], name: str) -> None:
    high, wide = size
    if Image.MAX_IMAGE_PIXELS and high * wide > Image.MAX_IMAGE_PIXELS:
        limit = Image.MAX_IMAGE_PIXELS / 1e6
        raise ClipError(
            f"{name}: frames of {wide} x {high} have more than {limit:.0f} million pixels (PIL.Image.MAX_IMAGE_PIXELS)"
        )
    if count * high * wide > MAX_PIXELS:
        raise ClipError(
            f"{name}: {count} frames of {wide} x {high} are more than {MAX_PIXELS} pixels; take fewer (fps, most)"
        )


def _opened(frames: Any, chosen: list[int], name: str) -> Iterator[Picture]:
    for count, at in enumerate(chosen, start=1):
        frame = frames[at]
        own = None if isinstance(frame, str | Path | Picture) else f"{name} frame {at}"
        picture = Picture.of(frame, own)
        _roomy(count, picture.size, name)
        yield picture


def _clip(
    frames: Iterable[Picture], fps: float | None, name: str, times: list[float], damage: str = ""
) -> Clip:
    pictures = tuple(frames)
    digest = hashlib.sha256(b"clip\n" + "\n".join(picture.key for picture in pictures).encode())
    return Clip(pictures, fps, digest.hexdigest()[:32], name, tuple(times), damage)


def _wanted(start: float, end: float, fps: float) -> bool:
    """Whether a frame on screen from `start` to `end` is there at some multiple of 1/fps."""
    slot = math.ceil((start - TOLERANCE) * fps)
    return slot < (end - TOLERANCE) * fps


def _of_video(path: Path, fps: float | None, most: int, cut: Cut, name: str) -> Clip:
    if not path.is_file():
        raise ClipError(
            f"{name}: {'a device, not a video' if path.exists() else 'no such file or folder'}"
        )
    if not path.stat().st_size:
        raise ClipError(f"{name}: empty (0 bytes)")
    if is_animation_format(path):
        return _of_animation(path, fps, most, cut, name)
    av = need("av", extra="video")
    with path.open("rb") as file:
        try:
            video = _Video(av, file, name)
        except (av.FFmpegError, UnicodeError) as error:
            raise ClipError(
                f"{name}: no video of a known format, or one cut off at its head ({_said(error)})"
            ) from None
        with video.container:
            frames: list[Picture] = []
            times: list[float] = []
            for start, frame in video.sampled(fps):
                _bounded(len(frames) + 1, most, name)
                _roomy(len(frames) + 1, (frame.height, frame.width), name)
                frames.append(Picture.of(_upright(frame), f"{name} at {start:.2f} s"))
                times.append(start)
                if frames[-1].size != frames[0].size:
                    raise ClipError(
                        f"{name}: its frames change size, {frames[0].size} to {frames[-1].size} at {start:.2f} s"
                    )
    _sound(video.damage, video.decoded, cut, name)
    return _clip(frames, min(fps or video.rate, video.rate), name, times, video.damage)


def _of_animation(path: Path, fps: float | None, most: int, cut: Cut, name: str) -> Clip:
    try:
        animation = Animation(path)
    except ValueError as error:
        raise ClipError(f"{name}: {error}") from None
    _roomy(1, animation.size, name)
    frames: list[Picture] = []
    times: list[float] = []
    decoded, end = 0, 0.0
    for decoded, (start, end, frame) in enumerate(animation.shown(name), start=1):
        if decoded > MAX_DECODED:
            raise ClipError(f"{name}: more than {MAX_DECODED} frames; cut the animation first")
        if fps is None or _wanted(start, end, fps):
            _bounded(len(frames) + 1, most, name)
            _roomy(len(frames) + 1, animation.size, name)
            frames.append(frame)
            times.append(start)
    _sound(animation.damage, decoded, cut, name)
    if decoded == 1 and not animation.damage:
        raise ClipError(
            f"{name}: one frame, so it is a picture and no clip; tokenize it as an image"
        )
    return _clip(frames, min(fps or decoded / end, decoded / end), name, times, animation.damage)


def _sound(damage: str, decoded: int, cut: Cut, name: str) -> None:
    if damage and cut == "error":
        raise ClipError(
            f"{name}: cut off or damaged after {decoded} frames ({damage}); cut='keep' takes those that are whole"
        )
    if not decoded:
        raise ClipError(f"{name}: no frames{f' ({damage})' if damage else ''}")


class _Video:
    """The whole frames of a video file, read once; `damage` is set when the file ends before it
    should."""

    def __init__(self, av: Any, file: BinaryIO, name: str) -> None:
        self.errors, self.name = av.FFmpegError, name
        limits = {"format_whitelist": CONTAINERS, "protocol_whitelist": ""}
        self.container = av.open(file, options=limits, metadata_errors="replace")
        self.stream = self.container.streams.best("video")
        self.damage, self.decoded = "", 0
        if self.stream is None or self.stream.codec_context is None:
            self.container.close()
            raise ClipError(f"{name}: no frames: it has no video stream that can be decoded")
        self.rate = float(self.stream.average_rate or self.stream.guessed_rate or 25)
        _roomy(1, (self.stream.codec_context.height, self.stream.codec_context.width), name)

    def sampled(self, fps: float | None) -> Iterator[tuple[float, Any]]:
        """(seconds after the first frame, frame)."""
        before: tuple[float, Any] | None = None
        origin = 0.0
        for frame in self._whole():
            now = self.decoded / self.rate if frame.time is None else float(frame.time)
            origin = now if before is None else origin
            now -= origin
            if before is not None and (fps is None or _wanted(before[0], now, fps)):
                yield before
            before = now, frame
        if before is not None:
            start, frame = before
            lasts = (
                float(frame.duration * frame.time_base)
                if frame.duration and frame.time_base
                else 0.0
            )
            if fps is None or _wanted(start, start + max(lasts, 1 / self.rate), fps):
                yield before

    def _whole(self) -> Iterator[Any]:
        """Frames up to the first sign of damage; all streams are read, as sound may go on where
        pictures end."""
        reached = -math.inf
        try:
            for packet in self.container.demux():
                if packet.is_corrupt:
                    self.damage = "its data end within a packet"
                    return
                own = packet.stream.index == self.stream.index
                if packet.pts is not None:
                    lasts = (
                        float(packet.duration * packet.time_base)
                        if packet.duration
                        else own / self.rate
                    )
                    reached = max(reached, float(packet.pts * packet.time_base) + lasts)
                if not own:
                    continue
                for frame in packet.decode():
                    if frame.is_corrupt:
                        self.damage = "a frame is damaged"
                        return
                    yield frame
                    self.decoded += 1
                    if self.decoded > MAX_DECODED:
                        raise ClipError(
                            f"{self.name}: more than {MAX_DECODED} frames; cut the video first"
                        )
        except self.errors as error:
            self.damage = _said(error)
            return
        self.damage = self._missing(reached)

    def _missing(self, reached: float) -> str:
        """Nothing, or how many seconds the container promised and did not hold."""
        if self.container.duration is None:
            return ""
        promised = ((self.container.start_time or 0) + self.container.duration) / 1e6
        # less than a frame; beside sound, whose last packet may be counted otherwise, at least 50
        # ms
        tolerance = max(0.9 / self.rate, 0.05 if len(self.container.streams) > 1 else 0.0)
        if promised - reached <= tolerance:
            return "" if self.decoded else "nothing that can be decoded"
        return f"{promised:.2f} s were promised, {max(reached, 0.0):.2f} s are there"


def _said(error: Exception) -> str:
    """The decoder's own words, without its error number."""
    return (getattr(error, "strerror", None) or str(error)).strip() or type(error).__name__


def _upright(frame: Any) -> np.ndarray:
    pixels = frame.to_ndarray(format="rgb24")
    return (
        np.rot90(pixels, frame.rotation // 90) if frame.rotation % 90 == 0 else pixels
    )  # counterclockwise, both
