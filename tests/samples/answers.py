"""Runs of `regiontok answer` whose replies no model gave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from regiontok.conversation import ConversationModel
from regiontok.evaluation.answers import Answer, AnswerWriter
from regiontok.evaluation.question import Question
from regiontok.jobs.answer.attention import keep_attention
from regiontok.jobs.answer.plan import AnswerOptions, AnswerPlan
from regiontok.jobs.answer.ranks import Ranks
from samples.bench_folders import write_bench


def write_run(
    folder: Path,
    bench: str,
    reply: Callable[[Question], str],
    *,
    tokens: int = 100,
    looking: ConversationModel | None = None,
    head: dict[str, Any] | None = None,
    **options: Any,
) -> Path:
    """Write a run whose replies a function gives; its folder is returned.

    Args:
        folder: the run's folder; the benchmark's is made beside it.
        bench: spec of the benchmark.
        reply: gives the reply to a question.
        tokens: visual tokens of each picture.
        looking: keeps what the words of the replies look at in this model.
        head: changes of the head.
        **options: of `AnswerOptions`.
    """
    name = bench.partition("(")[0]
    data = write_bench(name, folder.parent / f"{name}-data")
    made = AnswerOptions(model="model", bench=bench, data=data, **options)
    plan = AnswerPlan.of(made)
    writer = AnswerWriter(folder, plan.head(Ranks()) | (head or {}))
    writer.begin(resume=False)
    writer.write(
        [
            Answer(
                question,
                reply(question),
                plan.prompt(question),
                (tokens + 2 * number,) * (not made.blind),
                (((336, 336),),) * (not made.blind),
                0.5,
            )
            for number, question in enumerate(plan.loaded.questions)
        ]
    )
    if looking is not None:
        keep_attention(plan, folder, Ranks(), lambda: looking)
    return folder
