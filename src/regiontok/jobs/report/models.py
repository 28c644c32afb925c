"""What a report knows of one model: its runs on several benchmarks, averages over them, and focus.

A row of a report is a model; its runs bear one name, by which its focus is found, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from regiontok.evaluation.averages import averages_of
from regiontok.evaluation.cost import TokenCounts
from regiontok.evaluation.scoring import Value
from regiontok.jobs.report.runs import ScoredRun
from regiontok.system.errors import RegiontokError, first_line
from regiontok.system.strict_json import parse_json

FOCUS = "focus.json"  # what `regiontok focus` writes


class NoFocus(RegiontokError, ValueError):
    """A folder holds no scores of `regiontok focus`; the message names it."""


@dataclass(frozen=True, eq=False)
class ModelRuns:
    """The runs of one model, which are one row.

    Attributes:
        name: what the row is called.
        runs: one run a benchmark.
        focus: its focus in percent; None if that was not measured.
    """

    name: str
    runs: tuple[ScoredRun, ...]
    focus: Value | None = None

    @cached_property
    def values(self) -> dict[str, Value]:
        """Every score of every run, the papers' averages over them, and focus."""
        values = {name: value for run in self.runs for name, value in run.score.values.items()}
        averages = averages_of({name: value.value for name, value in values.items()})
        values |= {name: Value(value) for name, value in averages.items()}
        return values | ({"focus": self.focus} if self.focus else {})

    @property
    def headlines(self) -> list[str]:
        """The headline of each run, then the averages and focus."""
        of_runs = {name for run in self.runs for name in run.score.values}
        further = [name for name in self.values if name not in of_runs]
        return [*(run.score.headline for run in self.runs), *further]

    @property
    def tokens(self) -> dict[str, float]:
        """Mean number of visual tokens of a picture, by the score of whose benchmark it is."""
        return {name: run.cost.tokens for run in self.runs for name in run.score.values}

    @property
    def counts(self) -> TokenCounts:
        """The tokens that a row states: of CV-Bench, as the study has them, or of the first run."""
        from regiontok.benches.cvbench import Cvbench

        on_cv_bench = [run for run in self.runs if isinstance(run.bench, Cvbench)]
        return [*on_cv_bench, *self.runs][0].cost.all

    @property
    def seconds(self) -> float:
        """The mean over the runs of the seconds of a question."""
        return math.fsum(run.cost.seconds for run in self.runs) / len(self.runs)

    @property
    def recipes(self) -> set[str]:
        """The names of recipes by whose printed rows it may stand."""
        names = {self.name, *(str(run.run.head.get("recipe", "")) for run in self.runs)}
        return {name.rpartition("/")[2] for name in names}

    @property
    def note(self) -> str:
        """The settings that make its scores what they are."""
        head = self.runs[0].run.head
        settings = [
            *(str(head.get(key) or "") for key in ("model", "regions", "segmenter", "template")),
            *map(str, head.get("changes", ())),
            "as trained" if head.get("as_trained") else "",
            f"{self.runs[0].reading} reading",
        ]
        return ", ".join(filter(None, settings))


def models_of(
    runs: Sequence[ScoredRun], focus: Mapping[str, Value] | None = None
) -> list[ModelRuns]:
    """The models of runs, in their order; blind runs are baselines of others.

    Args:
        runs: the scored runs.
        focus: focus by the name of a model.

    Raises:
        ValueError: If two runs are of one name and benchmark.
    """
    by_name: dict[str, list[ScoredRun]] = {}
    for scored in runs:
        if scored.run.head.get("blind"):
            continue
        of_name = by_name.setdefault(scored.run.name, [])
        if any(type(other.bench) is type(scored.bench) for other in of_name):
            raise ValueError(
                f"two runs are called {scored.run.name} and answer {scored.run.head['bench']}: "
                "give one of them another name (NAME=FOLDER)"
            )
        of_name.append(scored)
    focus = focus or {}
    return [ModelRuns(name, tuple(of_name), focus.get(name)) for name, of_name in by_name.items()]


def focus_of(folders: Sequence[Path]) -> dict[str, Value]:
    """Focus in percent with its interval, by the name that `regiontok focus` gave a model.

    Args:
        folders: its output folders.

    Raises:
        NoFocus: If a folder holds none, or two of them a model of one name.
    """
    focus: dict[str, Value] = {}
    for folder in folders:
        for name, entry in _models(folder.expanduser() / FOCUS).items():
            if name in focus:
                raise NoFocus(f"{folder} and a folder before it both have the focus of {name}")
            if entry["focus"] is not None:
                lower, upper = entry["focus_interval"] or (math.nan, math.nan)
                focus[name] = Value(*(100 * share for share in (entry["focus"], lower, upper)))
    return focus


def _models(path: Path) -> dict[str, Any]:
    try:
        models: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))["models"]
        assert all({"focus", "focus_interval"} <= entry.keys() for entry in models.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise NoFocus(
            f"{path} holds no scores of `regiontok focus` ({first_line(error)})"
        ) from None
    return models
