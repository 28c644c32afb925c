"""PixCV-Bench and PixMMVP as they are published: masks of the objects that questions are about.

PixCV-Bench has the masks and `Objects.csv`; its questions and pictures are CV-Bench's. A folder
holds, at any depth::

    COCO/FinalSegmentations.json, ADE20K/FinalSegmentations.json    masks (or Segmentations.json)
    Objects.csv                   Id, file, Objects: question, picture, and what it is about
    test*.jsonl or test*.parquet  CV-Bench's questions, with their pictures or a path to each
    img/2D/..., or the file names of Objects.csv, or those of the masks      pictures

PixMMVP has `Segmentations.json`, and MMVP's `Questions.csv` (or its own `visual_patterns.csv`).
Without questions, each picture's objects are asked about in the words of `ask`.

After: PixCV-Bench (Siam 2025), used by the diagnostic study's focus metric (row D16).
Differs: a mask of another size than its picture is rescaled to it (145 of the masks are of
CV-Bench's rendering), and counted.
"""

from __future__ import annotations

import ast
import csv
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from regiontok.core.picture import SUFFIXES, Picture
from regiontok.evaluation.focus_options import Annotation
from regiontok.evaluation.prompts import ask_choice
from regiontok.jobs.focus.cvbench_rows import Row, question_rows
from regiontok.jobs.focus.questions import (
    AnnotatedObject,
    FocusQuestion,
    NoFocusData,
    Size,
    union_on,
)
from regiontok.segment.formats.rle import read_json

MASK_FILES = ("FinalSegmentations.json", "Segmentations.json")
EXPECTED = (
    "expected FinalSegmentations.json or Segmentations.json (PixCV-Bench, PixMMVP) somewhere in it"
)


@dataclass(frozen=True, eq=False)
class ImageMasks:
    """The masks of one picture, not read yet.

    Attributes:
        name: the picture's file name.
        segmentations: COCO segmentations, polygons or run lengths.
        size: (H, W) if the file states it.
    """

    name: str
    segmentations: list[Any] = field(default_factory=list)
    size: Size | None = None

    def annotation(self, picture: Picture, _which: Annotation) -> AnnotatedObject:
        """The union of the masks, which are all of the objects of the picture's one question."""
        return union_on(picture, self.segmentations, self.size)


def pixcv_questions(
    folder: Path, *, images: Path | None = None, ask: str = ""
) -> list[FocusQuestion]:
    """The questions of a folder whose pictures have masks.

    Args:
        folder: what holds masks and questions.
        images: what holds the pictures; by default the same folder.
        ask: a question in place of the file's, in which "{objects}" stands for what it is about.

    Raises:
        NoFocusData: If there are no masks, or no questions and no `ask`.
        ValueError: If a file has another form.
    """
    files = _files(folder)
    masks = _masks([path for path in files if path.name in MASK_FILES])
    if not masks:
        raise NoFocusData(f"{folder} holds no masks: {EXPECTED}")
    objects = _objects([path for path in files if path.name == "Objects.csv"])
    finder = _Finder([*files, *(_files(images) if images else [])], images or folder)
    rows = [] if ask else list(question_rows(files))
    if not rows and not ask:
        raise NoFocusData(
            f"{folder} holds masks but no questions: put CV-Bench's test_2d.parquet or test.jsonl "
            "(MMVP's Questions.csv) beside them, or say --ask 'Where is the {objects}?'"
        )
    if ask:
        rows = list(_asked(masks, objects, ask))
    return list(_joined(rows, masks, objects, finder))


def _joined(
    rows: Sequence[Row],
    masks: Mapping[str, ImageMasks],
    objects: Mapping[str, tuple[str, str]],
    finder: _Finder,
) -> Iterator[FocusQuestion]:
    """The rows whose picture has masks; with an Objects.csv, only those questions that it names."""
    for row in rows:
        name = PurePosixPath(row.image).name
        listed = objects.get(name, ("", ""))[0]
        # another question about the same photo may be of other objects
        if name not in masks or (row.from_cvbench and listed and listed != row.id):
            continue
        yield FocusQuestion(
            id=row.id or name,
            image=name,
            question=row.asked or ask_choice(row.question, row.choices),
            gold=row.answer,
            picture=partial(finder.picture, row, name),
            annotation=masks[name].annotation,
        )


def _asked(
    masks: Mapping[str, ImageMasks], objects: Mapping[str, tuple[str, str]], ask: str
) -> Iterator[Row]:
    if "{objects}" in ask and not objects:
        raise NoFocusData("--ask names {objects}, but the folder holds no Objects.csv")
    for name in masks:
        id, words = objects.get(name, ("", ""))
        yield Row(id=id, image=name, asked=ask.replace("{objects}", words))


def _files(folder: Path) -> list[Path]:
    """All files of a folder, sorted."""
    if not folder.is_dir():
        raise NoFocusData(f"{folder}: no such folder")
    return sorted(
        Path(top, name) for top, _, names in os.walk(folder, followlinks=True) for name in names
    )


def _masks(paths: Sequence[Path]) -> dict[str, ImageMasks]:
    """The masks of each picture by its file name, of several files together."""
    by_name: dict[str, ImageMasks] = {}
    for path in paths:
        content = read_json(path)
        if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
            raise NoFocusData(f"{path}: expected COCO's JSON, an object of images and annotations")
        try:
            by_id: dict[Any, list[Any]] = defaultdict(list)
            for annotation in content["annotations"]:
                by_id[annotation["image_id"]].append(annotation["segmentation"])
            for image in content["images"]:
                name = PurePosixPath(str(image["file_name"])).name
                stated = (image.get("height"), image.get("width"))
                size = (int(stated[0]), int(stated[1])) if all(stated) else None
                by_name[name] = ImageMasks(name, by_id[image["id"]], size)
        except (KeyError, TypeError) as error:
            raise NoFocusData(f"{path}: an image or annotation lacks {error}") from None
    return by_name


def _objects(paths: Sequence[Path]) -> dict[str, tuple[str, str]]:
    """(id, objects in words) by file name, of tables such as PixCV-Bench's and PixMMVP's."""
    by_name: dict[str, tuple[str, str]] = {}
    for path in paths:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file, skipinitialspace=True):
                plain = {str(key).strip(): str(value or "").strip() for key, value in row.items()}
                if "file" in plain and "Objects" in plain:
                    name = PurePosixPath(plain["file"]).name
                    by_name[name] = plain.get("Id", ""), object_words(plain["Objects"])
                elif "Index" in plain and "Object" in plain:
                    by_name[f"{plain['Index']}.jpg"] = plain["Index"], plain["Object"]
                else:
                    raise NoFocusData(
                        f"{path}: expected columns Id, file, Objects or Index, Object; got "
                        f"{', '.join(plain)}"
                    )
    return by_name


def object_words(text: str) -> str:
    """The objects of a cell in words: one name, or a tuple of several as Python writes it.

    >>> object_words("('mouse', 'keyboard')"), object_words("curtain, drape")
    ('mouse and the keyboard', 'curtain, drape')
    """
    if not re.match(r"\s*[(\[]", text):
        return text
    try:
        names = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return " and the ".join(map(str, names)) if isinstance(names, tuple | list) else text


class _Finder:
    """Where the picture of a row lies: in the row itself, at its path, or anywhere by its name."""

    def __init__(self, files: Sequence[Path], root: Path) -> None:
        self._root = root
        self._by_name: dict[str, Path] = {}
        for path in files:
            if path.suffix.lower() in SUFFIXES:
                self._by_name.setdefault(path.name, path)

    def picture(self, row: Row, name: str) -> Picture:
        """The picture of a row.

        Raises:
            PictureError: If it is nowhere, or damaged.
        """
        if row.picture is not None:
            return Picture.of(row.picture, name)
        rendered = PurePosixPath(row.filename)
        if row.filename and (self._root / rendered).is_file():
            return Picture.of(self._root / rendered, name)
        path = self._by_name.get(rendered.name if row.filename else "") or self._by_name.get(name)
        return Picture.of(path if path is not None else self._root / (row.filename or name))
