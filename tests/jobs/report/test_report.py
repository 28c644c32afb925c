"""Runs scored, compared, refused and laid beside the papers' tables."""

from __future__ import annotations

import csv
import io
import re

import pytest

from regiontok.evaluation.averages import rice_averages
from regiontok.jobs.report.command import FILES, named_folder, scored_runs, write_report
from regiontok.jobs.report.page import page
from regiontok.jobs.report.published import published_rows, tables
from regiontok.jobs.report.runs import (
    NotComparable,
    blind_baseline,
    check_comparable,
    paired,
    score_run,
)
from regiontok.jobs.report.table import report_table
from regiontok.jobs.report.texts import comma_separated, latex, markdown
from samples.answers import write_run


def right(question):
    return question.answer


def wrong(question):
    return {"yes": "no", "no": "yes"}.get(question.answer, "zzz")


@pytest.fixture
def runs(tmp_path):
    """A good run and a bad one on POPE, the good one's on CV-Bench, and one without pictures."""
    name = "table1_clip_cluster_rms"
    return [
        write_run(tmp_path / "good", "pope", right, name=name, tokens=200),
        write_run(tmp_path / "good-space", "cvbench", right, name=name, tokens=257),
        write_run(tmp_path / "bad", "pope", wrong, name="bad", tokens=576),
        write_run(tmp_path / "blind", "pope", lambda q: "yes", name="blind", blind=True),
    ]


@pytest.fixture
def scored(runs):
    return [score_run(path, resamples=50) for path in runs]


def test_a_run_has_scores_and_a_cost(scored):
    good, space, bad, blind = scored
    assert (good.headline, space.headline, bad.headline) == (
        100,
        100,
        0,
    )
    assert good.cost.tokens == 205
    assert good.cost.quantiles == (200, 202.5, 205, 207.5, 210)
    assert good.cost.seconds == 0.5
    assert good.score.constants["Yes"] == pytest.approx(200 / 3)
    assert (blind.cost.quantiles, blind.headline) == ((), pytest.approx(200 / 3))
    assert good.counts["missing"] == 0


def test_missing_and_failed_answers_are_counted(tmp_path):
    folder = write_run(tmp_path / "run", "pope", right)
    lines = (folder / "answers.jsonl").read_text().splitlines()
    failed = re.sub(r'"reply": "[^"]*"', '"error": "damaged"', lines[2])
    (folder / "answers.jsonl").write_text("\n".join([lines[0], *lines[3:], failed, "{cut"]))
    counts = score_run(folder, resamples=0).counts
    assert (counts["questions"], counts["missing"], counts["failed"]) == (4, 1, 1)
    assert counts["damaged_lines"] == 1


def test_the_blind_baseline_is_of_the_same_model(scored):
    good, space, _, blind = scored
    assert blind_baseline(good, scored) is blind
    assert blind_baseline(space, scored) is None
    assert blind_baseline(blind, scored) is None


def test_a_paired_test_of_two_runs(scored):
    found = paired(scored[0], scored[2], resamples=50)
    assert (found.questions, found.wins, found.losses) == (6, 0, 6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompt": "bare"}, "prompt is 'study' and 'bare'"),
        ({"decoding": {"do_sample": True}}, "decoding is .*'max_new_tokens': 16.* and .*True"),
    ],
)
def test_runs_that_were_asked_otherwise_are_not_compared(tmp_path, change, words):
    first = write_run(tmp_path / "first", "pope", right, name="first")
    second = write_run(tmp_path / "second", "pope", right, name="second", head=change)
    both = [score_run(path, resamples=0) for path in (first, second)]
    with pytest.raises(NotComparable, match=f"cannot be compared: {words}.*--anyway"):
        check_comparable(both)
    with pytest.raises(NotComparable):
        report_table(both)
    assert len(report_table(both, anyway=True).rows) == 2


def test_ours_stand_behind_the_row_of_their_recipe(scored):
    table = report_table(scored, table="study/1")
    assert table.columns[:3] == ("pope_f1", "ocrbench", "cvbench")
    names = [(row.name, row.kind) for row in table.rows]
    printed = names.index(("Region-based (from clustering), CLIP", "paper"))
    assert names[printed + 1] == ("table1_clip_cluster_rms", "ours")
    assert names[-1] == ("bad", "ours")
    ours = table.rows[printed + 1]
    assert ours.tokens == 260  # the tokens of CV-Bench
    assert ours.cells["pope_f1"].difference == pytest.approx(100 - 85.8)
    assert ours.cells["pope_f1"].blind == pytest.approx(200 / 3)
    assert "ocrbench" not in ours.cells
    assert table.constants["pope_f1"] == pytest.approx(200 / 3)


def test_the_recipe_of_the_model_counts_as_its_name(tmp_path):
    run = write_run(tmp_path / "r", "pope", right, name="x", head={"recipe": "table1_clip_patch"})
    table = report_table([score_run(run, resamples=0)], table="study/1")
    names = [row.name for row in table.rows]
    assert names[names.index("Patch-based, CLIP") + 1] == "x"


def test_quoted_rows_are_marked(scored):
    table = report_table(scored[:1], table="og_llava/3")
    quoted = {row.name: row for row in table.rows if row.kind == "quoted"}
    assert quoted["Sa2Va-7B"].cells["mmvp"].value.value == 74.0
    assert quoted["LLaVA-NeXT-8B"].cells["mmvp"].starred
    assert "38.70*" in markdown(table)


def test_an_unknown_table_is_refused():
    with pytest.raises(ValueError, match=r"did you mean 'study/1'"):
        published_rows("study/11")
    assert {"study/1", "study/6", "og_llava/1", "og_llava/3", "rice/1"} <= set(tables())


@pytest.mark.parametrize("row", published_rows("rice/1"), ids=lambda row: row.row)
def test_rices_averages_follow_from_its_rows(row):
    """As near as the printed figures allow: MME's are whole numbers."""
    averages = rice_averages(row.figures)
    for name in ("rice_text", "rice_general"):
        assert averages[name] == pytest.approx(row.figures[name], abs=0.02), name


def test_two_runs_of_one_name_are_refused(scored):
    with pytest.raises(ValueError, match="two runs are called table1_clip_cluster_rms"):
        report_table([scored[0], scored[0]])


def test_texts(scored):
    table = report_table(scored, table="study/1")
    lines = markdown(table).splitlines()
    assert lines[0] == "## diagnostic-study, Table 1 beside ours"
    ours = next(line for line in lines if line.startswith("| table1_clip_cluster_rms"))
    assert "| 260.0 | 257 / 260 / 263 | 0.500 | 100.00 [100.00, 100.00] (+14.20), blind" in ours
    assert "| bad | pope | 6 | 581.0 | 576 | 578 | 581 | 584 | 586 | 0.500 |" in lines
    rows = list(csv.DictReader(io.StringIO(comma_separated(table))))
    own = next(r for r in rows if r["whose"] == "ours" and r["score"] == "cvbench")
    assert (own["value"], own["published"]) == ("100.000000", "57.660000")
    tex = latex(table)
    assert r"\textbf{table1\_clip\_cluster\_rms} & 260" in tex
    assert tex.count(r"\\") == len(table.rows) + 1


def test_the_page_needs_no_network_and_has_a_frontier(scored):
    text = page(report_table(scored, table="study/1"))
    assert not re.search(r"(?:src|href)=", text)
    assert text.count("<svg") >= 2
    assert 'data-kind="paper"' in text
    assert "pope_f1 against visual tokens" in text


def test_rows_that_differ_in_a_last_number_share_a_colour_and_a_line(tmp_path):
    names = ["clip merge 72", "clip patches", "clip merge 144", "clip tome 72"]
    runs = [
        score_run(write_run(tmp_path / name, "pope", right, name=name, tokens=100), resamples=0)
        for name in names
    ]
    text = page(report_table(runs))
    assert re.findall(r'class="key series(\d)" data-row="[\w ]+">([\w ]+)<', text) == [
        ("0", "clip merge")
    ]
    assert re.findall(r'polyline class="line series0" data-row="([\w ]+)"', text) == ["clip merge"]
    found = re.findall(r'<circle class="([\w ]+)" data-row="([\w ]+)"', text)
    assert found == [("ours series0" if "merge" in name else "ours", name) for name in names]
    assert 'class="kind"' not in text  # one kind of rows needs no boxes


def test_runs_are_found_below_a_folder_and_named(runs, tmp_path):
    found = scored_runs([str(runs[0]), f"mine={runs[2]}"], resamples=0)
    assert [one.run.name for one in found] == ["table1_clip_cluster_rms", "mine"]
    assert len(scored_runs([str(tmp_path)], resamples=0)) == 4
    assert named_folder(str(tmp_path))[0] == ""
    with pytest.raises(ValueError, match="holds no answers"):
        scored_runs([str(tmp_path / "pope-data")])


def test_a_report_is_four_files(scored, tmp_path):
    table = report_table(scored)
    assert table.columns == ("pope_f1", "cvbench")
    assert all(path.stat().st_size for path in write_report(table, tmp_path / "report"))
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == sorted(FILES)
