"""Records of the world: its questions and captions as conversations, made when they are asked for.

After: nothing published; the form is LLaVA's.
Differs: nothing known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from regiontok.core.picture import Picture
from regiontok.evaluation.prompts import ask_choice, ask_short
from regiontok.miniworld.captions import captions_of
from regiontok.miniworld.kinds.asked import WorldQuestion
from regiontok.miniworld.kinds.catalogue import EVERY_KIND, SAID, questions_of
from regiontok.miniworld.world import WORLD_VERSION, World, WorldPicture
from regiontok.settings.binding import from_text
from regiontok.system.choices import check_choice

NAME = "world"
DESCRIBE = "Describe the image."


def is_world(text: str) -> bool:
    """True for "world(...)": records, or an image, of the world."""
    return text.strip().startswith(f"{NAME}(")


def asked(question: WorldQuestion) -> str:
    """A question as the study asks it, with its options where it has any."""
    if question.options:
        return ask_choice(question.text, question.options, hint="", style="study")
    return ask_short(question.text, style="study")


def record_of(
    name: str,
    image: str,
    picture: WorldPicture,
    questions: Sequence[WorldQuestion],
    *,
    captions: bool = True,
    shown: bool = True,
) -> dict[str, Any]:
    """A picture's record in LLaVA's form: each question is a turn, and its caption is the last.

    Args:
        name: id of the record.
        image: where the picture is.
        picture: the picture.
        questions: the questions about it.
        captions: whether the longest caption is asked for.
        shown: whether the picture is shown: the record has no image otherwise.
    """
    pairs = [(asked(question), question.gold) for question in questions]
    if captions or not pairs:
        pairs.append((DESCRIBE, captions_of(picture)[0]))
    turns = [
        {"from": speaker, "value": text}
        for pair in pairs
        for speaker, text in zip(("human", "gpt"), pair, strict=True)
    ]
    if not shown:
        return {"id": name, "conversations": turns}
    turns[0]["value"] = f"<image>\n{turns[0]['value']}"
    return {"id": name, "image": image, "conversations": turns}


@dataclass(frozen=True)
class WorldImage:
    """A picture of the world; its text stands where other records have a path.

    Attributes:
        split: name of the split.
        seed: seed of the world.
        size: side of the picture in pixels.
        number: number of the picture in its split.

    >>> str(WorldImage("train", 0, 128, 7))
    "world(split='train', seed=0, size=128, number=7)"
    """

    split: str
    seed: int
    size: int
    number: int

    def __str__(self) -> str:
        return (
            f"{NAME}(split={self.split!r}, seed={self.seed}, size={self.size}, "
            f"number={self.number})"
        )

    @property
    def world(self) -> World:
        """The world that it is of."""
        return World(self.split, self.seed, self.size)


@dataclass(frozen=True)
class WorldRecords(Sequence[dict[str, Any]]):
    """`n` records in LLaVA's form, each about one picture.

    A picture that allows none of the kinds of questions is described.

    Attributes:
        n: number of records.
        start: number of the first picture in its split.
        split: name of the split.
        seed: seed of the world.
        size: side of the pictures in pixels.
        kinds: kinds of questions with commas between; "" asks all.
        captions: whether a caption is asked for, too.
        rounds: how many questions of each kind are asked at most, none of them twice.
        shown: whether the pictures are shown; without them all kinds have to be of
            `regiontok.miniworld.kinds.catalogue.SAID`, and nothing is described.

    Raises:
        ValueError: If a kind of question or a split is unknown, the split has not so many pictures,
            or a question could not be answered without its picture.

    >>> record = WorldRecords(2, size=128, kinds="presence_random", captions=False)[1]
    >>> record["image"]
    "world(split='train', seed=0, size=128, number=1)"
    """

    n: int
    start: int = 0
    split: str = "train"
    seed: int = 0
    size: int = 160
    kinds: str = ""
    captions: bool = True
    rounds: int = 1
    shown: bool = True

    def __post_init__(self) -> None:
        for name in self.names:
            check_choice("kind of question", name, tuple(EVERY_KIND))
        if self.rounds < 1:
            raise ValueError(f"at least one round of questions is asked, not {self.rounds}")
        if not self.shown and (self.captions or not self.names or set(self.names) - set(SAID)):
            raise ValueError(
                "without pictures nothing can be described, and only kinds can be asked whose "
                f"answer is said: captions=False, kinds='{','.join(SAID)}', got {self}"
            )
        most = len(World(self.split, self.seed, self.size))
        if self.n < 1 or self.start < 0 or self.start + self.n > most:
            raise ValueError(
                f"expected 1 to {most} records of the split {self.split}, "
                f"got n={self.n}, start={self.start}"
            )

    @classmethod
    def of(cls, text: str) -> WorldRecords:
        """A source from its text, "world(2000, size=128)".

        Raises:
            ValueError: If the text names an argument that a source does not have, lacks `n`, or
                gives a value of the wrong type.
        """
        return from_text(cls, text, "source")

    @property
    def names(self) -> tuple[str, ...]:
        """The kinds of questions, one by one."""
        return tuple(kind.strip() for kind in self.kinds.split(",") if kind.strip())

    @property
    def digest(self) -> str:
        """Everything that decides the records, as text."""
        return f"{self} of the world {WORLD_VERSION}"

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: Any) -> Any:
        """One record in LLaVA's form."""
        image, questions = self._asked(self._image(index))
        picture = world_picture(str(image))
        return record_of(
            picture.name,
            str(image),
            picture,
            questions,
            captions=self.captions,
            shown=self.shown,
        )

    def _asked(self, image: WorldImage) -> tuple[WorldImage, list[WorldQuestion]]:
        """An image and what is asked about it; the next one, where nothing could be said of it."""
        picture = world_picture(str(image))
        questions = questions_of(image.world, image.number, picture, self.names, rounds=self.rounds)
        if questions or self.shown:
            return image, questions
        return self._asked(replace(image, number=(image.number + 1) % len(image.world)))

    def images_of(self, index: int) -> tuple[str, ...]:
        """The image of one record, if it is shown; it is not drawn, and nothing is asked."""
        if not self.shown:
            return ()
        return (str(self._image(index)),)

    def _image(self, index: int) -> WorldImage:
        number = self.start + range(self.n)[index]
        return WorldImage(self.split, self.seed, self.size, number)


@lru_cache(maxsize=8)  # a record and its picture are asked for one after the other
def world_picture(image: str) -> WorldPicture:
    """The picture of a text such as "world(split='train', seed=0, size=128, number=7)".

    Raises:
        ValueError: If the text is not of this form.
        IndexError: If the split has no such picture.
    """
    parsed = from_text(WorldImage, image, "image")
    return parsed.world[parsed.number]


def picture_of_world(image: str) -> Picture:
    """The same as a picture for an encoder."""
    return Picture.of(world_picture(image).pixels, name=image)
