"""The tables of a study: a row for each setting of a finding, beside its baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from regiontok.jobs.study.plan import Finding, StudyPlan
from regiontok.jobs.study.run import BENCH, Outcome
from regiontok.jobs.study.statistics import MeanOverSeeds


@dataclass(frozen=True)
class StudyRow:
    """One setting in a finding's table.

    Attributes:
        setting: its name.
        tokens: visual tokens of a picture.
        scores: per cent right by column.
        difference: of the mean of all kinds, less the baseline's, seed by seed.
    """

    setting: str
    tokens: MeanOverSeeds
    scores: dict[str, MeanOverSeeds]
    difference: MeanOverSeeds


@dataclass(frozen=True)
class StudyTable:
    """What the settings of a finding reached.

    Attributes:
        finding: the finding.
        columns: names of the scores, the mean of all kinds first.
        rows: a row for each setting that has an outcome.
    """

    finding: Finding
    columns: tuple[str, ...]
    rows: tuple[StudyRow, ...]

    def report(self) -> dict[str, Any]:
        """The table as JSON has it; a half width that is not known is left out."""
        return {
            "title": self.finding.title,
            "paper": self.finding.paper,
            "baseline": self.finding.baseline,
            "rows": [
                {
                    "setting": row.setting,
                    "tokens": _numbers(row.tokens),
                    "scores": {name: _numbers(value) for name, value in row.scores.items()},
                    "difference": _numbers(row.difference),
                }
                for row in self.rows
            ],
        }


def _numbers(value: MeanOverSeeds) -> dict[str, float]:
    numbers = {"mean": value.mean, "half": value.half, "seeds": value.count}
    return {name: number for name, number in numbers.items() if number == number}


def study_tables(plan: StudyPlan, outcomes: Sequence[Outcome]) -> list[StudyTable]:
    """A table for each finding that has outcomes.

    Args:
        plan: the study.
        outcomes: what its models reached, as far as it went.
    """
    tables = [_table(finding, outcomes) for finding in plan.finding]
    return [table for table in tables if table.rows]


def _table(finding: Finding, outcomes: Sequence[Outcome]) -> StudyTable:
    here = [outcome for outcome in outcomes if outcome.setting in finding.settings]
    kinds = dict.fromkeys(name for outcome in here for name in outcome.scores if name != BENCH)
    columns = (BENCH, *(finding.columns or _shown(list(kinds))))
    base = {outcome.seed: outcome for outcome in here if outcome.setting == finding.baseline}
    rows = []
    for name in finding.settings:
        of_setting = [outcome for outcome in here if outcome.setting == name]
        if of_setting:
            rows.append(_row(name, of_setting, base, columns))
    return StudyTable(finding, columns, tuple(rows))


def _shown(kinds: list[str]) -> list[str]:
    """The kinds of a table that names none: those of questions, not of pairs of them."""
    return [kind for kind in kinds if not kind.endswith("_pairs")]


def _row(
    name: str, outcomes: Sequence[Outcome], base: dict[int, Outcome], columns: Sequence[str]
) -> StudyRow:
    differences = [
        outcome.scores[BENCH] - base[outcome.seed].scores[BENCH]
        for outcome in outcomes
        if outcome.seed in base
    ]
    return StudyRow(
        setting=name,
        tokens=MeanOverSeeds.of([outcome.tokens for outcome in outcomes]),
        scores={
            column: MeanOverSeeds.of(
                [outcome.scores.get(column, float("nan")) for outcome in outcomes]
            )
            for column in columns
        },
        difference=MeanOverSeeds.of(differences),
    )


def markdown(plan: StudyPlan, tables: Sequence[StudyTable]) -> str:
    """The tables as Markdown, each under its question and what the paper says."""
    parts = [f"# {plan.what}"]
    for table in tables:
        parts += [f"## {table.finding.title}"]
        if table.finding.paper:
            parts += [f"The paper: {table.finding.paper}"]
        heads = ["setting", "tokens", *map(column_title, table.columns), "less the baseline"]
        lines = [f"| {' | '.join(heads)} |", f"| --- {'| ---: ' * (len(heads) - 1)}|"]
        lines += [f"| {' | '.join(cells_of(row, table))} |" for row in table.rows]
        parts += ["\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def column_title(column: str) -> str:
    """What a column is called in a table."""
    return "all kinds" if column == BENCH else column.removeprefix(f"{BENCH}_").replace("_", " ")


def cells_of(row: StudyRow, table: StudyTable) -> list[str]:
    """The cells of a row as text."""
    is_base = row.setting == table.finding.baseline
    difference = "" if is_base else f"{row.difference}{' *' if row.difference.is_clear else ''}"
    scores = [str(row.scores[column]) for column in table.columns]
    tokens = f"{row.tokens.mean:.0f}" if row.tokens.count else ""  # blind: none
    return [row.setting, tokens, *scores, difference]
