"""A layout: everything that decides the pixels of a generated picture, and how it is painted.

Two layouts that differ in one object give two pictures that differ in it alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from regiontok.miniworld import _ink, _sample
from regiontok.miniworld._sample import Canvas, Placed
from regiontok.miniworld.lettering import Plate, glyph_sheet, plate_size, print_plate
from regiontok.miniworld.plan import Plan, PlannedText, draw_plan

# Arrangements of a plan before another one is drawn: at 128 pixels 94 % of plans need one, and one
# in 5,000 more than twelve.
RESTARTS = 12
PLANS = 40  # plans before it is called impossible
PLATE_TRIES = 24
LINES = 9  # most lines and circles of the clutter behind the objects
_LINE_HEIGHT = (0.085, 0.125)  # of a printed line, as a share of the picture's shorter side
_SHADES = ((244.0, 18.0), (226.0, 40.0), (20.0, 240.0), (46.0, 226.0))  # plate, ink


class Roles(NamedTuple):
    """What a layout's objects are for.

    Attributes:
        askable: for each object, whether questions may be about its attributes.
        plan: what was planned.
    """

    askable: tuple[bool, ...]
    plan: Plan


@dataclass(frozen=True, eq=False)
class Layout:
    """Everything that decides a picture.

    Attributes:
        size: (H, W) in pixels.
        background: `[12]` numbers of the background.
        lines: `[n 7]` lines and circles of the clutter; see `_ink.draw_lines`.
        items: the objects, from back to front.
        tones: `[k 6]` numbers of the objects' tones.
        plates: the printed texts.
        roles: what the objects are for.
    """

    size: tuple[int, int]
    background: np.ndarray
    lines: np.ndarray
    items: tuple[Placed, ...]
    tones: np.ndarray
    plates: tuple[Plate, ...]
    roles: Roles

    def with_item(self, number: int, *, colour: str = "", texture: str = "") -> Layout:
        """The layout with another colour or texture of one object."""
        items = list(self.items)
        item = items[number]
        items[number] = item._replace(colour=colour or item.colour, texture=texture or item.texture)
        return replace(self, items=tuple(items))

    def without_item(self, number: int) -> Layout:
        """The layout without one object."""
        askable = self.roles.askable
        return replace(
            self,
            items=self.items[:number] + self.items[number + 1 :],
            tones=np.delete(self.tones, number, axis=0),
            roles=self.roles._replace(askable=askable[:number] + askable[number + 1 :]),
        )


def draw_layout(rng: np.random.Generator, size: tuple[int, int], min_visible: float) -> Layout:
    """Draw a layout.

    Args:
        rng: the source of all draws.
        size: (H, W) in pixels.
        min_visible: share of its area that every object shows at least.

    Raises:
        ValueError: If the objects of no plan find room.
    """
    background, lines = rng.random(12), _clutter(rng, size)
    for _ in range(PLANS):
        plan = draw_plan(rng)
        for _ in range(RESTARTS):
            arranged = _arrange(rng, plan, size, min_visible)
            if arranged is not None:
                items, plates = arranged
                askable = tuple(planned.askable for planned in plan.objects)
                tones = rng.random((len(items), 6))
                roles = Roles(askable, plan)
                return Layout(size, background, lines, items, tones, plates, roles)
    raise ValueError(
        f"objects with min_visible={min_visible} found no room in {size[0]}x{size[1]} pixels in "
        f"{PLANS * RESTARTS} arrangements; lower min_visible"
    )


def paint(layout: Layout) -> tuple[str, np.ndarray, np.ndarray]:
    """The word for the background, pixels `[H W 3]` uint8 and labels `[H W]` int16 of a layout.

    Labels are i + 1 under the visible pixels of object i, and go on with the plates.
    """
    background, pixels = _sample.background_of(layout.background, *layout.size)
    _ink.draw_lines(pixels, layout.lines)
    labels = np.zeros(layout.size, np.int16)
    for number, (item, tones) in enumerate(zip(layout.items, layout.tones.tolist(), strict=True)):
        _sample.paint_with(tones, pixels, item)
        _ink.stamp(item.distance, item.corner, labels, number + 1)
    for number, plate in enumerate(layout.plates, start=len(layout.items) + 1):
        print_plate(pixels, plate)
        left, top, right, bottom = plate.box
        labels[top:bottom, left:right] = number
    return background, pixels, labels


def _arrange(
    rng: np.random.Generator, plan: Plan, size: tuple[int, int], min_visible: float
) -> tuple[tuple[Placed, ...], tuple[Plate, ...]] | None:
    """Places of all that is planned; None if something finds no place.

    Plates stand first, and no object may hide any of them.
    """
    count = len(plan.texts) + len(plan.objects)
    canvas = Canvas(
        np.zeros(size, np.int16), np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64)
    )
    plates = []
    for label, text in enumerate(plan.texts, start=1):
        plate = _place_plate(rng, canvas, label, text)
        if plate is None:
            return None
        plates.append(plate)
    items = []
    for label, planned in enumerate(plan.objects, start=len(plates) + 1):
        item = _sample.place_look(rng, canvas, label, planned.look, planned.size, min_visible)
        if item is None:
            return None
        items.append(item)
    return tuple(items), tuple(plates)


def _place_plate(
    rng: np.random.Generator, canvas: Canvas, label: int, text: PlannedText
) -> Plate | None:
    """A place of a plate beside the earlier ones."""
    height, width = canvas.labels.shape
    fonts = glyph_sheet().fonts
    font = fonts[int(text.font * len(fonts))]
    smallest, largest = _LINE_HEIGHT
    line = round(min(height, width) * (smallest + (largest - smallest) * text.height))
    high, wide = plate_size(text.text, font, line)
    if wide > width:
        return None
    corners = (rng.random((PLATE_TRIES, 2)) * (height - high + 1, width - wide + 1)).astype(int)
    for top, left in corners.tolist():
        under = canvas.labels[top : top + high, left : left + wide]
        if not under.any():
            under[:] = label
            canvas.visible[label] = canvas.needed[label] = high * wide
            tones = _SHADES[int(text.shade * len(_SHADES))]
            return Plate(text.text, text.kind, font, (top, left), (high, wide), line, tones)
    return None


def _clutter(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Thin lines and circles in the background's own tone, a little lighter or darker."""
    u = rng.random((LINES, 8))
    count = int(rng.random() * (LINES + 1))
    shorter = min(size)
    reach = 0.05 + 0.35 * u[:, 2]
    turns = (u[:, 3] - 0.5, u[:, 4] - 0.5)
    y, x = u[:, 0] * size[0], u[:, 1] * size[1]
    half = shorter * (0.002 + 0.006 * u[:, 5])
    shift = (14.0 + 26.0 * u[:, 6]) * np.where(u[:, 3] < 0.5, 1.0, -1.0)
    is_circle = (u[:, 7] < 0.4).astype(float)
    ends = [y + 2 * shorter * reach * turns[0], x + 2 * shorter * reach * turns[1]]
    return np.stack([y, x, *ends, half, shift, is_circle], axis=1)[:count]
