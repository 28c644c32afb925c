"""Runs scored, compared, refused and laid beside the papers' tables."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from regiontok.evaluation.averages import (
    ARO_ITEMS,
    averages_of,
    rice_averages,
    weighted_by_items,
)
from regiontok.jobs.report.command import FILES, named_folder, scored_runs, write_report
from regiontok.jobs.report.models import NoFocus, focus_of
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
from regiontok.jobs.report.texts import (
    comma_separated,
    costs_comma_separated,
    latex,
    markdown,
)
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
    assert good.cost.resolution == "336 x 336"
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
    parts = report_table(scored, all_scores=True)
    assert parts.constants.keys() == {*scored[0].score.values, *scored[1].score.values}


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


def test_rices_row_of_a_recipe_and_the_rows_of_others_stand_in_one_table():
    by_row = {row.row: row for row in published_rows("rice/1")}
    assert len(by_row) == 14
    ours = by_row["LLaVA-NeXT: RICE, ViT-L-14-378px, Qwen2.5-7B"]
    assert (ours.name, ours.quoted) == ("table1_next_rice378", False)
    assert by_row["LLaVA-NeXT: UNIT, ViT-H-14-378px, Qwen2.5-7B"].quoted
    assert [row.row for row in published_rows("rice/2") if not row.quoted] == [
        "LLaVA-1.5: RICE, Vicuna-7B, LISA",
        "LLaVA-NeXT: RICE, Qwen2.5-7B, LISA",
    ]


def test_rices_probes_are_printed_as_its_tables_have_them():
    """Table 2 prints mean gains over eight splits, Table 3 the mean over seven domains."""
    refer = {row.row: list(row.figures.values()) for row in published_rows("rice/2")}
    for gain, below, above in (
        (2.00, "LLaVA-1.5: CLIP, Vicuna-7B, LISA", "LLaVA-1.5: RICE, Vicuna-7B, LISA"),
        (2.45, "LLaVA-NeXT: CLIP, Qwen2.5-7B, LISA", "LLaVA-NeXT: RICE, Qwen2.5-7B, LISA"),
        (1.30, "LLaVA-NeXT: MLCD, Qwen2.5-7B, LISA", "LLaVA-NeXT: RICE, Qwen2.5-7B, LISA"),
    ):
        gains = [a - b for a, b in zip(refer[above], refer[below], strict=True)]
        assert sum(gains) / 8 == pytest.approx(gain, abs=0.005)
    for row in published_rows("rice/3"):
        domains = [value for name, value in row.figures.items() if name.startswith("rf100_")]
        mean = sum(domains[:-1]) / 7
        # SigLIP's is printed as 24.1 and computes to 24.04
        assert mean == pytest.approx(domains[-1], abs=0.065), row.row
    tracked = {row.row: row.figures for row in published_rows("rice/4")}
    assert all(len(figures) == 12 for figures in tracked.values())
    assert tracked["RICE"]["got10k_sr50"] < tracked["DINOv2"]["got10k_sr50"]  # "best on all"


def test_og_llavas_averages_follow_from_its_rows():
    """The prose says 69 and 63 for the 3B model."""
    (row,) = [row for row in published_rows("og_llava/1") if row.name == "table1_3b_665k_fusion"]
    aro = weighted_by_items({name: row.figures[f"aro_{name}"] for name in ARO_ITEMS}, ARO_ITEMS)
    averages = averages_of({**row.figures, "aro": aro})
    assert averages["compositional"] == pytest.approx(69, abs=0.5)
    assert averages["vision"] == pytest.approx(63, abs=0.5)


def test_focus_stands_in_the_row_of_its_model(scored, tmp_path):
    entry = {"focus": 0.14, "focus_interval": [0.1, 0.2], "tokens": 30}
    models = {"bad": entry, "unmeasured": {"focus": None, "focus_interval": None}}
    (tmp_path / "focus.json").write_text(json.dumps({"models": models}))
    focus = focus_of([tmp_path])
    table = report_table(scored, table="study/2", focus=focus)
    row = next(row for row in table.rows if row.name == "bad")
    assert row.cells["focus"].value.report() == pytest.approx({"value": 14, "low": 10, "high": 20})
    assert report_table(scored, focus=focus).columns == ("pope_f1", "cvbench", "focus")
    with pytest.raises(NoFocus, match="both have the focus of bad"):
        focus_of([tmp_path, tmp_path])
    with pytest.raises(NoFocus, match=r"holds no scores of `regiontok focus`"):
        focus_of([tmp_path / "nowhere"])


def test_two_runs_of_one_name_are_refused(scored):
    with pytest.raises(ValueError, match="two runs are called table1_clip_cluster_rms"):
        report_table([scored[0], scored[0]])


def test_texts(scored):
    table = report_table(scored, table="study/1")
    lines = markdown(table).splitlines()
    assert lines[0] == "## diagnostic-study, Table 1 beside ours"
    ours = next(line for line in lines if line.startswith("| table1_clip_cluster_rms"))
    cost = "| 336 x 336 | 260.0 | 257 / 260 / 263 | 0.500 |"
    assert f"{cost} 100.00 [100.00, 100.00] (+14.20), blind 66.67, 205.0 tokens |" in ours
    assert "100.00 [100.00, 100.00] (+42.34) |" in ours  # CV-Bench's tokens are the row's
    cells = "bad | pope | 336 x 336 | 6 | 6 | 581.0 | 576 | 578 | 581 | 584 | 586 | 0.500"
    assert f"| {cells} |" in lines
    assert cells.replace(" | ", ",") in costs_comma_separated(table).splitlines()
    rows = list(csv.DictReader(io.StringIO(comma_separated(table))))
    own = next(r for r in rows if r["whose"] == "ours" and r["score"] == "cvbench")
    assert (own["value"], own["published"]) == ("100.000000", "57.660000")
    pope = next(r for r in rows if r["whose"] == "ours" and r["score"] == "pope_f1")
    assert [r["score_tokens"] for r in (own, pope)] == ["260.000", "205.000"]
    assert (pope["resolution"], pope["tokens"]) == ("336 x 336", "260.000")
    tex = latex(table)
    assert r"\textbf{table1\_clip\_cluster\_rms} & 336 x 336 & 260 & 0.500 & 100.00" in tex
    assert r"100.00 {\scriptsize [100.00, 100.00] (+14.20), blind 66.67, 205.0 tokens}" in tex
    assert tex.count(r"\\") == len(table.rows) + 2 + len(table.costs) + 1
    constant = next(r for r in rows if r["whose"] == "baseline" and r["score"] == "pope_f1")
    assert float(constant["value"]) == pytest.approx(200 / 3)


def test_the_page_needs_no_network_and_has_a_frontier(scored):
    text = page(report_table(scored, table="study/1"))
    assert not re.search(r"(?:src|href)=", text)
    assert text.count("<svg") >= 2
    assert 'data-kind="paper"' in text
    assert "pope_f1 against visual tokens" in text
    assert "<small>205.0 tokens</small>" in text
    places = [  # each score stands above the tokens of its own benchmark
        [float(x) for x in re.findall(r'<circle class="ours".*?cx="([\d.]+)"', plot)]
        for plot in text.split("<figure>")[1:3]
    ]
    assert places[0][0] < places[0][1]
    assert "cvbench against visual tokens" in text


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
