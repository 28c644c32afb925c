"""What a report's table holds: rows with their scores beside the paper's figures, and costs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from regiontok.evaluation.cost import Cost
from regiontok.evaluation.scoring import Value


@dataclass(frozen=True)
class Cell:
    """One figure of a row.

    Attributes:
        value: our score, or the paper's figure in a printed row.
        published: the paper's figure of the same row; NaN if there is none.
        blind: the score of the same model without pictures; NaN if that was not run.
        tokens: mean number of visual tokens of a picture of this benchmark; NaN if it is not known,
            or the figure is an average over benchmarks.
        starred: True if the paper marks the figure as others' own.
    """

    value: Value
    published: float = math.nan
    blind: float = math.nan
    tokens: float = math.nan
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
        tokens: mean number of visual tokens of a picture, of CV-Bench where that is among the
            benchmarks (row D17), else of the first one; NaN if it is not known.
        spread: the least, the median and the most, as text; "" if they are not known.
        resolution: what the encoder saw of these pictures; "" if it is not known.
        seconds: mean seconds of a question; NaN if it is not known.
        note: settings of a run, or where a printed row stands.
    """

    name: str
    kind: str
    cells: dict[str, Cell]
    tokens: float = math.nan
    spread: str = ""
    resolution: str = ""
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
        described = {"name": self.name, "bench": self.bench, "questions": self.questions}
        return described | self.cost.report()


@dataclass(frozen=True, eq=False)
class ReportTable:
    """All rows of a report.

    Attributes:
        title: what it is.
        columns: the names of its scores, in order.
        rows: printed rows and ours, each of ours behind the printed row that it is held against.
        constants: for each column, the best score that one reply to every question has.
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
                    "resolution": row.resolution,
                    "seconds": row.seconds,
                    "note": row.note,
                    "scores": {
                        name: {
                            **cell.value.report(),
                            "published": cell.published,
                            "blind": cell.blind,
                            "tokens": cell.tokens,
                        }
                        for name, cell in row.cells.items()
                    },
                }
                for row in self.rows
            ],
        }
