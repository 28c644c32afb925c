"""The world as benchmarks: question files in the forms in which each is published."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from regiontok.benches.pope import PARTS
from regiontok.jobs.miniworld.data_sets import instances_of
from regiontok.jobs.miniworld.writer import JsonLines, JsonList, Shown, Writer
from regiontok.miniworld.kinds.asked import WorldQuestion, name_of
from regiontok.miniworld.kinds.counting import NUMBERS
from regiontok.miniworld.world import World, WorldPicture


class Pope(Writer):
    """Three files of lines; random, popular and adversarial objects."""

    kinds = tuple(f"presence_{part}" for part in PARTS)

    def __init__(self, folder: Path, world: World) -> None:
        super().__init__(folder, world)
        self._parts = {part: self.lines(f"coco_pope_{part}.json") for part in PARTS}
        self._counts = dict.fromkeys(PARTS, 0)

    def add(self, shown: Shown) -> None:
        """See `Writer.add`."""
        image = self.save(shown.picture).removeprefix("images/")
        for question in shown.questions:
            part = question.kind.removeprefix("presence_")
            self._counts[part] += 1
            row = {"question_id": self._counts[part], "image": image}
            self._parts[part].add({**row, "text": question.text, "label": question.answer})


CVBENCH = {  # kind -> its type and its task in CV-Bench
    "count": ("2D", "Count"),
    "left_right": ("2D", "Relation"),
    "above_below": ("2D", "Relation"),
    "nearer": ("3D", "Depth"),
    "closer_to": ("3D", "Distance"),
}


def cvbench_rows(shown: Shown, image: str, first: int) -> Iterator[dict[str, Any]]:
    """The questions about a picture that CV-Bench has, as rows of its file.

    CV-Bench's score is a mean over the data sets that its pictures are of, so that a row has to
    name one of them: ADE20K and COCO by turns, Omni3D where it is about depth or distance.

    Args:
        shown: the picture.
        image: path of the picture.
        first: number of the first row.
    """
    for number, question in enumerate(shown.questions, start=first):
        kind, task = CVBENCH[question.kind]
        choices = question.options or NUMBERS
        yield {
            "idx": number,
            "type": kind,
            "task": task,
            "question": question.text,
            "choices": choices,
            "answer": f"({ascii_uppercase[choices.index(question.answer)]})",
            "filename": image,
            "source": "Omni3D" if kind == "3D" else ("ADE20K", "COCO")[shown.number % 2],
            "source_filename": Path(image).name,
        }


class Cvbench(Writer):
    """`test.jsonl`: counting, relations, depth and distance as choices."""

    kinds = tuple(CVBENCH)

    def __init__(self, folder: Path, world: World) -> None:
        super().__init__(folder, world)
        self._rows = self.lines("test.jsonl")
        self._count = 0

    def add(self, shown: Shown) -> None:
        """See `Writer.add`."""
        image = self.save(shown.picture, "img")
        for row in cvbench_rows(shown, image, self._count):
            self._rows.add(row)
            self._count += 1


MMVP_COLUMNS = ("Index", "Question", "Options", "Correct Answer")


class Mmvp(Writer):
    """`Questions.csv` and numbered pictures: two and two are twins."""

    kinds, wants_twins = (), True

    def __init__(self, folder: Path, world: World) -> None:
        super().__init__(folder, world)
        self._rows = self.table("Questions.csv", MMVP_COLUMNS)
        self._count = 0

    def add(self, shown: Shown) -> None:
        """See `Writer.add`; a picture without a twin is left out."""
        if shown.twins is None:
            return
        for picture, question in zip(shown.twins.pictures, shown.twins.questions, strict=True):
            self._count += 1
            self.save(picture, "MMVP Images", f"{self._count}.jpg")
            options = " ".join(
                f"({letter}) {option}"
                for letter, option in zip("ab", question.options, strict=True)
            )
            answer = f"({question.letter.lower()})"
            values = (self._count, question.text, options, answer)
            self._rows.writerow(dict(zip(MMVP_COLUMNS, values, strict=True)))


class Aro(Writer):
    """Four lists: relations, attributions, and the order of words twice, by turns."""

    kinds = ("relation_swap", "attribute_swap", "word_order")

    def __init__(self, folder: Path, world: World) -> None:
        super().__init__(folder, world)
        names = {
            "relation_swap": "visual_genome_relation",
            "attribute_swap": "visual_genome_attribution",
            "coco": "coco_order",
            "flickr": "flickr30k_order",
        }
        self._lists = {name: self.json_list(f"{file}.json") for name, file in names.items()}

    def add(self, shown: Shown) -> None:
        """See `Writer.add`."""
        image = self.save(shown.picture).removeprefix("images/")
        for question in shown.questions:
            wrong = [option for option in question.options if option != question.answer]
            if question.kind == "word_order":
                hard = {f"hard_text_{number}": text for number, text in enumerate(wrong, start=1)}
                row = {"image": image, "correct_caption": question.answer, **hard}
                self._lists[("coco", "flickr")[shown.number % 2]].add(row)
            else:
                captions = {"true_caption": question.answer, "false_caption": wrong[0]}
                row = {"image_path": image, **captions, **_aro_kind(shown.picture, question)}
                self._lists[question.kind].add(row)


def _aro_kind(picture: WorldPicture, question: WorldQuestion) -> dict[str, Any]:
    """What ARO's macro means go by: the relation, or the two attributes."""
    first, second = (picture.objects[thing] for thing in question.things)
    if question.kind == "attribute_swap":
        return {"attributes": sorted((first.colour, second.colour))}
    words = question.answer.split()
    return {"relation_name": " ".join(words[3:-3])}  # between "a red ring" and "a blue star"


class Conme(Writer):
    """Three tables: attributes, objects and relations replaced in captions."""

    kinds = ("attribute_swap", "object_swap", "relation_swap")

    def __init__(self, folder: Path, world: World) -> None:
        super().__init__(folder, world)
        columns = ("image", "question", "answer")
        self._tables = {
            kind: self.table(f"replace-{part}.csv", columns)
            for kind, part in zip(self.kinds, ("att", "obj", "rel"), strict=True)
        }

    def add(self, shown: Shown) -> None:
        """See `Writer.add`."""
        image = self.save(shown.picture)
        for question in shown.questions:
            lines = [
                f"{letter}. {option}"
                for letter, option in zip(ascii_uppercase, question.options, strict=False)
            ]
            text = "\n".join([question.text, *lines])
            row = {"image": image, "question": text, "answer": question.letter}
            self._tables[question.kind].writerow(row)


OCR_TYPES = {
    "word": "Regular Text Recognition",
    "digits": "Digit String Recognition",
    "letters": "Non-Semantic Text Recognition",
}


class Ocrbench(Writer):
    """`OCRBench.json`: words, strings of digits, and letters that mean nothing."""

    kinds = ("reading", "reading_code")

    def __init__(self, folder: Path, world: World) -> None:
        super().__init__(folder, world)
        self._rows: JsonList = self.json_list("OCRBench.json")

    def add(self, shown: Shown) -> None:
        """See `Writer.add`; a picture without a sign is left out."""
        for question in shown.questions:
            plate = shown.picture.texts[question.things[0] - len(shown.picture.objects)]
            self._rows.add(
                {
                    "dataset_name": "miniworld",
                    "id": self._rows.count,
                    "image_path": self.save(shown.picture),
                    "question": question.text,
                    "answers": [question.answer],
                    "type": OCR_TYPES[plate.kind],
                }
            )


class Pixcv(Writer):
    """CV-Bench's rows with `FinalSegmentations.json`: masks of what each question is about.

    A picture has one question, since PixCV-Bench's masks are those of a picture.
    """

    kinds = tuple(CVBENCH)

    def chosen(self, shown: Shown) -> Shown:
        """One of the questions about a picture, by turns."""
        if not shown.questions:
            return shown
        return shown._replace(questions=[shown.questions[shown.number % len(shown.questions)]])

    def __init__(self, folder: Path, world: World) -> None:
        super().__init__(folder, world)
        self._rows: JsonLines = self.lines("test.jsonl")
        self._objects: csv.DictWriter[str] = self.table("Objects.csv", ("Id", "file", "Objects"))
        self._images: list[Mapping[str, Any]] = []
        self._annotations: list[Mapping[str, Any]] = []

    def add(self, shown: Shown) -> None:
        """See `Writer.add`."""
        if not shown.questions:
            return
        (question,) = shown.questions
        image = self.save(shown.picture, "img/2D")
        number, name = len(self._images), Path(image).name
        (row,) = cvbench_rows(shown, image, number)
        self._rows.add(row)
        names = tuple(name_of(shown.picture.objects[thing]) for thing in question.things)
        objects = str(names) if len(names) > 1 else names[0]
        self._objects.writerow({"Id": number, "file": name, "Objects": objects})
        height, width = shown.picture.labels.shape
        self._images.append({"id": number, "file_name": name, "height": height, "width": width})
        instances = instances_of(shown.picture)
        for thing in question.things:
            head = {"id": len(self._annotations) + 1, "image_id": number}
            self._annotations.append({**head, **instances[thing]})

    def finish(self) -> None:
        """Write the masks."""
        content = {"images": self._images, "annotations": self._annotations}
        text = json.dumps(content)
        (self.folder / "FinalSegmentations.json").write_text(text, encoding="utf-8")
