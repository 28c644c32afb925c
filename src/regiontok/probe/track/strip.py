"""Frames of a clip with the target's box and the box that was found: a row of a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import ImageDraw

from regiontok.draw.sheet import Panel, column_width, contact_sheet, scaled
from regiontok.draw.strip import FRAMES, spread_frames
from regiontok.probe.track.clips import TrackClip
from regiontok.probe.track.scores import overlaps
from regiontok.probe.track.tracker import Track

if TYPE_CHECKING:
    from jaxtyping import Float
    from PIL import Image

TRUTH, FOUND = (255, 255, 255), (255, 96, 0)


def track_sheet(
    tracks: Sequence[tuple[str, TrackClip, Track]], *, title: str, most: int = FRAMES
) -> Image.Image:
    """A contact sheet: a row a clip, the target's box in white and the found one in orange.

    Args:
        tracks: a title, a clip and its track for each row.
        title: of the sheet.
        most: frames of a row.

    Raises:
        ValueError: If there are no tracks.
    """
    return contact_sheet(
        [track_strip(clip, track, most=most) for _, clip, track in tracks],
        title=title,
        subtitle="white: the target's box; orange: the box that was found",
        row_titles=[row_title for row_title, _, _ in tracks],
    )


def track_strip(clip: TrackClip, track: Track, *, most: int = FRAMES) -> list[Panel]:
    """Frames of a clip, evenly spread, with both boxes and their overlap."""
    panels = []
    for index in spread_frames(len(clip), most):
        picture = clip.picture(index)
        drawing = scaled(picture, column_width(most))
        scale = drawing.width / picture.size[1]
        caption = f"frame {index}"
        if clip.is_labelled and clip.has_target[index]:
            _draw_box(drawing, clip.boxes[index] * scale, TRUTH)
            overlap = overlaps(track.boxes[index : index + 1], clip.boxes[index : index + 1])
            caption += f", IoU {float(overlap[0]):.2f}"
        elif clip.is_labelled:
            caption += ", no target"
        _draw_box(drawing, track.boxes[index] * scale, FOUND)
        panels.append(Panel(drawing, caption=caption))
    return panels


def _draw_box(drawing: Image.Image, box: Float[np.ndarray, "4"], colour: tuple[int, ...]) -> None:
    x, y, width, height = box.tolist()
    pen = ImageDraw.Draw(drawing)
    pen.rectangle((x - 1, y - 1, x + width + 1, y + height + 1), outline=(0, 0, 0), width=4)
    pen.rectangle((x, y, x + width, y + height), outline=colour, width=2)
