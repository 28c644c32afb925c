"""Data sets in COCO's form: pictures with boxes, classes and masks, and what is wrong with them.

COCO's own files, LVIS's, the folders of a Roboflow export and one's own are read. What cannot be
used is set aside and counted: nothing is guessed, and nothing is dropped in silence.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from regiontok.core.masks import PixelMasks
from regiontok.probe.coco_json import CocoJson, CocoJsonError, Record
from regiontok.probe.detect.objects import Objects
from regiontok.system.errors import RegiontokError

# names of a file of annotations in a folder: Roboflow's, this project's, COCO's usual
ANNOTATIONS = ("_annotations.coco.json", "instances.json", "annotations.json")
IMAGE_FOLDERS = ("", "images", "train2017", "val2017")
LEAST = 1.0  # pixels of a box's side


class DetectionDataError(RegiontokError, ValueError):
    """A data set in COCO's form that cannot be read; the message says what is wrong."""


@dataclass(frozen=True)
class DetectionImage:
    """A picture of a data set, and the objects on which a detector can learn.

    Attributes:
        id: its number in the file.
        path: its file.
        size: (H, W) in pixels, as the annotations have it.
        objects: the objects.
    """

    id: int
    path: Path
    size: tuple[int, int]
    objects: Objects


@dataclass(frozen=True)
class DetectionSet:
    """A data set in COCO's form.

    Attributes:
        file: the file of annotations.
        images: its pictures, in the order of their numbers, also those without objects.
        categories: number and name of each category; a class is its place here.
        truth: what the file holds, for scoring.
        set_aside: how many annotations and pictures could not be used, by reason.
        notes: what a user should know, such as categories without an instance.
        has_masks: whether some object has a mask.
        is_lvis: whether categories are annotated as LVIS has it, not exhaustively.
    """

    file: Path
    images: tuple[DetectionImage, ...]
    categories: tuple[tuple[int, str], ...]
    truth: Mapping[str, Any] = field(repr=False)
    set_aside: Mapping[str, int]
    notes: tuple[str, ...]
    has_masks: bool
    is_lvis: bool


def read_detection_set(path: Path, images: Path | None = None) -> DetectionSet:
    """Read a data set.

    Args:
        path: a file of annotations, or a folder that holds one of `ANNOTATIONS`.
        images: the folder in which the pictures' names begin; without one they are looked for
            beside the file and in its folder `images`.

    Raises:
        DetectionDataError: If there is no such file, it is not in COCO's form, or no picture of it
            is there.
    """
    file = _file_of(path)
    read = _parsed(file)
    content = read.content
    categories = tuple(sorted((int(c["id"]), str(c["name"])) for c in content["categories"]))
    if not categories:
        raise DetectionDataError(f"{file} names no category: there is nothing to detect")
    places = {number: place for place, (number, _) in enumerate(categories)}
    reader = _Reader(places)
    folder = images or file.parent
    found = []
    for image in sorted(content["images"], key=lambda image: int(image["id"])):
        image_path = _image_path(image, folder)
        if image_path is None:
            reader.set_aside["pictures that are missing"] += 1
            continue
        objects = reader.objects(read.by_image.get(image["id"], ()), image)
        size = int(image["height"]), int(image["width"])
        found.append(DetectionImage(int(image["id"]), image_path, size, objects))
    if not found:
        raise DetectionDataError(
            f"none of the {len(content['images'])} pictures of {file} is in {folder}: name their "
            "folder with --images"
        )
    empty = [name for number, name in categories if not reader.instances[places[number]]]
    return DetectionSet(
        file=file,
        images=tuple(found),
        categories=categories,
        truth=content,
        set_aside=dict(reader.set_aside),
        notes=_notes(empty, len(categories)),
        has_masks=reader.has_masks,
        is_lvis=any("neg_category_ids" in image for image in content["images"]),
    )


class _Reader:
    """Reads annotations, and counts what cannot be used."""

    def __init__(self, places: Mapping[int, int]) -> None:
        self.places = places
        self.set_aside: Counter[str] = Counter()
        self.instances: Counter[int] = Counter()
        self.has_masks = False

    def objects(
        self, annotations: Sequence[Mapping[str, Any]], image: Mapping[str, Any]
    ) -> Objects:
        """The objects of one picture on which a detector can learn."""
        size = (int(image["height"]), int(image["width"]))
        boxes, classes, segmentations = [], [], []
        for annotation in annotations:
            box, reason = self._box(annotation, size)
            segmentation = annotation.get("segmentation")
            if not reason and segmentation and not _is_readable(segmentation, size):
                reason = "objects whose mask cannot be read"
            if box is None or reason:
                self.set_aside[reason] += 1
                continue
            boxes.append(box)
            classes.append(self.places[annotation["category_id"]])
            segmentations.append(segmentation)
        self.instances.update(classes)
        masks = None
        if segmentations and all(segmentations):
            masks = PixelMasks.from_coco(segmentations, size)
            self.has_masks = True
        return Objects(
            torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            torch.tensor(classes, dtype=torch.long),
            masks,
        )

    def _box(self, annotation: Record, size: tuple[int, int]) -> tuple[list[float] | None, str]:
        """The box of an annotation, cut to the picture; or why there is none to learn from."""
        if annotation.get("category_id") not in self.places:
            return None, "objects of a category that the file does not name"
        if annotation.get("iscrowd"):
            return None, "crowds (they count as such in scoring)"
        try:
            x, y, width, height = (float(number) for number in annotation["bbox"])
        except (KeyError, TypeError, ValueError):
            return None, "objects without a box of four numbers"
        if not all(map(math.isfinite, (x, y, width, height))):
            return None, "objects without a box of four numbers"
        if width <= 0 or height <= 0:
            return None, "objects with an empty box"
        left, top = max(x, 0.0), max(y, 0.0)
        right, bottom = min(x + width, float(size[1])), min(y + height, float(size[0]))
        if right - left < LEAST or bottom - top < LEAST:
            inside = right > left and bottom > top
            return None, "objects under a pixel" if inside else "objects outside the picture"
        return [left, top, right, bottom], ""


def _is_readable(segmentation: Any, size: tuple[int, int]) -> bool:
    try:
        PixelMasks.from_coco([segmentation], size)
    except ValueError:
        return False
    return True


def _notes(empty: list[str], count: int) -> tuple[str, ...]:
    if not empty:
        return ()
    names = ", ".join(empty[:5]) + (", ..." if len(empty) > 5 else "")
    return (f"{len(empty)} of {count} categories have no instance to learn from: {names}",)


def _file_of(path: Path) -> Path:
    if path.is_file():
        return path
    for name in ANNOTATIONS:
        if (path / name).is_file():
            return path / name
    what = "a folder without any of" if path.is_dir() else "neither a file nor a folder with one of"
    raise DetectionDataError(
        f"{path} is {what} {', '.join(ANNOTATIONS)}: name the file of annotations in COCO's form"
    )


def _parsed(file: Path) -> CocoJson:
    try:
        read = CocoJson.read(file)
    except CocoJsonError as error:
        raise DetectionDataError(str(error)) from None
    for image in read.content["images"]:
        if absent := [key for key in ("id", "height", "width") if key not in image]:
            raise DetectionDataError(f"{file}: a picture has no {absent[0]}: {str(image)[:80]}")
    return read


def _image_path(image: Record, folder: Path) -> Path | None:
    """Where a picture lies; LVIS has no file names, and the address of COCO's picture instead."""
    name = image.get("file_name")
    if not name:
        name = "/".join(str(image.get("coco_url", "")).split("/")[-2:])
    for inner in IMAGE_FOLDERS:
        for candidate in (name, Path(name).name):
            path = folder / inner / candidate
            if candidate and path.is_file():
                return path
    return None
