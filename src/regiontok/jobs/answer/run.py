"""Answer a benchmark's questions, batch by batch, so that a stopped run goes on line by line.

What the words of the answers looked at is kept in a second pass, which reads each question with its
answer behind it: answers are the same with it and without, and a run that has none gets it later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from regiontok.conversation import ConversationModel
from regiontok.evaluation.answers import Answer, AnswerWriter
from regiontok.evaluation.question import Question
from regiontok.jobs.answer.asked import Asked, check_own_failure, pictures_ahead
from regiontok.jobs.answer.attention import check_watched, keep_attention
from regiontok.jobs.answer.plan import AnswerPlan
from regiontok.jobs.answer.ranks import Ranks
from regiontok.model.conversation import open_conversation_model
from regiontok.system.errors import first_line
from regiontok.system.lease import folder_lease


@dataclass
class AnswerCounts:
    """How a run went.

    Attributes:
        answered: questions that this call answered.
        resumed: questions that earlier calls had answered.
        failed: questions without an answer, by id, with the reason.
        attended: answers whose attention this call kept.
        unattended: answers whose attention could not be kept, by id, with the reason.
    """

    answered: int = 0
    resumed: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    attended: int = 0
    unattended: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_all(cls, ranks: Ranks, counts: AnswerCounts) -> AnswerCounts:
        """The counts of all processes together; all come here."""
        shares = ranks.gathered(counts)
        return cls(
            answered=sum(share.answered for share in shares),
            resumed=counts.resumed,  # each process has counted the answers of all
            failed={id: reason for share in shares for id, reason in share.failed.items()},
            attended=sum(share.attended for share in shares),
            unattended={id: reason for share in shares for id, reason in share.unattended.items()},
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
        tick: called with each question that is done, and with each answer whose attention is kept.

    Raises:
        AnswersError: If the folder holds answers of another run, or any without `resume`.
        FolderInUse: If another run writes there.
        ValueError: If there is no such model, or its attention is to be kept and cannot be.
    """
    ranks = ranks or Ranks.of_environment()
    counts = AnswerCounts()
    with folder_lease(out, rank=ranks.rank):
        writer = AnswerWriter(out, plan.head(ranks), ranks.rank)
        # another process would leave a file in which the first one sees an earlier run
        done = ranks.first_before_others(lambda: writer.begin(resume=resume))
        batches = plan.batches(done, ranks)
        counts.resumed = len(done)
        if batches:
            model = model or open_model(plan, ranks)
            if plan.options.attention:
                check_watched(model)  # before the first question and not behind the last
            _answer_batches(_Asker(plan, model), batches, writer, counts, tick)
        if plan.options.attention:
            counts.attended, counts.unattended = keep_attention(
                plan, out, ranks, lambda: model or open_model(plan, ranks), tick
            )
    return counts


def _answer_batches(
    asker: _Asker,
    batches: Sequence[Sequence[Question]],
    writer: AnswerWriter,
    counts: AnswerCounts,
    tick: Callable[[], None],
) -> None:
    with pictures_ahead(batches) as read:
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


@dataclass(frozen=True, eq=False)
class _Asker:
    plan: AnswerPlan
    model: ConversationModel

    def answers(self, batch: Sequence[Asked]) -> list[Answer]:
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

    def _answered(self, asked: Asked, result: Any, seconds: float) -> Answer:
        return Answer(
            asked.question,
            reply=result.text,
            prompt=self.plan.prompt(asked.question),
            visual_tokens=result.visual_tokens,
            resolutions=result.resolutions,
            seconds=seconds,
        )

    def _failed(self, asked: Asked, reason: str) -> Answer:
        return Answer(asked.question, prompt=self.plan.prompt(asked.question), error=reason)

    def _replies(self, batch: Sequence[Asked]) -> list[Any]:
        """Replies, and failed answers in their places; what fails together is tried apart."""
        if not batch:
            return []
        pictures = [asked.pictures for asked in batch]
        conversations = [[self.plan.message(asked.question)] for asked in batch]
        try:
            return list(self.model.answers(conversations, pictures, **self.plan.decoding))
        except (ValueError, RuntimeError, MemoryError) as error:
            check_own_failure(error)
            if len(batch) == 1:
                return [self._failed(batch[0], first_line(error))]
        half = len(batch) // 2
        return [*self._replies(batch[:half]), *self._replies(batch[half:])]
