"""The commands answer, score and report, in one process, on tiny benchmarks."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from regiontok.cli.app import app
from regiontok.evaluation.bench import READINGS
from samples.answers import write_run
from samples.bench_folders import write_bench


def run(*words, status=0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == status, result.output
    return result


def last_json(result):
    return json.loads(result.stdout.strip().splitlines()[-1])


def test_a_dry_run_says_how_a_question_is_asked(tmp_path):
    data = write_bench("mmvp", tmp_path / "mmvp")
    result = run("answer", "nowhere", "mmvp", "--data", data, "--dry-run", "--prompt", "og-llava")
    assert "(a) Open (b) Closed" in result.stdout
    assert last_json(result)["head"]["questions"] == 2


def test_questions_that_are_set_aside_are_said(tmp_path):
    data = write_bench("mmvp", tmp_path / "mmvp")
    (data / "MMVP Images" / "2.jpg").unlink()
    result = run("answer", "nowhere", "mmvp", "--data", data, "--dry-run")
    assert "2 is set aside: no image file" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pope"], "holds none of coco_pope_random.json"),
        (["poppe"], "did you mean 'pope'?"),
        (["mmvp", "--prompt", "stdy"], "prompt must be 'study' or"),
    ],
)
def test_mistakes_are_one_clear_line(tmp_path, words, message):
    data = write_bench("mmvp", tmp_path / "mmvp")
    result = run("answer", "nowhere", *words, "--data", data, status=2)
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_scores_and_differences(tmp_path):
    first = write_run(tmp_path / "first", "pope", lambda q: "yes", name="first")
    second = write_run(tmp_path / "second", "pope", lambda q: q.answer, name="second")
    result = run("score", first, second, "--resamples", "20")
    report = last_json(result)
    assert report["runs"][1]["scores"]["pope_f1"]["value"] == 100
    assert report["differences"][0]["wins"] == 3
    assert "always 'Yes'" in result.stdout
    run("score", first, "--reading", "rough", status=2)
    assert READINGS == ("official", "robust")


def test_runs_with_another_prompt_are_refused_in_one_line(tmp_path):
    first = write_run(tmp_path / "first", "pope", lambda q: "yes")
    second = write_run(tmp_path / "second", "pope", lambda q: "yes", prompt="bare")
    result = run("score", first, second, status=2)
    assert result.stderr.count("\n") == 1
    assert "prompt is 'study' and 'bare'" in result.stderr
    run("score", first, second, "--anyway", "--resamples", "0")


def test_mm_vets_replies_come_in_the_official_form(tmp_path):
    folder = write_run(tmp_path / "run", "mmvet", lambda q: "-1 and -5", name="run")
    (folder / "grades.json").write_text('{"v1_0": {"score": [0.5]}}')
    result = run("score", folder, "--resamples", "0")
    assert last_json(result)["runs"][0]["scores"]["mmvet"]["value"] == 50
    assert "1 replies have no grade" in result.stderr
    refused = run("score", folder, "--judge", "http://localhost:1/v1", status=2)
    assert "--judge wants --judge-model" in refused.stderr
    official = json.loads((folder / "official_answers.json").read_text())
    assert official == {"v1_0": "-1 and -5", "v1_1": "-1 and -5"}


def test_a_report_of_a_folder_of_runs(tmp_path):
    write_run(tmp_path / "runs" / "a", "mmvp", lambda q: q.answer, name="table1_8b_665k_fusion")
    out = tmp_path / "report"
    result = run("report", tmp_path / "runs", "--table", "og_llava/1", "--out", out)
    assert "(+63.00)" in result.stdout
    assert "\\n|" not in result.stdout  # a table of lines
    assert (out / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert last_json(result)["rows"][0]["kind"] == "paper"
