"""The field kit: its sample, its plan, and a whole run of tiny models to the report page."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("transformers", minversion="5.18")

from regiontok.evaluation.question import Question
from regiontok.settings import registry
from samples.bench_folders import write_bench
from samples.released import tiny_llava, tiny_qwen

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import field_kit
import field_kit_models as models


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Tiny checkpoints as they are published, and tiny benchmarks."""
    root = tmp_path_factory.mktemp("field")
    for name, make in (("llava-tiny", tiny_llava), ("qwen-tiny", tiny_qwen)):
        for part in make():
            part.save_pretrained(root / name)
    for bench in field_kit.BENCHES:
        write_bench(bench, root / "benches" / bench)
    return {path.name: path for path in root.iterdir()}


def words(folders: dict[str, Path], out: Path, *more: str) -> list[str]:
    """A command line for both tiny models."""
    checkpoints = [str(folders["llava-tiny"]), str(folders["qwen-tiny"])]
    options = ["--device", "cpu", "--budgets", "16", "9", "6", "--sample", "0"]
    places = ["--data", str(folders["benches"]), "--out", str(out)]
    return [*places, "--models", *checkpoints, *options, *more]


def test_each_part_has_its_share_in_a_sample_and_units_stay_whole():
    bench = registry.build("bench", "mme")
    questions = [
        Question(f"{part}/{number}", "?", (), groups={"subtask": part, bench.unit: f"{part}{unit}"})
        for part, count in (("a", 20), ("b", 60))
        for number in range(count)
        for unit in [number // 2]
    ]
    drawn = field_kit.sampled(bench, questions, 16, seed=0)
    assert Counter(question.groups["subtask"] for question in drawn) == {"a": 4, "b": 12}
    assert set(Counter(question.groups[bench.unit] for question in drawn).values()) == {2}
    assert drawn == field_kit.sampled(bench, questions, 16, seed=0)
    assert drawn != field_kit.sampled(bench, questions, 16, seed=1)
    assert field_kit.sampled(bench, questions, 0, seed=0) == questions


def test_the_rows_of_the_two_models_that_it_is_for(capsys):
    llava, qwen = (models.checkpoint_of(name) for name in models.MODELS)
    budgets = field_kit.BUDGETS
    rows = list(field_kit.settings(llava, list(models.METHODS), budgets))
    assert len(rows) == 1 + 5 * 3  # at 576 LLaVA's own tokens stand for all methods
    assert ("visionzip 144", "visionzip(144) | sort('com')", 144) in rows
    rows = list(field_kit.settings(qwen, list(models.METHODS), budgets))
    assert len(rows) == 1 + 4 * 4
    regions = {name: regions for name, regions, _ in rows}
    assert regions["merge 72"] == "above(72, 'merge(k=72)') | sort('com')"
    assert "Qwen2.5-VL-7B-Instruct: no visionzip" in capsys.readouterr().out
    for _, spec, _ in rows:
        registry.build_pipeline("step", spec)


def test_an_estimate_by_hand():
    llava = models.checkpoint_of(models.MODELS[0])
    found = llava.estimate([576] * 600, longest=16, batch=8)
    assert found["tokens"] == 576
    assert found["gigabytes"] == pytest.approx(14.1 + 8 * 672 * 0.000524288 + 2)
    assert 0.01 < found["hours"] < 0.1


def test_a_dry_run_says_what_would_be_done(folders, tmp_path, capsys):
    assert field_kit.main(words(folders, tmp_path / "out", "--dry-run")) == 0
    printed = capsys.readouterr().out
    assert "llava-tiny merge 9 | pope | 6 | merge(k=9) | sort('com') | 9.0" in printed
    assert "qwen-tiny merge 9 | pope | 6 | above(9, 'merge(k=9)') | sort('com') | 9.0" in printed
    assert "78 runs, about" in printed  # 3 benchmarks; 2 + 5 * 2 rows of LLaVA, 2 + 4 * 3
    assert not (tmp_path / "out").exists()


def test_mistakes_are_one_line(folders, tmp_path, capsys):
    assert field_kit.main(words(folders, tmp_path, "--methods", "tomme")) == 2
    assert "did you mean 'tome'" in capsys.readouterr().err
    given = ["--data", str(tmp_path), "--out", str(tmp_path)]
    assert field_kit.main(given) == 2
    assert "is no folder" in capsys.readouterr().err


@pytest.mark.slow
def test_a_whole_run_goes_on_and_ends_with_the_page(folders, tmp_path, capsys):
    given = words(folders, tmp_path, "--resamples", "50", "--budgets", "9")
    assert field_kit.main(given) == 0
    heads = {}
    for path in (tmp_path / "answers").rglob("answers.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        heads[path.parent.relative_to(tmp_path / "answers").as_posix()] = lines[0]["head"]
        if (budget := lines[0]["head"]["name"].rpartition(" ")[2]).isdigit():
            assert all(max(line["visual_tokens"]) <= int(budget) for line in lines[1:])
    assert len(heads) == 39
    page = (tmp_path / "report" / "report.html").read_text()
    for words_of_page in ("llava-tiny visionzip 9", "qwen-tiny patches", "pope_f1", "blind"):
        assert words_of_page in page
    answers = tmp_path / "answers" / "qwen-tiny-tome-9" / "pope" / "answers.jsonl"
    whole = answers.read_text()
    answers.write_text("".join(whole.splitlines(keepends=True)[:3]))
    assert field_kit.main(given) == 0
    assert len(answers.read_text().splitlines()) == len(whole.splitlines())
