"""Keep what the words of answers looked at: each question is read with its answer behind it.

After: diagnostic study (row D16): the attention that answer tokens pay to visual tokens.
Differs: nothing known.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from regiontok.conversation import ConversationModel
from regiontok.evaluation.answers import read_answers
from regiontok.jobs.answer.asked import Asked, check_own_failure, pictures_ahead
from regiontok.jobs.answer.attention_files import AttentionWriter
from regiontok.jobs.answer.plan import AnswerPlan
from regiontok.jobs.answer.ranks import Ranks
from regiontok.jobs.kept_attention import KeptAttention
from regiontok.model.answer_attention import NoAnswer, answer_attention
from regiontok.model.attention import watch
from regiontok.model.picture_attention import attended_words
from regiontok.system.errors import first_line


def keep_attention(
    plan: AnswerPlan,
    out: Path,
    ranks: Ranks,
    model: Callable[[], ConversationModel],
    tick: Callable[[], None] = lambda: None,
) -> tuple[int, dict[str, str]]:
    """Keep what the answers of this process's share looked at, where that is not there yet.

    Args:
        plan: what was asked.
        out: the run's folder, with the answers.
        ranks: this process among others.
        model: opens the model; it is not called if there is nothing to do.
        tick: called with each answer that is done.

    Returns:
        How many answers were done, and why others were not, by the ids of their questions.

    Raises:
        AnswersError: If the folder holds what the answers of another run looked at.
        ValueError: If the model's attention cannot be kept.
    """
    writer = AttentionWriter(out, plan.head(ranks), ranks.rank)
    kept = writer.begin()
    replies = {answer.question.id: answer.reply for answer in read_answers(out).replied}
    done = {id for id in kept.answers if id in kept}
    done |= {question.id for question in plan.loaded.questions if question.id not in replies}
    batches = plan.batches(done, ranks)
    attended, failed = 0, dict[str, str]()
    if not batches:
        return attended, failed
    opened = model()
    check_watched(opened)
    with pictures_ahead(batches) as read:
        for batch in read:
            attention: dict[str, KeptAttention] = {}
            for asked in batch:
                id = asked.question.id
                try:
                    attention[id] = _attention(plan, opened, asked, replies[id])
                except (ValueError, RuntimeError, MemoryError) as error:
                    check_own_failure(error)
                    failed[id] = first_line(error)
                tick()
            opened.forget()
            writer.write(attention)
            attended += len(attention)
    writer.end()
    return attended, failed


def _attention(
    plan: AnswerPlan, model: ConversationModel, asked: Asked, reply: str
) -> KeptAttention:
    """What the words of one reply looked at; those of an empty one, nothing.

    Raises:
        ValueError: If a picture cannot be read, or the model cannot read the question.
    """
    if asked.error:
        raise ValueError(asked.error)
    prepared = model.prepare([plan.message(asked.question)], asked.pictures)
    try:
        attention = answer_attention(model, prepared, reply)
    except NoAnswer:
        return KeptAttention()
    return KeptAttention.of(attended_words(prepared, attention.rows, attention.pieces))


def check_watched(model: ConversationModel) -> None:
    """Refuse a model whose attention cannot be kept.

    Raises:
        ValueError: If it cannot; the message says why.
    """
    with watch(model.model):
        pass
