"""Tables of outcomes by hand, and the files that they are written into."""

from __future__ import annotations

import json

import pytest

from regiontok.jobs.study.page import draw, page, write_study
from regiontok.jobs.study.plan import StudyPlan
from regiontok.jobs.study.run import Outcome
from regiontok.jobs.study.tables import markdown, study_tables

PLAN = StudyPlan(
    name="two",
    what="Two settings & more",
    recipe="miniworld/patch",
    setting=[{"name": "patches"}, {"name": "clusters 24"}, {"name": "clusters 48"}],
    finding=[
        {
            "title": "Are they alike?",
            "paper": "they are <alike>",
            "baseline": "patches",
            "settings": ["patches", "clusters 48", "clusters 24"],
        }
    ],
)


def outcome(name, seed, mean, tokens):
    scores = {"miniworld": mean, "miniworld_colour": mean + 10, "miniworld_near_twins_pairs": 1.0}
    return Outcome(name, seed, scores, tokens, 100)


OUTCOMES = [
    outcome("patches", 0, 80.0, 144),
    outcome("patches", 1, 82.0, 144),
    outcome("clusters 48", 0, 79.0, 48),
    outcome("clusters 48", 1, 80.5, 48),
    outcome("clusters 24", 0, 60.0, 24),
]


def test_rows_have_means_and_differences_seed_by_seed():
    (table,) = study_tables(PLAN, OUTCOMES)
    assert table.columns == ("miniworld", "miniworld_colour")
    patches, clusters, few = table.rows
    assert (patches.scores["miniworld"].mean, clusters.difference.mean) == (81.0, -1.25)
    assert few.difference.mean == -20.0
    assert few.difference.count == 1
    text = markdown(PLAN, [table])
    assert "| clusters 48 | 48 | 79.8 ± 9.5 | 89.8 ± 9.5 | -1.2 ± 3.2 |" in text
    assert "| patches | 144 | 81.0 ± 12.7 | 91.0 ± 12.7 |  |" in text


def test_a_finding_without_outcomes_has_no_table():
    assert study_tables(PLAN, []) == []


def test_files_are_written_and_pages_escape_what_they_say(tmp_path):
    pytest.importorskip("matplotlib")
    tables = study_tables(PLAN, OUTCOMES)
    files = write_study(PLAN, tables, tmp_path / "out")
    assert all(file.is_file() for file in files)
    report = json.loads((tmp_path / "out" / "study.json").read_text())
    assert report["findings"][0]["rows"][0]["scores"]["miniworld"]["seeds"] == 2
    text = page(PLAN, tables, [draw(tables[0])])
    assert "they are &lt;alike&gt;" in text
    assert "http" not in text.replace("http-equiv", "")


def test_budgets_are_drawn_as_accuracy_against_tokens():
    pytest.importorskip("matplotlib")
    finding = PLAN.finding[0].model_copy(update={"frontier": True})
    (table,) = study_tables(PLAN.model_copy(update={"finding": [finding]}), OUTCOMES)
    assert draw(table).width > 300
