"""Records of the generated world: seeded scenes, questions whose answers are known, pictures made
when they are looked at.

After: nothing published; the questions are in the spirit of CLEVR (Johnson et al. 2017,
arXiv:1612.06890).
Differs: nothing known.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np

from regiontok.core.picture import Picture
from regiontok.miniworld.scenes import SCENES_VERSION, Scene, make_scene
from regiontok.miniworld.words import COLOURS, SHAPES
from regiontok.settings import spec
from regiontok.system.choices import nearest

QUESTIONS = ("colour", "shape", "count", "presence")
QUESTIONS_VERSION = 1  # raise it with every change of a question or of how it is drawn
# scenes looked at for one that the questions can be asked of; with one object the first always is
TRIES = 64
_STRIDE = 1_000_003  # from one such scene to the next, beyond any source's length


def is_generated(text: str) -> bool:
    """True for "miniworld(...)": records or an image that are made, not read."""
    return text.strip() == "miniworld" or text.strip().startswith("miniworld(")


@dataclass(frozen=True)
class Miniworld(Sequence[dict[str, Any]]):
    """`n` records in LLaVA's form, each about one scene.

    Attributes:
        n: how many.
        start: seed of the first; sources that do not overlap are a training and a held-out part.
        size: side of the pictures in pixels.
        fewest, most: objects of a scene.
        questions: kinds with commas between, of colour, shape, count, presence; a record asks all
            that its scene allows.

    >>> made = Miniworld(2, size=64, fewest=1, most=1, questions="colour")[0]
    >>> made["image"], [turn["from"] for turn in made["conversations"]]
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
                f"expected 1 to {_STRIDE} records from a seed >= 0, got n={self.n}, start={self.start}"
            )

    @classmethod
    def of(cls, text: str) -> Miniworld:
        """From its text, "miniworld(2000, size=96)".

        Raises:
            ValueError: an argument that it does not have, or of the wrong type.
        """
        return cls(
            **_arguments(
                text,
                {field.name: str if field.name == "questions" else int for field in fields(cls)},
            )
        )

    @property
    def kinds(self) -> tuple[str, ...]:
        """The questions as a tuple."""
        return tuple(kind.strip() for kind in self.questions.split(",") if kind.strip())

    @property
    def digest(self) -> str:
        """What decides all records, as text."""
        return f"{self} of scenes {SCENES_VERSION}, questions {QUESTIONS_VERSION}"

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: Any) -> Any:
        """One record in LLaVA's form."""
        place = range(self.n)[index]
        for attempt in range(TRIES):
            seed = self.start + place + attempt * _STRIDE
            image = (
                f"miniworld(seed={seed}, size={self.size}, fewest={self.fewest}, most={self.most})"
            )
            asked = _asked(_scene(image), seed, self.kinds)
            if asked:
                messages = [
                    {"from": who, "value": text}
                    for pair in asked
                    for who, text in zip(_SPEAKERS, pair, strict=True)
                ]
                messages[0]["value"] = f"<image>\n{messages[0]['value']}"
                return {"id": f"miniworld-{seed}", "image": image, "conversations": messages}
        raise ValueError(
            f"{TRIES} scenes in a row allow none of {self.questions!r}: {json.dumps(asdict(self))}"
        )


_SPEAKERS = ("human", "gpt")


def picture_of(image: str) -> Picture:
    """The picture of a scene, "miniworld(seed=5, size=96, fewest=1, most=1)"."""
    return Picture.of(np.array(_scene(image).pixels), name=image)


@lru_cache(maxsize=8)  # a record and its picture are asked for one after the other
def _scene(image: str) -> Scene:
    own = _arguments(image, dict.fromkeys(("seed", "size", "fewest", "most"), int))
    return make_scene(own["seed"], size=own["size"], objects=(own["fewest"], own["most"]))


def _arguments(text: str, known: dict[str, type]) -> dict[str, Any]:
    (call,) = spec.parse(text)
    given = dict(zip(known, call.args, strict=False)) | dict(call.kwargs)
    for name, value in given.items():
        if name not in known:
            raise ValueError(
                f"miniworld has no {name!r}{nearest(name, known)}; known: {', '.join(known)}"
            )
        if type(value) is not known[name]:
            raise ValueError(f"miniworld's {name} is {known[name].__name__}, not {value!r}")
    if len(call.args) > len(known):
        raise ValueError(
            f"miniworld takes at most {len(known)} arguments, not {len(call.args)}: {text!r}"
        )
    if missing := [name for name in ("n", "seed") if name in known and name not in given]:
        raise ValueError(f"miniworld needs {missing[0]!r}: say miniworld({missing[0]}=2000)")
    return given


def _asked(scene: Scene, seed: int, kinds: Sequence[str]) -> list[tuple[str, str]]:
    """Questions and answers of a scene, in an order drawn by its seed; none that has two right
    answers."""
    rng = np.random.default_rng([seed, 7])
    shapes, colours = (
        Counter(getattr(item, what) for item in scene.objects) for what in ("shape", "colour")
    )
    single = [item for item in scene.objects if shapes[item.shape] == 1]
    bright = [item for item in scene.objects if colours[item.colour] == 1]
    asked: dict[str, tuple[str, str]] = {}
    if single:
        item = single[rng.integers(len(single))]
        asked["colour"] = f"What colour is the {item.shape}?", item.colour
    if bright:
        item = bright[rng.integers(len(bright))]
        asked["shape"] = f"What shape is the {item.colour} object?", item.shape
    asked["count"] = "How many objects are there?", str(len(scene.objects))
    pair = (COLOURS[rng.integers(len(COLOURS))], SHAPES[rng.integers(len(SHAPES))])
    there = [(item.colour, item.shape) for item in scene.objects]
    if rng.random() < 0.5:
        pair = there[rng.integers(len(there))]
    asked["presence"] = (
        f"Is there {'an' if pair[0][0] in 'aeiou' else 'a'} {pair[0]} {pair[1]}?",
        "yes" if pair in there else "no",
    )
    order = rng.permutation(len(QUESTIONS))
    return [
        asked[QUESTIONS[at]] for at in order if QUESTIONS[at] in asked and QUESTIONS[at] in kinds
    ]
