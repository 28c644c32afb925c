"""The world as data sets: LLaVA's conversations, COCO's instances and captions, a plain folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco

from regiontok.data.world import record_of
from regiontok.jobs.miniworld.writer import Shown, Writer
from regiontok.miniworld.captions import captions_of
from regiontok.miniworld.kinds.asked import WorldQuestion
from regiontok.miniworld.words import SHAPES
from regiontok.miniworld.world import World, WorldPicture

CATEGORIES = (*SHAPES, "sign")


class Llava(Writer):
    """`llava.json` in LLaVA's form: all questions about a picture, and its caption, are turns."""

    def __init__(self, folder: Path, world: World) -> None:
        super().__init__(folder, world)
        self._records = self.json_list("llava.json")

    def add(self, shown: Shown) -> None:
        """See `Writer.add`."""
        picture, image = shown.picture, self.save(shown.picture)
        self._records.add(record_of(picture.name, image, picture, shown.questions))


class Coco(Writer):
    """`instances.json` and `captions.json` in COCO's form; an object's category is its shape."""

    kinds = ()

    def __init__(self, folder: Path, world: World) -> None:
        super().__init__(folder, world)
        self._images: list[dict[str, Any]] = []
        self._instances: list[dict[str, Any]] = []
        self._captions: list[dict[str, Any]] = []

    def add(self, shown: Shown) -> None:
        """See `Writer.add`."""
        picture = shown.picture
        height, width = picture.labels.shape
        name = Path(self.save(picture)).name
        self._images.append(
            {"id": shown.number, "file_name": name, "height": height, "width": width}
        )
        for thing, annotation in enumerate(instances_of(picture)):
            number = {"id": len(self._instances) + 1, "image_id": shown.number}
            self._instances.append({**number, **annotation, "depth": _depth(picture, thing)})
        for caption in captions_of(picture):
            number = {"id": len(self._captions) + 1, "image_id": shown.number}
            self._captions.append({**number, "caption": caption})

    def finish(self) -> None:
        """Write both files."""
        info = {"description": "regiontok miniworld", "version": "1"}
        categories = [{"id": number, "name": name} for number, name in enumerate(CATEGORIES, 1)]
        head = {"info": info, "images": self._images}
        instances = {**head, "annotations": self._instances, "categories": categories}
        for name, content in (
            ("instances", instances),
            ("captions", {**head, "annotations": self._captions}),
        ):
            (self.folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def instances_of(picture: WorldPicture) -> list[dict[str, Any]]:
    """What is seen of each object and each sign, as COCO's annotations have it."""
    annotations = []
    codes = coco.encode(np.asfortranarray(picture.masks.transpose(1, 2, 0).astype(np.uint8)))
    boxes = [item.box for item in picture.objects] + [plate.box for plate in picture.texts]
    for thing, (code, box) in enumerate(zip(codes, boxes, strict=True)):
        x0, y0, x1, y1 = box
        annotation = {
            "category_id": CATEGORIES.index(category_of(picture, thing)) + 1,
            "segmentation": {"size": code["size"], "counts": code["counts"].decode()},
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": int(picture.masks[thing].sum()),
            "iscrowd": 0,
        }
        annotations.append(annotation | attributes_of(picture, thing))
    return annotations


def category_of(picture: WorldPicture, thing: int) -> str:
    """The shape of an object, or "sign"."""
    return picture.objects[thing].shape if thing < len(picture.objects) else "sign"


def attributes_of(picture: WorldPicture, thing: int) -> dict[str, Any]:
    """What else is known of an object or a sign."""
    if thing >= len(picture.objects):
        plate = picture.texts[thing - len(picture.objects)]
        return {"text": plate.text, "font": plate.font}
    item = picture.objects[thing]
    names = ("colour", "size", "texture", "rotation")
    return {name: getattr(item, name) for name in names}


def _depth(picture: WorldPicture, thing: int) -> int:
    return picture.objects[thing].depth if thing < len(picture.objects) else 0


class Folder(Writer):
    """Pictures, label maps, captions and questions: the folder of the bench `miniworld`.

    A label map has i + 1 under the visible pixels of object i; signs go on behind the objects.
    """

    wants_twins = True

    def __init__(self, folder: Path, world: World) -> None:
        super().__init__(folder, world)
        (folder / "masks").mkdir()
        self._questions = self.lines("questions.jsonl")
        self._scenes = self.lines("scenes.jsonl")

    def add(self, shown: Shown) -> None:
        """See `Writer.add`."""
        self._add_picture(shown.picture)
        for question in shown.questions:
            self._add_question(shown.picture, question, f"{shown.picture.name}/{question.kind}")
        if shown.twins is not None:
            self._add_picture(shown.twins.pictures[1])
            pairs = zip(shown.twins.pictures, shown.twins.questions, strict=True)
            for number, (picture, question) in enumerate(pairs):
                id_ = f"{shown.picture.name}/{question.kind}/{number}"
                self._add_question(picture, question, id_, pair=shown.picture.name)

    def _add_picture(self, picture: WorldPicture) -> None:
        image = self.save(picture)
        labels = Image.fromarray(picture.labels.astype(np.uint8))
        labels.save(self.folder / "masks" / f"{picture.name}.png")
        things = range(len(picture.masks))
        self._scenes.add(
            {
                "image": image,
                "captions": captions_of(picture),
                "background": picture.background,
                "things": [
                    {"category": category_of(picture, thing), **attributes_of(picture, thing)}
                    for thing in things
                ],
            }
        )

    def _add_question(
        self, picture: WorldPicture, question: WorldQuestion, id_: str, pair: str = ""
    ) -> None:
        self._questions.add(
            {
                "id": id_,
                "image": f"images/{picture.name}.png",
                "picture": picture.name.removesuffix("-twin"),
                "pair": pair,
                "kind": question.kind,
                "question": question.text,
                "options": question.options,
                "answer": question.gold,
                "things": question.things,
            }
        )
