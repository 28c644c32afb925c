"""A contact sheet: pictures of a test set with their true objects, and with what was found."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.draw.sheet import Panel, column_width, contact_sheet, scaled
from regiontok.probe.detect.coco_files import DetectionImage

COLUMNS, LEAST = 6, 0.5  # pictures of a sheet, and the score from which a detection is drawn
_TINT, _LETTERS = 0.45, 14  # share of a mask's colour, pixels of letters
_HUE = 0.381966  # of the circle, from one class to the next: near classes are far apart


class _Drawn(NamedTuple):
    """An object as it is drawn.

    Attributes:
        box: xyxy in the picture's pixels.
        label: what stands at the box.
        class_: place of the class.
        mask: `[H W]` bool; None if there is none.
    """

    box: Sequence[float]
    label: str
    class_: int
    mask: np.ndarray | None


def detection_sheet(
    images: Sequence[DetectionImage],
    results: Sequence[Mapping[str, Any]],
    categories: Sequence[tuple[int, str]],
    *,
    title: str,
) -> Image.Image:
    """A contact sheet: pictures with true objects above, with those that were found below.

    Args:
        images: the pictures, of which the first that are there to read are drawn.
        results: detections of these and other pictures in COCO's form of results.
        categories: number and name of each category, in the order of the classes.
        title: of the sheet.

    Raises:
        ValueError: If there are no pictures.
        PictureError: If a picture cannot be read.
    """
    truth, found = [], []
    for image in images[:COLUMNS]:
        picture = Picture.of(image.path)
        true_objects = _true_objects(image, categories)
        truth.append(_panel(picture, true_objects, f"true: {len(true_objects)} objects"))
        seen = [r for r in results if r["image_id"] == image.id and r["score"] >= LEAST]
        objects = _found_objects(seen, categories, image.size)
        found.append(_panel(picture, objects, f"found: {len(objects)} of a score from {LEAST} on"))
    return contact_sheet(
        [truth, found],
        title=title,
        subtitle="a colour a class, and the detection's score in percent",
        row_titles=["truth", "found"],
    )


def _true_objects(image: DetectionImage, categories: Sequence[tuple[int, str]]) -> list[_Drawn]:
    objects = image.objects
    dense = None if objects.masks is None else objects.masks.dense().numpy()
    return [
        _Drawn(box, categories[class_][1], class_, None if dense is None else dense[row])
        for row, (box, class_) in enumerate(
            zip(objects.boxes.tolist(), objects.classes.tolist(), strict=True)
        )
    ]


def _found_objects(
    results: Sequence[Mapping[str, Any]],
    categories: Sequence[tuple[int, str]],
    size: tuple[int, int],
) -> list[_Drawn]:
    places = {number: place for place, (number, _) in enumerate(categories)}
    drawn = []
    for result in results:
        x, y, width, height = result["bbox"]
        class_ = places[result["category_id"]]
        code = result.get("segmentation")
        mask = None if code is None else PixelMasks.from_coco([code], size).dense().numpy()[0]
        label = f"{categories[class_][1]} {100 * result['score']:.0f}"
        drawn.append(_Drawn((x, y, x + width, y + height), label, class_, mask))
    return drawn


def _panel(picture: Picture, objects: Sequence[_Drawn], caption: str) -> Panel:
    """A picture with masks in tints, boxes, and names on plates."""
    image = scaled(picture, column_width(COLUMNS))
    pixels = np.array(image, np.float32)
    for drawn in objects:
        if drawn.mask is not None:
            large = Image.fromarray(drawn.mask).resize(image.size, Image.Resampling.NEAREST)
            inside = np.array(large)
            pixels[inside] = (1 - _TINT) * pixels[inside] + _TINT * np.array(_colour(drawn.class_))
    image = Image.fromarray(pixels.round().astype(np.uint8))
    pen, factor = ImageDraw.Draw(image), image.width / picture.size[1]
    font = ImageFont.load_default(_LETTERS)
    for drawn in objects:
        x0, y0, x1, y1 = (float(edge) * factor for edge in drawn.box)
        pen.rectangle((x0, y0, x1, y1), outline=_colour(drawn.class_), width=2)
    for drawn in objects:  # over all boxes
        x0, y0 = float(drawn.box[0]) * factor, float(drawn.box[1]) * factor - _LETTERS - 3
        corner = (min(x0, image.width - pen.textlength(drawn.label, font) - 2), max(y0, 0.0))
        left, top, right, bottom = pen.textbbox(corner, drawn.label, font)
        pen.rectangle((left - 2, top - 2, right + 2, bottom + 2), fill=(0, 0, 0))
        pen.text(corner, drawn.label, fill=_colour(drawn.class_), font=font)
    return Panel(image, caption=caption)


def _colour(class_: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hls_to_rgb(class_ * _HUE % 1, 0.65, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)
