"""Questions about the generated world, which cannot be answered blindly; the mean of all kinds.

After: nothing published. The questions are made as they are asked; `regiontok miniworld OUT
--format folder` writes the same ones into a folder.
Differs: nothing known. The official reading wants the answer and nothing else; the robust one finds
it in a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from regiontok.core.picture import Picture
from regiontok.evaluation.bench import Bench, Mark, Prompt, Reading, parts
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.images import QuestionImage
from regiontok.evaluation.prompts import ask_choice, ask_short
from regiontok.evaluation.question import Question
from regiontok.evaluation.replies import letter_of, plain, yes_or_no
from regiontok.evaluation.sample import Sample, mean_of
from regiontok.miniworld.kinds.asked import WorldQuestion
from regiontok.miniworld.kinds.catalogue import EVERY_KIND, questions_of
from regiontok.miniworld.kinds.counting import plural
from regiontok.miniworld.kinds.twins import KIND as TWINS
from regiontok.miniworld.kinds.twins import Twins, twins_of
from regiontok.miniworld.priors import priors
from regiontok.miniworld.words import COLOURS, SHAPES, SIZES, TEXTURES
from regiontok.miniworld.world import World, WorldPicture
from regiontok.system.choices import check_choice

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_DIGIT_OF = {word: str(number) for number, word in enumerate(_NUMBERS)}
# Answers that exclude each other: a reply that names two of them names none.
_CLOSED = tuple(map(frozenset, (_DIGIT_OF.values(), COLOURS, SHAPES, SIZES, TEXTURES)))


def _asked(question: Question) -> str:
    if question.options:
        return ask_choice(question.text, question.options, hint="", style="study")
    return ask_short(question.text, style="study")


# What of a question is a name: without it, questions of one template are alike.
_NAMES = re.compile(rf"\b(?:{'|'.join((*COLOURS, *map(plural, SHAPES), *SHAPES))})\b")


@dataclass(frozen=True)
class MadePicture(QuestionImage):
    """A picture of the world, drawn when it is looked at.

    Attributes:
        world: the world.
        number: its number in the split.
        twin: whether it is the twin of that picture.
    """

    world: World = World()  # noqa: RUF009 - frozen
    number: int = 0
    twin: bool = False

    def read(self) -> Picture:
        """See `QuestionImage.read`."""
        if not self.twin:
            return Picture.of(_picture(self.world, self.number).pixels, self.name)
        twins = _twins(self.world, self.number)
        assert twins is not None, self.name
        return Picture.of(twins.pictures[1].pixels, self.name)


# Questions are sorted by length over some pictures, so that each picture is asked for many times.
@lru_cache(maxsize=64)
def _picture(world: World, number: int) -> WorldPicture:
    return world[number]


@lru_cache(maxsize=64)
def _twins(world: World, number: int) -> Twins | None:
    return twins_of(world, number, _picture(world, number))


@dataclass(frozen=True)
class Miniworld(Bench):
    """Each kind of question is a part; twins are judged by question, and by pair.

    Attributes:
        n: number of pictures, the first of the split; as all that follow, of questions that are
            made and not read from a folder.
        split: name of the split.
        seed: seed of the world.
        size: side of the pictures in pixels.
        kinds: kinds of questions with commas between; "" asks all, and twins.
    """

    n: int = 1000
    split: str = "test"
    seed: int = 0
    size: int = 192
    kinds: str = ""

    files: ClassVar[tuple[str, ...]] = ("questions.jsonl",)
    headline: ClassVar[str] = "miniworld"
    prompts: ClassVar[Mapping[str, Prompt]] = {
        "study": _asked,
        "bare": lambda question: question.text,
    }
    constants: ClassVar[tuple[str, ...]] = ("yes", "no", "A", "B")
    unit: ClassVar[str] = "picture"

    def __post_init__(self) -> None:
        most = len(self._world)
        if not 1 <= self.n <= most:
            raise ValueError(
                f"miniworld asks about 1 to {most} pictures of the split {self.split}, not {self.n}"
            )
        for name in self._names:
            check_choice("kind of question", name, tuple(EVERY_KIND))

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(filter(None, map(str.strip, self.kinds.split(","))))

    @property
    def _world(self) -> World:
        return World(self.split, self.seed, self.size)

    def made_questions(self) -> Iterator[Question]:
        """See `Bench.made_questions`; the ids are those of a written folder."""
        world = self._world
        for number in range(self.n):
            picture = _picture(world, number)
            twins = None if self._names else _twins(world, number)
            image = MadePicture(picture.name, world, number)
            for question in questions_of(world, number, picture, self._names):
                yield _made(question, f"{picture.name}/{question.kind}", image)
            for index, question in enumerate(twins.questions if twins else ()):
                name = f"{picture.name}{'-twin' * index}"
                image = MadePicture(name, world, number, twin=bool(index))
                yield _made(question, f"{picture.name}/{TWINS}/{index}", image, picture.name)

    def questions(self, folder: BenchFolder) -> Iterator[Question]:
        """See `Bench.questions`."""
        columns = ["id", "image", "kind", "question", "options", "answer", "picture", "pair"]
        for path in folder.files(self.files):
            for row in folder.rows(path, columns):
                yield Question(
                    id=str(row["id"]),
                    text=str(row["question"]),
                    answers=(str(row["answer"]),),
                    images=(folder.picture(row, "image"),),
                    options=tuple(map(str, row["options"])),
                    groups={name: str(row[name]) for name in ("kind", "picture", "pair")},
                )

    def baselines(self, questions: Sequence[Question]) -> Mapping[str, Mapping[str, float]]:
        """See `Bench.baselines`: one who draws answers, and one who knows how questions are made.

        The second is the best of the guessers of `regiontok.miniworld.priors`.
        """
        columns: dict[str, dict[str, float]] = {"chance": {}, "guesser": {}}
        pictures = dict.fromkeys(question.groups.get("picture", "") for question in questions)
        numbers = {picture: number for number, picture in enumerate(pictures)}
        asked = [
            (numbers[question.groups.get("picture", "")], _seen_blindly(question))
            for question in questions
        ]
        for prior in priors(asked):
            columns["chance"][f"miniworld_{prior.kind}"] = prior.chance
            columns["guesser"][f"miniworld_{prior.kind}"] = prior.blind
        return {
            name: {"miniworld": sum(scores.values()) / max(len(scores), 1), **scores}
            for name, scores in columns.items()
        }

    def mark(self, question: Question, reply: str, reading: Reading) -> Mark:
        """Right by the letter, the word or the number that is read."""
        said = reply.strip().lower() if reading == "official" else _read(question, reply)
        return {"right": float(said == question.answer.lower()), "unread": float(not said)}

    def score(self, sample: Sample) -> dict[str, Any]:
        """Each kind, their mean, and the share of twins of which both are right."""
        kinds = sample.values("kind")
        scores = parts(sample, "right", "kind", {kind: kind for kind in kinds}, "miniworld")
        headline = {"miniworld": mean_of(list(scores.values()))}
        if TWINS not in kinds:
            return headline | scores
        is_first = sample.first_of("pair") & sample.members("kind", TWINS)
        pairs = 100 * sample.mean(sample.worst_of("right", "pair"), is_first)
        return headline | scores | {f"miniworld_{TWINS}_pairs": pairs}


def _made(question: WorldQuestion, id: str, image: MadePicture, pair: str = "") -> Question:
    """A question of the world as the folder's rows have it."""
    picture = image.name.removesuffix("-twin")
    return Question(
        id=id,
        text=question.text,
        answers=(question.gold,),
        images=(image,),
        options=question.options,
        groups={"kind": question.kind, "picture": picture, "pair": pair},
    )


def _seen_blindly(question: Question) -> WorldQuestion:
    """A question as those who never look know it."""
    answer, options = question.answer, question.options
    if options:
        answer = options[question.letters.index(answer)]
    template = _NAMES.sub("{}", question.text)
    kind = question.groups.get("kind", "")
    return WorldQuestion(kind, question.text, answer, options, (), template)


def _read(question: Question, reply: str) -> str:
    """The letter, the yes or no, or the answer that stands in a reply; "" if there is none."""
    if question.options:
        return letter_of(reply, question.options).lower()
    if question.answer in ("yes", "no"):
        return yes_or_no(reply)
    words = [_DIGIT_OF.get(word, word) for word in plain(reply).split()]
    answer = question.answer.lower()
    rivals = next((closed for closed in _CLOSED if answer in closed), frozenset({answer}))
    said = rivals & set(words)
    return next(iter(said)) if len(said) == 1 else ""
