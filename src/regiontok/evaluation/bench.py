"""Bench: the contract of a benchmark. It knows questions, replies and scores, and no model.

A bench is one file in `regiontok/benches`, or a class of another package under the entry point
``regiontok.bench``. Its fields are its arguments in a spec, such as ``mmvp(labels='corrected')``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.prompts import ask_choice, ask_short, caption_choice
from regiontok.evaluation.question import Question
from regiontok.evaluation.sample import Sample
from regiontok.evaluation.tables import BenchDataError
from regiontok.system.choices import check_choice

if TYPE_CHECKING:
    import numpy as np

Reading = Literal["official", "robust"]
READINGS: tuple[Reading, ...] = get_args(Reading)
Mark = Mapping[str, float]
Prompt = Callable[[Question], str]


def reading_of(text: str) -> Reading:
    """The reading of a name.

    Raises:
        ValueError: If there is none; the nearest is named.
    """
    check_choice("reading", text, READINGS)
    return next(reading for reading in READINGS if reading == text)


def _choice(style: str) -> Prompt:
    return lambda question: ask_choice(
        question.text, question.options, hint=question.hint, style=style
    )


def _short(style: str) -> Prompt:
    return lambda question: ask_short(question.text, style=style)


def captions_prompt(question: Question) -> str:
    """The prompt of OG-LLaVA's evaluation code for questions whose options are captions."""
    return caption_choice(question.options)


# the ways to ask, by name; the first is that of the study
CHOICE_PROMPTS: Mapping[str, Prompt] = {
    style: _choice(style) for style in ("study", "cvbench", "vlmevalkit")
}
SHORT_PROMPTS: Mapping[str, Prompt] = {
    style: _short(style) for style in ("study", "bare", "yes-no")
}


@dataclass(frozen=True)
class Bench(ABC):
    """A benchmark: its questions, how a reply is marked, and how marks become scores.

    Attributes:
        version: number that is raised when the same answers come to have another score.
        files: the published names of its files, or globs.
        headline: the name of the score that stands for the whole benchmark.
        highest: the highest value that the headline can have.
        prompts: the ways to ask, by name; the first is the default.
        longest: tokens of an answer at most, if nobody says otherwise.
        constants: replies of those who never look: each is scored beside a run.
        unit: the group whose questions are judged together, and drawn together by the bootstrap; ""
            draws each by itself.
        judged: True if replies are graded by a judge; `judge_prompt` says what it is asked.
    """

    version: ClassVar[int] = 1
    files: ClassVar[tuple[str, ...]]
    headline: ClassVar[str]
    highest: ClassVar[float] = 100.0
    prompts: ClassVar[Mapping[str, Prompt]] = SHORT_PROMPTS
    longest: ClassVar[int] = 32
    constants: ClassVar[tuple[str, ...]] = ()
    unit: ClassVar[str] = ""
    judged: ClassVar[bool] = False

    @property
    def identity(self) -> str:
        """What decides scores beside the spec; nothing, as a rule."""
        return ""

    @abstractmethod
    def questions(self, folder: BenchFolder) -> Iterator[Question]:
        """The questions of the published files, in their order.

        Duplicate ids and pictures that are missing are found by the caller.

        Raises:
            BenchDataError: If the files are not there, or are of another version.
        """

    def made_questions(self) -> Iterator[Question]:
        """The questions of a bench that makes them itself, without any files.

        Raises:
            BenchDataError: If it has published files, as most have.
        """
        names = ", ".join(self.files)
        raise BenchDataError(
            f"the benchmark {type(self).__name__.lower()} has published files ({names}): name "
            "their folder with --data"
        )

    def baselines(self, questions: Sequence[Question]) -> Mapping[str, Mapping[str, float]]:
        """Scores of those who never look, beside those of `constants`; none, as a rule.

        Args:
            questions: the questions that were asked.

        Returns:
            By who it is, scores by name; one that is not known is left out.
        """
        return {}

    @abstractmethod
    def mark(self, question: Question, reply: str, reading: Reading) -> Mark:
        """What a reply is worth, by name; "right" is from 0 to 1.

        Args:
            question: the question, without its pictures.
            reply: the reply.
            reading: "official" reads it as the published script does, "robust" mends that
                script's known faults.
        """

    def score(self, sample: Sample) -> dict[str, np.ndarray]:
        """The scores by name, each `[r]`: one value for each weighting of the sample.

        The default is the headline alone: the share of right answers, in percent.
        """
        return {self.headline: sample.share("right")}

    def judge_prompt(self, question: Question, reply: str) -> str:
        """What a judge is asked about a reply.

        Raises:
            NotImplementedError: If replies are not judged.
        """
        raise NotImplementedError(f"{type(self).__name__} needs no judge")

    def mark_judged(self, question: Question, grades: Sequence[float]) -> Mark:
        """What a reply is worth by a judge's grades, one for each time it was asked."""
        return {"right": sum(grades) / len(grades) if grades else float("nan")}

    def prompt(self, question: Question, name: str = "") -> str:
        """A question as it is asked.

        Args:
            question: the question.
            name: one of `prompts`; "" takes the first.

        Raises:
            ValueError: If there is no such prompt, or the question does not fit it.
        """
        return self.prompts[self.prompt_name(name)](question)

    def prompt_name(self, name: str = "") -> str:
        """The name of a way to ask; "" is the first.

        Raises:
            ValueError: If there is no such way.
        """
        name = name or next(iter(self.prompts))
        check_choice("prompt", name, tuple(self.prompts))
        return name


def parts(
    sample: Sample, mark: str, group: str, names: Mapping[str, str], prefix: str, of: float = 100.0
) -> dict[str, Any]:
    """The share of right answers in each part of a benchmark.

    Args:
        sample: the marks.
        mark: name of the mark.
        group: name of the group that divides the benchmark.
        names: value of the group -> what the part is called in scores.
        prefix: the benchmark's own name, in front of each.
        of: what a mean of one becomes.
    """
    return {
        f"{prefix}_{name}": sample.share(mark, group, value, of=of) for value, name in names.items()
    }
