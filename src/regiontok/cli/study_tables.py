"""The tables of `regiontok study` in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from regiontok.jobs.study.plan import StudyPlan
from regiontok.jobs.study.run import StudyOptions, steps_of
from regiontok.jobs.study.tables import StudyTable, cells_of, column_title


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> Table:
    """A table whose first columns hold words, and the others numbers."""
    table = Table(
        title=title, title_justify="left", title_style="bold", header_style="dim", box=None
    )
    for number, head in enumerate(heads):
        table.add_column(head, justify="left" if number < words else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def plan_table(plan: StudyPlan, options: StudyOptions) -> Table:
    """What a study would train and ask."""
    steps = list(steps_of(plan, options))
    rows = [
        [
            setting.name,
            setting.recipe or plan.recipe,
            ", ".join(setting.changes) or (f"asks {setting.trained}" if setting.trained else ""),
            ", ".join(setting.asked),
            str(sum(step[0] is setting for step in steps)),
        ]
        for setting in plan.setting
        if any(step[0] is setting for step in steps)
    ]
    title = f"{plan.what}: {len(steps)} runs"
    return _table(title, ["setting", "recipe", "changes", "asked with", "seeds"], rows, words=4)


def outcome_tables(tables: Sequence[StudyTable]) -> list[Table]:
    """A table for each finding."""
    return [
        _table(
            table.finding.title,
            ["setting", "tokens", *map(column_title, table.columns), "less the baseline"],
            [cells_of(row, table) for row in table.rows],
            words=1,
        )
        for table in tables
    ]
