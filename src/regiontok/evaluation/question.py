"""Question: what a benchmark asks, with its pictures, its options and its right answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any

from regiontok.evaluation.images import QuestionImage


@dataclass(frozen=True, eq=False)
class Question:
    """One question of a benchmark.

    Attributes:
        id: name of the question, which no other of its benchmark has.
        text: the question, without options and without what a prompt adds.
        answers: the right answers; the letter of an option where there are options.
        images: its pictures.
        options: the texts of the options, in the order of their letters.
        hint: what stands in front of the question; "" for nothing.
        groups: the parts of the benchmark that it belongs to, say {"task": "count"}, and the
            questions that it is judged together with.
        metadata: what else the benchmark's own rule needs.
    """

    id: str
    text: str
    answers: tuple[str, ...]
    images: tuple[QuestionImage, ...] = ()
    options: tuple[str, ...] = ()
    hint: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def answer(self) -> str:
        """The first right answer; "" if there is none."""
        return self.answers[0] if self.answers else ""

    @property
    def letters(self) -> str:
        """The letters of its options.

        >>> Question("1", "How many?", ("B",), options=("one", "two")).letters
        'AB'
        """
        return ascii_uppercase[: len(self.options)]

    def record(self) -> dict[str, Any]:
        """The question as answer files keep it, without its pictures."""
        record = {
            "text": self.text,
            "answers": list(self.answers),
            "options": list(self.options),
            "hint": self.hint,
            "groups": dict(self.groups),
            "metadata": dict(self.metadata),
        }
        return {name: value for name, value in record.items() if value or name == "answers"}

    @classmethod
    def of_record(cls, id: str, record: Mapping[str, Any]) -> Question:
        """The question that a record of `record` was made of.

        Raises:
            KeyError: If the record has no answers.
        """
        return cls(
            id=id,
            text=str(record.get("text", "")),
            answers=tuple(map(str, record["answers"])),
            options=tuple(map(str, record.get("options", ()))),
            hint=str(record.get("hint", "")),
            groups=dict(record.get("groups", {})),
            metadata=dict(record.get("metadata", {})),
        )
