"""Tables of scores and of paired tests on a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from regiontok.jobs.report.runs import ScoredRun


def score_table(scored: ScoredRun, others: Sequence[ScoredRun]) -> Table:
    """Every score of a run with its interval, and the baselines of those who never look beside it.

    Args:
        scored: the run.
        others: runs among which its blind baseline may be.
    """
    from regiontok.jobs.report.runs import blind_baseline

    run, cost = scored.run, scored.cost
    tokens = "no pictures"
    if cost.quantiles:
        fewest, *_, most = cost.quantiles
        seen_at = f" at {cost.resolution}" if cost.resolution else ""
        tokens = f"{cost.tokens:.1f} visual tokens a picture ({fewest:.0f} to {most:.0f}){seen_at}"
    seen = "blind, " if run.head["blind"] else ""
    title = (
        f"{run.name}: {run.head['bench']}, {seen}{scored.score.counts['questions']} questions, "
        f"{scored.reading} reading, {tokens}, {cost.seconds:.3f} s a question"
    )
    table = Table(
        title=escape(title), title_justify="left", title_style="bold", header_style="dim", box=None
    )
    table.add_column("score", no_wrap=True)
    blind = blind_baseline(scored, others)
    constants = scored.score.constant_scores
    heads = ["value", "95 % from", "to"]
    baselines = scored.score.baselines
    heads += [f"always {reply!r}" for reply in constants] + list(baselines)
    heads += ["blind"] * bool(blind)
    for head in heads:
        table.add_column(escape(head), justify="right", no_wrap=True)
    for name, value in scored.score.values.items():
        values = [value.value, value.low, value.high]
        values += [
            scores.get(name, math.nan) for scores in (*constants.values(), *baselines.values())
        ]
        values += [blind.score.values[name].value] if blind else []
        style = "bold" if name == scored.score.headline else ""
        table.add_row(name, *map(figure, values), style=style)
    return table


def difference_table(tests: Sequence[tuple[str, str, Any]]) -> Table:
    """The paired test of each two runs."""
    table = Table(
        title="differences on the same questions",
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=None,
    )
    table.add_column("run", overflow="fold")
    for head in ("questions", "difference", "95 % from", "to", "p", "wins", "losses", "p McNemar"):
        table.add_column(head, justify="right", no_wrap=True)
    for first, second, test in tests:
        table.add_row(
            escape(f"{second} against {first}"),
            str(test.questions),
            f"{test.difference:+.2f}",
            f"{test.low:+.2f}",
            f"{test.high:+.2f}",
            f"{test.p_bootstrap:.3f}",
            str(test.wins),
            str(test.losses),
            "-" if math.isnan(test.p_mcnemar) else f"{test.p_mcnemar:.2g}",
        )
    return table


def figure(value: float) -> str:
    """A score with two digits, or a dash where there is none.

    >>> figure(61.234), figure(float("nan"))
    ('61.23', '-')
    """
    return "-" if math.isnan(value) else f"{value:.2f}"
