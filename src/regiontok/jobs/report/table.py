"""A report's table made of runs: a row a model, beside the printed rows of a paper's table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from regiontok.evaluation.scoring import Value
from regiontok.jobs.report.models import ModelRuns, models_of
from regiontok.jobs.report.published import PublishedRow, published_rows
from regiontok.jobs.report.rows import Cell, CostRow, ReportRow, ReportTable
from regiontok.jobs.report.runs import ScoredRun, blind_baseline, check_comparable


def report_table(
    runs: Sequence[ScoredRun],
    *,
    table: str = "",
    anyway: bool = False,
    all_scores: bool = False,
    focus: Mapping[str, Value] | None = None,
) -> ReportTable:
    """Lay runs beside each other, and beside the figures of a table.

    Runs of one name are one row: a model's runs on several benchmarks. A row of ours stands behind
    the printed row whose recipe trained the model, or whose recipe's name the run bears.

    Args:
        runs: the scored runs.
        table: a table of a paper, such as "study/1"; "" prints ours alone.
        anyway: lay runs beside each other whose prompts or decoding differ.
        all_scores: print every score of a benchmark, not the headline alone, where no table says
            which.
        focus: focus in percent by the name of a row.

    Raises:
        NotComparable: If prompts or decoding differ, and `anyway` is not set.
        ValueError: If there is no such table, or two runs are of one name and benchmark.
    """
    if not anyway:
        check_comparable(runs)
    printed = published_rows(table) if table else []
    models = models_of(runs, focus)
    columns = _columns(models, printed, all_scores)
    rows: list[ReportRow] = []
    placed: set[str] = set()
    for row in printed:
        rows.append(_printed_row(row, columns))
        for model in models:
            if row.name and row.name in model.recipes:
                rows.append(_own_row(model, columns, runs, row))
                placed.add(model.name)
    rows += [_own_row(model, columns, runs) for model in models if model.name not in placed]
    title = f"{printed[0].source} beside ours" if printed else "Scores"
    costs = tuple(
        CostRow(
            scored.run.name, str(scored.run.head["bench"]), len(scored.run.replied), scored.cost
        )
        for scored in runs
    )
    return ReportTable(title, columns, tuple(rows), _constants(runs, columns), costs)


def _columns(
    models: Sequence[ModelRuns], printed: Sequence[PublishedRow], all_scores: bool
) -> tuple[str, ...]:
    if printed:
        names = dict.fromkeys(name for row in printed for name in row.figures)
        return tuple(name for name in names if name != "tokens")
    by_model = [model.values if all_scores else model.headlines for model in models]
    return tuple(dict.fromkeys(name for names in by_model for name in names))


def _printed_row(row: PublishedRow, columns: Sequence[str]) -> ReportRow:
    cells = {
        name: Cell(Value(row.figures[name]), starred=name in row.starred)
        for name in columns
        if name in row.figures
    }
    kind = "quoted" if row.quoted else "paper"
    tokens = row.figures.get("tokens", math.nan)
    return ReportRow(row.row, kind, cells, tokens, note=row.source)


def _own_row(
    model: ModelRuns,
    columns: Sequence[str],
    runs: Sequence[ScoredRun],
    printed: PublishedRow | None = None,
) -> ReportRow:
    published = printed.figures if printed else {}
    blind = {
        key: value.value
        for scored in model.runs
        if (baseline := blind_baseline(scored, runs))
        for key, value in baseline.score.values.items()
    }
    cells = {
        key: Cell(
            model.values[key],
            published=published.get(key, math.nan),
            blind=blind.get(key, math.nan),
            tokens=model.tokens.get(key, math.nan),
        )
        for key in columns
        if key in model.values
    }
    return ReportRow(
        model.name,
        "ours",
        cells,
        tokens=model.counts.tokens,
        spread=model.counts.spread,
        resolution=model.counts.resolution,
        seconds=model.seconds,
        note=model.note,
    )


def _constants(runs: Sequence[ScoredRun], columns: Sequence[str]) -> dict[str, float]:
    best: dict[str, float] = {}
    for scored in runs:
        for name in columns:
            value = scored.score.best_constant(name)
            if not math.isnan(value):
                best[name] = max(value, best.get(name, -math.inf))
    return best
