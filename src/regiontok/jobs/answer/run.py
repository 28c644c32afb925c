"""Answer a benchmark's questions, batch by batch, so that a stopped run goes on line by line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from regiontok.conversation import ConversationModel
from regiontok.core.picture import Picture, PictureError
from regiontok.evaluation.answers import Answer, AnswerWriter
from regiontok.evaluation.question import Question
from regiontok.jobs.answer.plan import AnswerPlan
from regiontok.jobs.answer.ranks import Ranks
from regiontok.model.conversation import open_conversation_model
from regiontok.system.errors import first_line, is_out_of_memory
from regiontok.system.lease import folder_lease
from regiontok.system.prefetch import map_ahead

_BATCHES_AHEAD = 2  # batches whose pictures are read while the model answers


@dataclass
class AnswerCounts:
    """How a run went.

    Attributes:
        answered: questions that this call answered.
        resumed: questions that earlier calls had answered.
        failed: questions without an answer, by id, with the reason.
    """

    answered: int = 0
    resumed: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_all(cls, ranks: Ranks, counts: AnswerCounts) -> AnswerCounts:
        """The counts of all processes together; all come here."""
        shares = ranks.gathered(counts)
        return cls(
            answered=sum(share.answered for share in shares),
            resumed=counts.resumed,  # each process has counted the answers of all
            failed={id: reason for share in shares for id, reason in share.failed.items()},
        )


def open_model(plan: AnswerPlan, ranks: Ranks) -> ConversationModel:
    """The model of a run, on the device of this process.

    Raises:
        ValueError: If there is no such model; see `open_conversation_model`.
    """
    options = plan.options
    return open_conversation_model(
        options.model,
        regions=options.regions,
        segmenter=options.segmenter,
        template=options.template,
        settings="trained" if options.as_trained else "answering",
        changes=options.changes,
        revision=options.revision,
        device=ranks.device(options.device),
    )


def answer(
    plan: AnswerPlan,
    out: Path,
    *,
    resume: bool = False,
    ranks: Ranks | None = None,
    model: ConversationModel | None = None,
    tick: Callable[[], None] = lambda: None,
) -> AnswerCounts:
    """Answer the questions of a plan, and write each batch as soon as it is answered.

    Args:
        plan: what is asked.
        out: the run's folder.
        resume: go on where an earlier call stopped.
        ranks: this process among others; None goes by the launcher's environment.
        model: the model, if it is open already.
        tick: called with each question that is done.

    Raises:
        AnswersError: If the folder holds answers of another run, or any without `resume`.
        FolderInUse: If another run writes there.
        ValueError: If there is no such model.
    """
    ranks = ranks or Ranks.of_environment()
    counts = AnswerCounts()
    with folder_lease(out, rank=ranks.rank):
        writer = AnswerWriter(out, plan.head(ranks), ranks.rank)
        # another process would leave a file in which the first one sees an earlier run
        done = ranks.first_before_others(lambda: writer.begin(resume=resume))
        batches = plan.batches(done, ranks)
        counts.resumed = len(done)
        if not batches:
            return counts
        model = model or open_model(plan, ranks)
        asker = _Asker(plan, model)
        with closing(map_ahead(_read, batches, workers=1, most=_BATCHES_AHEAD)) as read:
            for batch in read:
                answers = asker.answers(batch)
                writer.write(answers)
                for answered in answers:
                    if answered.error:
                        counts.failed[answered.question.id] = answered.error
                    else:
                        counts.answered += 1
                    tick()
        writer.end()
    return counts


@dataclass(frozen=True, eq=False)
class _Asked:
    """A question with its pictures read, or why they cannot be."""

    question: Question
    pictures: tuple[Picture, ...] = ()
    error: str = ""


def _read(batch: Sequence[Question]) -> list[_Asked]:
    asked = []
    for question in batch:
        try:
            asked.append(_Asked(question, tuple(image.read() for image in question.images)))
        except PictureError as error:
            asked.append(_Asked(question, error=first_line(error)))
    return asked


@dataclass(frozen=True, eq=False)
class _Asker:
    plan: AnswerPlan
    model: ConversationModel

    def answers(self, batch: Sequence[_Asked]) -> list[Answer]:
        """The answers of a batch, those that have none among them."""
        start = perf_counter()
        fine = [asked for asked in batch if not asked.error]
        results = self._replies(fine)
        seconds = (perf_counter() - start) / max(len(fine), 1)
        failed = [self._failed(asked, asked.error) for asked in batch if asked.error]
        return [
            result if isinstance(result, Answer) else self._answered(asked, result, seconds)
            for asked, result in zip(fine, results, strict=True)
        ] + failed

    def _answered(self, asked: _Asked, result: Any, seconds: float) -> Answer:
        return Answer(
            asked.question,
            reply=result.text,
            prompt=self.plan.prompt(asked.question),
            visual_tokens=result.visual_tokens,
            resolutions=result.resolutions,
            seconds=seconds,
        )

    def _failed(self, asked: _Asked, reason: str) -> Answer:
        return Answer(asked.question, prompt=self.plan.prompt(asked.question), error=reason)

    def _replies(self, batch: Sequence[_Asked]) -> list[Any]:
        """Replies, and failed answers in their places; what fails together is tried apart."""
        if not batch:
            return []
        pictures = [asked.pictures for asked in batch]
        conversations = [
            [self._message(asked.question, len(question_pictures))]
            for asked, question_pictures in zip(batch, pictures, strict=True)
        ]
        try:
            return list(self.model.answers(conversations, pictures, **self.plan.decoding))
        except (ValueError, RuntimeError, MemoryError) as error:
            if not isinstance(error, ValueError) and not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                return [self._failed(batch[0], first_line(error))]
        half = len(batch) // 2
        return [*self._replies(batch[:half]), *self._replies(batch[half:])]

    def _message(self, question: Question, pictures: int) -> dict[str, Any]:
        images = [{"type": "image"} for _ in range(pictures)]
        text = {"type": "text", "text": self.plan.prompt(question)}
        return {"role": "user", "content": [*images, text]}
