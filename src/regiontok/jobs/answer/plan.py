"""What an answering run is: the bench, its questions, the model and how it is asked."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from regiontok.evaluation.answers import FORMAT
from regiontok.evaluation.bench import Bench
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.loading import LoadedQuestions, load_questions
from regiontok.evaluation.question import Question
from regiontok.jobs.answer.ranks import Ranks
from regiontok.settings import registry
from regiontok.system.shipped_models import shipped_model

_PACKAGES = ("regiontok", "torch", "transformers", "pillow")
_SORTED_TOGETHER = 16  # batches whose questions are sorted by length: pictures stay near each other


@dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """How a model answers a benchmark.

    Attributes:
        model: folder or hub name.
        bench: spec of the benchmark.
        data: folder of its published files; None for a benchmark that makes its questions.
        images: further folders in which its pictures are looked for.
        name: what tables call the run; "" takes the name of its folder.
        prompt: name of the way to ask; "" is the bench's first.
        blind: leave the pictures out.
        limit: questions at most; 0 asks all.
        longest: tokens of an answer at most; 0 is what the bench says.
        regions, segmenter, template, as_trained, changes, revision: see `open_conversation_model`.
        device: where the model runs.
        batch: questions that go through it together.
        attention: also keep what the words of each answer looked at; no other setting of a run, as
            it changes no answer.

    Raises:
        ValueError: If attention is to be kept of answers without pictures.
    """

    model: str
    bench: str
    data: Path | None
    images: tuple[Path, ...] = ()
    name: str = ""
    prompt: str = ""
    blind: bool = False
    limit: int = 0
    longest: int = 0
    regions: str = ""
    segmenter: str = ""
    template: str = ""
    as_trained: bool = False
    changes: tuple[str, ...] = ()
    revision: str = ""
    device: str = "cpu"
    batch: int = 8
    attention: bool = False

    def __post_init__(self) -> None:
        if self.attention and self.blind:
            raise ValueError("--blind leaves the pictures out, on which --attention would be kept")


@dataclass(frozen=True, eq=False)
class AnswerPlan:
    """An answering run that can begin.

    Attributes:
        options: how the model answers.
        bench: the benchmark.
        loaded: its questions.
    """

    options: AnswerOptions
    bench: Bench
    loaded: LoadedQuestions = field(repr=False)

    @classmethod
    def of(cls, options: AnswerOptions) -> AnswerPlan:
        """Read the questions, and check the options that need no model.

        Raises:
            SpecError: If there is no such bench.
            BenchDataError: If its files are not there, or of another version.
            ValueError: If there is no such prompt.
        """
        bench: Bench = registry.build("bench", options.bench)
        bench.prompt_name(options.prompt)
        folder = BenchFolder(options.data.expanduser(), options.images) if options.data else None
        loaded = load_questions(bench, folder, limit=options.limit, blind=options.blind)
        return cls(options, bench, loaded)

    @property
    def decoding(self) -> dict[str, Any]:
        """The options of `generate`: greedy, as rows D14 and O4 have it."""
        longest = self.options.longest or self.bench.longest
        return {"do_sample": False, "num_beams": 1, "max_new_tokens": longest}

    def prompt(self, question: Question) -> str:
        """A question as it is asked."""
        return self.bench.prompt(question, self.options.prompt)

    def message(self, question: Question) -> dict[str, Any]:
        """A question with its pictures as chat templates take it."""
        images = [{"type": "image"} for _ in question.images]
        text = {"type": "text", "text": self.prompt(question)}
        return {"role": "user", "content": [*images, text]}

    def head(self, ranks: Ranks) -> dict[str, Any]:
        """The first line of the answer files."""
        options = self.options
        return {
            "format": FORMAT,
            "bench": registry.render(self.bench),
            "bench_version": self.bench.version,
            "questions": len(self.loaded.questions),
            "questions_hash": questions_hash(self.loaded.questions),
            "set_aside": self.loaded.counts,
            "limit": options.limit,
            "name": options.name,
            "model": options.model,
            "revision": options.revision,
            "recipe": recipe_of(options.model),
            "regions": options.regions,
            "segmenter": options.segmenter,
            "template": options.template,
            "as_trained": options.as_trained,
            "changes": list(options.changes),
            "prompt": self.bench.prompt_name(options.prompt),
            "blind": options.blind,
            "decoding": self.decoding,
            "device": options.device,
            "batch": options.batch,
            "processes": ranks.count,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {name: version(name) for name in _PACKAGES},
        }

    def batches(self, done: set[str], ranks: Ranks) -> list[list[Question]]:
        """What this process has still to answer, batch by batch.

        Questions of a batch are of like length; questions of some batches are sorted at a time, so
        that those about one picture, or of one row group of a file, stay near each other.
        """
        share = _share(self.loaded.questions, self.options.batch, ranks)
        remaining = [question for question in share if question.id not in done]
        window, batches = self.options.batch * _SORTED_TOGETHER, []
        for start in range(0, len(remaining), window):
            alike = sorted(remaining[start : start + window], key=self._length, reverse=True)
            batches += [
                alike[first : first + self.options.batch]
                for first in range(0, len(alike), self.options.batch)
            ]
        return batches

    def _length(self, question: Question) -> tuple[int, int]:
        return len(question.images), len(self.prompt(question))


def _share(questions: Sequence[Question], batch: int, ranks: Ranks) -> list[Question]:
    """Every n-th batch of the questions, for this one of n processes."""
    return [
        question
        for index, question in enumerate(questions)
        if index // batch % ranks.count == ranks.rank
    ]


def questions_hash(questions: Sequence[Question]) -> str:
    """A hash of the questions, by which two runs are known to have been asked the same."""
    digest = hashlib.sha256()
    for question in questions:
        record = [question.id, question.record()]
        digest.update(json.dumps(record, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


def recipe_of(model: str) -> str:
    """The name of the recipe by which a model was trained; "" if its folder does not say."""
    shipped = None if Path(model).expanduser().is_dir() else shipped_model(model)
    if shipped is not None:
        return shipped.recipe
    resolved = Path(model).expanduser().parent / "resolved.toml"
    if not resolved.is_file():
        return ""
    return str(tomllib.loads(resolved.read_text(encoding="utf-8")).get("name", ""))
