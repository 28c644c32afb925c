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
    """Every score of a run with its interval, and the baselines of its headline under them.

    Args:
        scored: the run.
        others: runs among which its blind baseline may be.
    """
    from regiontok.jobs.report.runs import blind_baseline

    run, cost = scored.run, scored.cost
    tokens = "no pictures"
    if cost.quantiles:
        low, *_, high = cost.quantiles
        tokens = f"{cost.tokens:.1f} visual tokens a picture ({low:.0f} to {high:.0f})"
    seen = "blind, " if run.head["blind"] else ""
    title = (
        f"{run.name}: {run.head['bench']}, {seen}{scored.score.counts['questions']} questions, "
        f"{scored.reading} reading, {tokens}, {cost.seconds:.3f} s a question"
    )
    table = Table(
        title=escape(title), title_justify="left", title_style="bold", header_style="dim", box=None
    )
    table.add_column("score", no_wrap=True)
    for head in ("value", "95 % from", "to"):
        table.add_column(head, justify="right", no_wrap=True)
    for name, value in scored.score.values.items():
        cells = map(figure, (value.value, value.low, value.high))
        table.add_row(name, *cells, style="bold" if name == scored.score.headline else "")
    for reply, constant in scored.score.constants.items():
        table.add_row(escape(f"always {reply!r}"), figure(constant), "", "", style="dim")
    if blind := blind_baseline(scored, others):
        table.add_row("blind", figure(blind.headline), "", "", style="dim")
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
    for first, second, found in tests:
        table.add_row(
            escape(f"{second} against {first}"),
            str(found.questions),
            f"{found.difference:+.2f}",
            f"{found.low:+.2f}",
            f"{found.high:+.2f}",
            f"{found.p_bootstrap:.3f}",
            str(found.wins),
            str(found.losses),
            "-" if math.isnan(found.p_mcnemar) else f"{found.p_mcnemar:.2g}",
        )
    return table


def figure(value: float) -> str:
    """A score with two digits, or a dash where there is none.

    >>> figure(61.234), figure(float("nan"))
    ('61.23', '-')
    """
    return "-" if math.isnan(value) else f"{value:.2f}"
