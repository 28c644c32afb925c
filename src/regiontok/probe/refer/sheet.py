"""Pictures with an expression's true mask and the one that was found: a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from regiontok.draw.sheet import Panel, contact_sheet
from regiontok.probe.refer.metrics import Overlap
from regiontok.probe.refer.referred import Referred

if TYPE_CHECKING:
    from jaxtyping import Bool

TRUTH, PAPER = (20, 20, 20), (244, 244, 244)
_FADED, _LONGEST = 0.8, 320  # share of paper where nothing was found, pixels of the longer side


class Found(NamedTuple):
    """An expression and the mask that was found for it.

    Attributes:
        sample: the expression.
        mask: `[H W]` bool.
        overlap: with the true mask.
    """

    sample: Referred
    mask: Bool[np.ndarray, "H W"]
    overlap: Overlap


def referred_sheet(rows: Sequence[tuple[str, Sequence[Found]]], *, title: str) -> Image.Image:
    """A contact sheet: the predicted mask in full colour, the true one as a black outline.

    Args:
        rows: a title and the expressions of each row.
        title: of the sheet.

    Raises:
        ValueError: If there are no rows.
    """
    return contact_sheet(
        [[found_panel(found) for found in row] for _, row in rows],
        title=title,
        subtitle="full colour: the mask that was found; black outline: the object that is meant",
        row_titles=[row_title for row_title, _ in rows],
    )


def found_panel(found: Found) -> Panel:
    """A picture with both masks, the expression and the IoU."""
    pixels = found.sample.picture().pixels.astype(np.float32)
    outside = ~found.mask  # a tint would be taken for the object's own colour
    pixels[outside] = (1 - _FADED) * pixels[outside] + _FADED * np.array(PAPER, np.float32)
    factor = max(1, _LONGEST // max(found.sample.size))
    large = pixels.repeat(factor, 0).repeat(factor, 1)
    large[_outline(found.sample.mask().numpy().astype(bool), factor)] = TRUTH
    image = Image.fromarray(large.round().astype(np.uint8))
    return Panel(image, caption=f'"{found.sample.text}", IoU {found.overlap.iou:.2f}')


def _outline(mask: Bool[np.ndarray, "H W"], factor: int) -> Bool[np.ndarray, "*large"]:
    """The pixels of an enlarged mask that lie within two pixels of its border."""
    large = mask.repeat(factor, 0).repeat(factor, 1)
    edge = np.zeros_like(large)
    for axis in (0, 1):
        for shift in (-2, -1, 1, 2):
            edge |= large & ~np.roll(large, shift, axis)
    return edge
