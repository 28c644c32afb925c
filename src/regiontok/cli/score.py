"""`regiontok score`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from regiontok.cli import completion
from regiontok.cli.terminal import clear_errors, closing_json, print_tables, say, warn

LOCAL_JUDGE = "http://localhost:8000/v1"  # where vLLM and others serve unless told otherwise

Reading = Annotated[
    str,
    typer.Option(
        autocompletion=completion.words(("official", "robust")),
        help="How replies are read: official, as the published script does, or robust, which mends "
        "that script's known faults.",
    ),
]
Resamples = Annotated[
    int, typer.Option(min=0, help="Resamples of the bootstrap behind intervals; 0 for none.")
]
Anyway = Annotated[
    bool, typer.Option("--anyway", help="Compare runs whose prompts or decoding differ.")
]


def score(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders or files that `regiontok answer` wrote.")
    ],
    reading: Reading = "official",
    resamples: Resamples = 1000,
    judge: Annotated[
        str,
        typer.Option(
            help="Address of an OpenAI-compatible server that grades open answers (MM-Vet), "
            f"{LOCAL_JUDGE} unless you name another. Its key, if it wants one, is in "
            "REGIONTOK_JUDGE_KEY."
        ),
    ] = "",
    judge_model: Annotated[
        str, typer.Option(help="Name of the model there; without it no judge is asked.")
    ] = "",
    judge_times: Annotated[int, typer.Option(min=1, help="How often each is graded.")] = 1,
    anyway: Anyway = False,
) -> None:
    """Score answers, with intervals, beside those who never look; compare each run with the first.

    Scores are always computed from the answers. Of several runs on one benchmark, each is tested
    against the first one on the questions that both answered; a run with --blind stands beside that
    of the same model.

    Examples:

    `regiontok score answers/pope/clip`

    `regiontok score answers/pope/clip answers/pope/cluster --reading robust`

    `regiontok score answers/mmvet/clip --judge-model my-judge`
    """
    with clear_errors():
        from regiontok.cli.score_tables import difference_table, score_table
        from regiontok.evaluation.bench import reading_of
        from regiontok.jobs.report.runs import check_comparable, score_run

        read_as = reading_of(reading)
        if judge and not judge_model:
            raise ValueError("--judge wants --judge-model, the name of the model at that address")
        if judge_model:
            for path in runs:
                _judge(path, judge or LOCAL_JUDGE, judge_model, judge_times)
        scored = [score_run(path, reading=read_as, resamples=resamples) for path in runs]
        if not anyway:
            check_comparable(scored)
        tests = _tests(scored, resamples)
        print_tables([score_table(run, scored) for run in scored])
        if tests:
            print_tables([difference_table(tests)])
        for run in scored:
            if run.bench.judged:
                _write_official_answers(run)
            _say_gaps(run)
        closing_json(
            {
                "command": "score",
                "runs": [run.report() for run in scored],
                "differences": [
                    {"first": first, "second": second, **difference.report()}
                    for first, second, difference in tests
                ],
            }
        )


def _tests(scored: Any, resamples: int) -> list[tuple[str, str, Any]]:
    """Each run against the first one on its benchmark."""
    from regiontok.jobs.report.runs import paired

    tests: list[tuple[str, str, Any]] = []
    first_of: dict[type, Any] = {}
    for second in scored:
        first = first_of.setdefault(type(second.bench), second)
        if first is not second:
            difference = paired(first, second, resamples=max(resamples, 100))
            tests.append((str(first.run.path), str(second.run.path), difference))
    return tests


def _say_gaps(scored: Any) -> None:
    """Warn of questions that have no part in the score."""
    counts = scored.counts
    for name, words in (
        ("missing", "questions are not answered yet: go on with --resume"),
        ("failed", "questions have no answer, and no part in the score"),
        ("set_aside", "questions could not be asked, and have no part in the score"),
        ("unjudged", "replies have no grade, and no part in the score: see --judge-model"),
        ("damaged_lines", "lines cannot be read"),
        ("unscored", "replies have no score, and leave the totals that they are part of open"),
        ("empty", "replies are empty"),
    ):
        if counts.get(name):
            warn(f"{scored.run.path}: {counts[name]} {words}")


def _write_official_answers(scored: Any) -> None:
    """Write the replies of a run whose bench has a judge as its own evaluator takes them."""
    from regiontok.evaluation.judge import OFFICIAL_ANSWERS, write_official_answers

    folder = scored.run.path if scored.run.path.is_dir() else scored.run.path.parent
    pairs = [(answer.question, answer.reply) for answer in scored.run.replied]
    write_official_answers(folder / OFFICIAL_ANSWERS, pairs)
    say(
        f"{folder / OFFICIAL_ANSWERS} holds the replies as the benchmark's own evaluator takes them"
    )


def _judge(path: Path, address: str, model: str, times: int) -> None:
    """Grade the replies of a run that need it."""
    from regiontok.cli.progress import counting
    from regiontok.evaluation.answers import read_answers
    from regiontok.evaluation.judge import GRADES, Judge, judge_replies
    from regiontok.settings import registry

    run = read_answers(path)
    bench = registry.build("bench", str(run.head["bench"]))
    if not bench.judged:
        return
    judge = Judge(address, model, os.environ.get("REGIONTOK_JUDGE_KEY", ""), times)
    pairs = [(answer.question, answer.reply) for answer in run.replied]
    folder = path if path.is_dir() else path.parent
    with counting("grades", len(pairs)) as tick:
        judged = judge_replies(bench, pairs, judge, folder / GRADES, tick=tick)
    say(f"{len(judged.grades)} grades in {folder / GRADES}")
    if judged.unjudged:
        warn(
            f"{len(judged.unjudged)} replies have no grade: {next(iter(judged.unjudged.values()))}"
        )
