"""A report's table: a row a model, its scores beside the paper's figures, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from regiontok.evaluation.averages import rice_averages
from regiontok.evaluation.scoring import Value
from regiontok.jobs.report.published import PublishedRow, published_rows
from regiontok.jobs.report.runs import Cost, ScoredRun, blind_baseline, check_comparable


@dataclass(frozen=True)
class Cell:
    """One figure of a row.

    Attributes:
        value: our score, or the paper's figure in a printed row.
        published: the paper's figure of the same row; NaN if there is none.
        blind: the score of the same model without pictures; NaN if that was not run.
        starred: True if the paper marks the figure as others' own.
    """

    value: Value
    published: float = math.nan
    blind: float = math.nan
    starred: bool = False

    @property
    def difference(self) -> float:
        """How far our score lies above the paper's figure."""
        return self.value.value - self.published


@dataclass(frozen=True, eq=False)
class ReportRow:
    """One model of a report, or one printed row.

    Attributes:
        name: what the row is called.
        kind: "ours", "paper" or "quoted".
        cells: the figures by column.
        tokens: mean number of visual tokens of a picture; NaN if it is not known.
        spread: the least, the median and the most, as text; "" if they are not known.
        seconds: mean seconds of a question; NaN if it is not known.
        note: settings of a run, or where a printed row stands.
    """

    name: str
    kind: str
    cells: dict[str, Cell]
    tokens: float = math.nan
    spread: str = ""
    seconds: float = math.nan
    note: str = ""


@dataclass(frozen=True)
class CostRow:
    """What the answers of a run to one benchmark took (row D17).

    Attributes:
        name: what the run is called.
        bench: the benchmark.
        questions: how many were answered.
        cost: visual tokens and seconds.
    """

    name: str
    bench: str
    questions: int
    cost: Cost

    def report(self) -> dict[str, Any]:
        """The row as JSON has it."""
        own = {"name": self.name, "bench": self.bench, "questions": self.questions}
        return own | self.cost.report()


@dataclass(frozen=True, eq=False)
class ReportTable:
    """All rows of a report.

    Attributes:
        title: what it is.
        columns: the names of its scores, in order.
        rows: printed rows and ours, each of ours behind the printed row that it is held against.
        constants: for each column that is a headline, the best score of those who never look.
        costs: what each run took, benchmark by benchmark.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[ReportRow, ...]
    constants: dict[str, float] = field(default_factory=dict)
    costs: tuple[CostRow, ...] = ()

    def report(self) -> dict[str, Any]:
        """The table as JSON has it."""
        return {
            "title": self.title,
            "columns": list(self.columns),
            "constants": self.constants,
            "costs": [row.report() for row in self.costs],
            "rows": [
                {
                    "name": row.name,
                    "kind": row.kind,
                    "tokens": row.tokens,
                    "seconds": row.seconds,
                    "note": row.note,
                    "scores": {
                        name: {
                            **cell.value.report(),
                            "published": cell.published,
                            "blind": cell.blind,
                        }
                        for name, cell in row.cells.items()
                    },
                }
                for row in self.rows
            ],
        }


def report_table(
    runs: Sequence[ScoredRun], *, table: str = "", anyway: bool = False, all_scores: bool = False
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

    Raises:
        NotComparable: If prompts or decoding differ, and `anyway` is not set.
        ValueError: If there is no such table, or two runs are of one name and benchmark.
    """
    if not anyway:
        check_comparable(runs)
    printed = published_rows(table) if table else []
    columns = _columns(runs, printed, all_scores)
    groups = _by_name(runs)
    rows: list[ReportRow] = []
    placed: set[str] = set()
    for row in printed:
        rows.append(_printed_row(row, columns))
        for name, own in groups.items():
            if row.name and row.name in _recipe_names(name, own):
                rows.append(_own_row(name, own, columns, runs, row))
                placed.add(name)
    for name, own in groups.items():
        if name not in placed:
            rows.append(_own_row(name, own, columns, runs, None))
    title = f"{printed[0].source} beside ours" if printed else "Scores"
    costs = tuple(
        CostRow(one.run.name, str(one.run.head["bench"]), len(one.run.replied), one.cost)
        for one in runs
    )
    return ReportTable(title, columns, tuple(rows), _constants(runs, columns), costs)


def _columns(
    runs: Sequence[ScoredRun], printed: Sequence[PublishedRow], all_scores: bool
) -> tuple[str, ...]:
    if printed:
        names = dict.fromkeys(name for row in printed for name in row.figures)
        return tuple(name for name in names if name != "tokens")
    return tuple(
        dict.fromkeys(
            name
            for scored in runs
            for name in scored.score.values
            if all_scores or name == scored.score.headline
        )
    )


def _by_name(runs: Sequence[ScoredRun]) -> dict[str, list[ScoredRun]]:
    groups: dict[str, list[ScoredRun]] = {}
    for scored in runs:
        if scored.run.head.get("blind"):
            continue
        group = groups.setdefault(scored.run.name, [])
        if any(type(other.bench) is type(scored.bench) for other in group):
            raise ValueError(
                f"two runs are called {scored.run.name} and answer {scored.run.head['bench']}: "
                "give one of them another name (NAME=FOLDER)"
            )
        group.append(scored)
    return groups


def _recipe_names(name: str, runs: Sequence[ScoredRun]) -> set[str]:
    names = {name, *(str(scored.run.head.get("recipe", "")) for scored in runs)}
    return {text.rpartition("/")[2] for text in names}


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
    name: str,
    own: Sequence[ScoredRun],
    columns: Sequence[str],
    runs: Sequence[ScoredRun],
    printed: PublishedRow | None,
) -> ReportRow:
    published = printed.figures if printed else {}
    values = {key: value for scored in own for key, value in scored.score.values.items()}
    averages = rice_averages({key: value.value for key, value in values.items()})
    values |= {key: Value(value) for key, value in averages.items()}
    blind = {
        key: value.value
        for scored in own
        if (baseline := blind_baseline(scored, runs))
        for key, value in baseline.score.values.items()
    }
    cells = {
        key: Cell(values[key], published.get(key, math.nan), blind.get(key, math.nan))
        for key in columns
        if key in values
    }
    cost = _cost_of(own)
    quantiles = cost.cost.quantiles
    spread = f"{quantiles[0]:.0f} / {quantiles[2]:.0f} / {quantiles[4]:.0f}" if quantiles else ""
    seconds = [scored.cost.seconds for scored in own]
    head = own[0].run.head
    settings = [str(head.get(key) or "") for key in ("model", "regions", "template")]
    note = ", ".join(filter(None, (*settings, own[0].reading)))
    mean = sum(seconds) / len(seconds)
    return ReportRow(name, "ours", cells, cost.cost.tokens, spread, mean, note)


def _cost_of(own: Sequence[ScoredRun]) -> ScoredRun:
    """The run whose tokens a row states: that on CV-Bench, as the study has it, or the first."""
    from regiontok.benches.cvbench import Cvbench

    return next((scored for scored in own if isinstance(scored.bench, Cvbench)), own[0])


def _constants(runs: Sequence[ScoredRun], columns: Sequence[str]) -> dict[str, float]:
    best: dict[str, float] = {}
    for scored in runs:
        values = [value for value in scored.score.constants.values() if not math.isnan(value)]
        if values and scored.score.headline in columns:
            name = scored.score.headline
            best[name] = max(max(values), best.get(name, -math.inf))
    return best
