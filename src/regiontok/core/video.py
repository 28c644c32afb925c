"""Video files: their whole frames and times, by PyAV (`regiontok[video]`).

Differs: pixels are taken as square and colours as the file says they are; rotations by 90, 180 and
270 degrees are undone, mirrored and oblique ones are left as stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO

import numpy as np

from regiontok.core.sampling import TimedFrame
from regiontok.system.need import need

SUFFIXES = frozenset(".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .ts .flv .ogv .wmv".split())
# Containers that hold their own frames: a playlist (HLS, concat) would open the files and addresses
# that it names.
CONTAINERS = "mov,matroska,avi,mpeg,mpegts,flv,ogg,asf"


class Video:
    """The whole frames of a video file, read once, in order.

    Attributes:
        damage: why the frames end early; "" if they do not, as far as has been read.
        rate: frames a second.
        size: (H, W) in pixels, as stored.

    Raises:
        ValueError: If the file is no video of a known format, or has no video stream.
        MissingPackage: If PyAV is not installed.
    """

    kind = "video"

    def __init__(self, file: BinaryIO) -> None:
        av = need("av", extra="video")
        self._errors = av.FFmpegError
        options = {"format_whitelist": CONTAINERS, "protocol_whitelist": ""}
        try:
            self._container = av.open(file, options=options, metadata_errors="replace")
            self._stream = self._container.streams.best("video")
            context = None if self._stream is None else self._stream.codec_context
        except (av.FFmpegError, UnicodeError) as error:
            raise ValueError(
                f"no video of a known format, or one cut off at its head ({_reason(error)})"
            ) from None
        if context is None:
            self.close()
            raise ValueError("no frames: it has no video stream that can be decoded")
        self.damage = ""
        self.rate = float(self._stream.average_rate or self._stream.guessed_rate or 25)
        self.size: tuple[int, int] = context.height, context.width
        self._decoded = 0

    def timed_frames(self) -> Iterator[TimedFrame]:
        """The frames, up to the first sign of damage; each ends when the next one begins."""
        origin: float | None = None
        pending: tuple[float, Any] | None = None
        for frame in self._whole_frames():
            time = self._decoded / self.rate if frame.time is None else float(frame.time)
            origin = time if origin is None else origin
            if pending is not None:
                yield _timed(*pending, end=time - origin)
            pending = time - origin, frame
        if pending is not None:
            start, frame = pending
            lasts = _seconds(frame.duration, frame.time_base) or 0.0
            yield _timed(start, frame, end=start + max(lasts, 1 / self.rate))

    def _whole_frames(self) -> Iterator[Any]:
        """PyAV's frames up to the first sign of damage.

        All streams are read, because sound may go on where pictures end.
        """
        reached = -math.inf  # seconds
        try:
            for packet in self._container.demux():
                if packet.is_corrupt:
                    self.damage = "its data end within a packet"
                    return
                is_video = packet.stream.index == self._stream.index
                if packet.pts is not None:
                    lasts = _seconds(packet.duration, packet.time_base)
                    if lasts is None:
                        lasts = 1 / self.rate if is_video else 0.0
                    reached = max(reached, float(packet.pts * packet.time_base) + lasts)
                if not is_video:
                    continue
                for frame in packet.decode():
                    if frame.is_corrupt:
                        self.damage = "a frame is damaged"
                        return
                    yield frame
                    self._decoded += 1
        except self._errors as error:
            self.damage = _reason(error)
            return
        self.damage = self._missing(reached)

    def _missing(self, reached: float) -> str:
        """What the container promised and did not hold, in seconds; "" if it is whole.

        A container that does not say how long it is (MPEG-TS, a live recording) hides a cut.
        """
        if self._container.duration is None:
            return ""
        promised = ((self._container.start_time or 0) + self._container.duration) / 1e6
        # Less than a frame; beside sound, whose last packet may be counted in other ways, at least
        # 50 ms.
        tolerance = max(0.9 / self.rate, 0.05 if len(self._container.streams) > 1 else 0.0)
        if promised - reached <= tolerance:
            return "" if self._decoded else "nothing that can be decoded"
        return f"{promised:.2f} s were promised, {max(reached, 0.0):.2f} s are there"

    def close(self) -> None:
        """Close the container; the file stays open."""
        self._container.close()


def _timed(start: float, frame: Any, *, end: float) -> TimedFrame:
    return TimedFrame(start, end, (frame.height, frame.width), partial(_upright, frame))


def _seconds(duration: int | None, time_base: Any) -> float | None:
    return float(duration * time_base) if duration and time_base else None


def _reason(error: Exception) -> str:
    """The decoder's own words, without its error number."""
    return (getattr(error, "strerror", None) or str(error)).strip() or type(error).__name__


def _upright(frame: Any) -> np.ndarray:
    pixels: np.ndarray = frame.to_ndarray(format="rgb24")
    if frame.rotation % 90:
        return pixels
    return np.rot90(pixels, frame.rotation // 90)  # both count counterclockwise
