"""Records of the generated world: seeded scenes with questions whose answers are known.

Pictures are made when they are looked at.

After: nothing published; the questions are in the spirit of CLEVR (Johnson et al. 2017,
arXiv:1612.06890).
Differs: nothing known.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from regiontok.core.picture import Picture
from regiontok.data.world import WorldRecords, is_world, picture_of_world
from regiontok.miniworld.scenes import SCENES_VERSION, Scene, make_scene
from regiontok.miniworld.words import COLOURS, SHAPES
from regiontok.settings.binding import from_text

QUESTIONS = ("colour", "shape", "count", "presence")
QUESTIONS_VERSION = 1  # raise it with every change of a question or of how it is drawn
# Scenes tried until the questions can be asked of one; with one object the first always will do.
TRIES = 64
_STRIDE = 1_000_003  # between the seeds of two tries, beyond the length of any source


def is_generated(text: str) -> bool:
    """True for "miniworld(...)" and "world(...)": records or an image that are made, not read."""
    return is_world(text) or text.strip() == "miniworld" or text.strip().startswith("miniworld(")


def generated_records(text: str) -> Miniworld | WorldRecords:
    """The records of a text such as "miniworld(2000)" or "world(2000)".

    Raises:
        ValueError: If the text gives arguments that its source does not take.
    """
    return WorldRecords.of(text) if is_world(text) else Miniworld.of(text)


@dataclass(frozen=True)
class Miniworld(Sequence[dict[str, Any]]):
    """`n` records in LLaVA's form, each about one scene.

    Attributes:
        n: number of records.
        start: seed of the first record; sources whose seeds do not overlap are a training and a
            held-out part.
        size: side of the pictures in pixels.
        fewest: fewest objects of a scene.
        most: most objects of a scene.
        questions: kinds of questions with commas between, of colour, shape, count and presence; a
            record asks all that its scene allows.

    Raises:
        ValueError: If a kind of question is unknown, or the number of records or the seed is out of
            range.

    >>> record = Miniworld(2, size=64, fewest=1, most=1, questions="colour")[0]
    >>> record["image"], [turn["from"] for turn in record["conversations"]]
    ('miniworld(seed=0, size=64, fewest=1, most=1)', ['human', 'gpt'])
    """

    n: int
    start: int = 0
    size: int = 192
    fewest: int = 2
    most: int = 6
    questions: str = ",".join(QUESTIONS)

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in QUESTIONS]
        if unknown or not self.kinds:
            raise ValueError(
                f"unknown question {', '.join(unknown) or 'none'!r}; known: {', '.join(QUESTIONS)}"
            )
        if self.n < 1 or self.start < 0 or self.n > _STRIDE:
            raise ValueError(
                f"expected 1 to {_STRIDE} records from a seed >= 0, "
                f"got n={self.n}, start={self.start}"
            )

    @classmethod
    def of(cls, text: str) -> Miniworld:
        """A source from its text, "miniworld(2000, size=96)".

        Raises:
            ValueError: If the text names an argument that a source does not have, lacks `n`, or
                gives a value of the wrong type.
        """
        return from_text(cls, text, "source")

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of questions, one by one."""
        return tuple(kind.strip() for kind in self.questions.split(",") if kind.strip())

    @property
    def digest(self) -> str:
        """Everything that decides the records, as text."""
        return f"{self} of scenes {SCENES_VERSION}, questions {QUESTIONS_VERSION}"

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: Any) -> Any:
        """One record in LLaVA's form."""
        number = range(self.n)[index]
        for attempt in range(TRIES):
            seed = self.start + number + attempt * _STRIDE
            image = SceneImage(seed, size=self.size, fewest=self.fewest, most=self.most)
            pairs = _questions_and_answers(_scene(str(image)), seed, self.kinds)
            if pairs:
                messages = [
                    {"from": speaker, "value": text}
                    for pair in pairs
                    for speaker, text in zip(("human", "gpt"), pair, strict=True)
                ]
                messages[0]["value"] = f"<image>\n{messages[0]['value']}"
                return {"id": f"miniworld-{seed}", "image": str(image), "conversations": messages}
        raise ValueError(
            f"{TRIES} scenes in a row allow none of {self.questions!r}: {json.dumps(asdict(self))}"
        )

    def images_of(self, index: int) -> tuple[str, ...]:
        """The image of one record; which scene that is, its questions decide."""
        return (self[index]["image"],)


@dataclass(frozen=True)
class SceneImage:
    """The image of one scene; its text stands where other records have a path.

    Attributes:
        seed: seed of the scene.
        size: side of the picture in pixels.
        fewest: fewest objects.
        most: most objects.

    >>> str(SceneImage(5, 96, 1, 1))
    'miniworld(seed=5, size=96, fewest=1, most=1)'
    """

    seed: int
    size: int
    fewest: int
    most: int

    def __str__(self) -> str:
        return (
            f"miniworld(seed={self.seed}, size={self.size}, fewest={self.fewest}, most={self.most})"
        )


def picture_of(image: str) -> Picture:
    """The picture of a scene, "miniworld(seed=5, size=96, fewest=1, most=1)", or of the world.

    Raises:
        ValueError: If the text is not of this form.
    """
    if is_world(image):
        return picture_of_world(image)
    return Picture.of(np.array(_scene(image).pixels), name=image)


@lru_cache(maxsize=8)  # a record and its picture are asked for one after the other
def _scene(image: str) -> Scene:
    scene = from_text(SceneImage, image, "image")
    return make_scene(scene.seed, size=scene.size, objects=(scene.fewest, scene.most))


def _questions_and_answers(scene: Scene, seed: int, kinds: Sequence[str]) -> list[tuple[str, str]]:
    """Questions and answers about a scene, in an order drawn by its seed.

    No question has two right answers.
    """
    rng = np.random.default_rng([seed, 7])
    shapes = Counter(item.shape for item in scene.objects)
    colours = Counter(item.colour for item in scene.objects)
    with_unique_shape = [item for item in scene.objects if shapes[item.shape] == 1]
    with_unique_colour = [item for item in scene.objects if colours[item.colour] == 1]
    pairs: dict[str, tuple[str, str]] = {}
    if with_unique_shape:
        item = with_unique_shape[rng.integers(len(with_unique_shape))]
        pairs["colour"] = f"What colour is the {item.shape}?", item.colour
    if with_unique_colour:
        item = with_unique_colour[rng.integers(len(with_unique_colour))]
        pairs["shape"] = f"What shape is the {item.colour} object?", item.shape
    pairs["count"] = "How many objects are there?", str(len(scene.objects))
    colour, shape = COLOURS[rng.integers(len(COLOURS))], SHAPES[rng.integers(len(SHAPES))]
    present = [(item.colour, item.shape) for item in scene.objects]
    if rng.random() < 0.5:
        colour, shape = present[rng.integers(len(present))]
    article = "an" if colour[0] in "aeiou" else "a"
    answer = "yes" if (colour, shape) in present else "no"
    pairs["presence"] = f"Is there {article} {colour} {shape}?", answer
    shuffled = [QUESTIONS[index] for index in rng.permutation(len(QUESTIONS))]
    return [pairs[kind] for kind in shuffled if kind in pairs and kind in kinds]
