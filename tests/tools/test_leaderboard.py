"""tools/leaderboard.py: saved diagnoses joined on one page."""

from __future__ import annotations

import copy
import importlib.util
import json
from pathlib import Path

import pytest
from PIL import Image

from regiontok.data.collect import collect
from regiontok.jobs.diagnose.columns import HEADLINES
from regiontok.jobs.diagnose.diagnosis import Diagnosis, Options
from regiontok.jobs.diagnose.subjects import subjects
from regiontok.miniworld.scenes import make_scene

SCRIPT = Path(__file__).parents[2] / "tools" / "leaderboard.py"


@pytest.fixture(scope="module")
def leaderboard():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("leaderboard", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished diagnosis of two encoders on two scenes, as they come and with RMS norm."""
    root = tmp_path_factory.mktemp("leaderboard")
    for seed in range(2):
        Image.fromarray(make_scene(seed, (96, 128)).pixels).save(root / f"{seed}.png")
    encoders = subjects(["filters(size=112, fourier=0)", "filters(size=112, fourier=16)"])
    photos = collect([str(root / "0.png"), str(root / "1.png")])
    options = Options(root / "run", date="2026-01-02", variants=("raw", "rms"))
    Diagnosis(encoders, photos, options).run()
    return root / "run"


@pytest.fixture
def results(folder, leaderboard):
    return leaderboard.read_results([folder])[0]


@pytest.fixture
def page(leaderboard, folder, tmp_path):
    """The function that joins the diagnosis with other results: number of rows, and the text."""

    def write(other):
        (tmp_path / "other.json").write_text(json.dumps(other))
        out = tmp_path / "docs" / "encoders.md"
        saved = leaderboard.read_results([folder, tmp_path / "other.json"])
        return leaderboard.write_leaderboard(saved, out), out.read_text()

    return write


def test_results_of_one_photo_set_are_joined(results, page):
    later = copy.deepcopy(results) | {"date": "2026-01-03"}
    later["rows"] = [row | {"encoder": "a | b"} for row in later["rows"][:2]]
    control = copy.deepcopy(results["rows"][0]) | {
        "encoder": "best control",
        "control": True,
        "fingerprint": "c",
        "covering_at_budget": 0.99,
    }
    later["rows"].append(control)
    count, text = page(later)
    assert count == 5
    assert text.count("## 2 photos") == 1
    assert "2026-01-02 to 2026-01-03; 2 photos" in text
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) == 5
    assert rows[2].startswith("| `best control`")  # controls stand last, however good
    # the later measurement of the first encoder
    assert sum(line.startswith("| `a / b` |") for line in rows) == 2
    assert {line.count("|") for line in rows[:3]} == {4 + len(HEADLINES)}
    for column in HEADLINES:
        assert f"- **{column.head}**: " in text
    assert "python tools/leaderboard.py" in text


def test_other_photos_stand_apart(results, page):
    other = copy.deepcopy(results)
    other["photos"] |= {"hash": "f" * 32, "count": 9}
    _, text = page(other)
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles[:2] == ["## 2 photos", "## 9 photos"]


def test_settings_that_cannot_be_compared_stand_apart(results, page):
    other = copy.deepcopy(results)
    other["settings"]["seed"] = 1
    assert page(other)[0] == 8


def test_what_is_no_diagnosis_is_refused(leaderboard, tmp_path, capsys):
    with pytest.raises(ValueError, match="holds no results of `regiontok diagnose measure`"):
        leaderboard.read_results([tmp_path])
    for text in ("{}", "[]", "x", '{"command": "frontier", "rows": [1], "photos": {"count": 1}}'):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(ValueError, match=r"a\.json holds no results of `regiontok diagnose"):
            leaderboard.read_results([tmp_path / "a.json"])
    with pytest.raises(SystemExit):
        leaderboard.main([str(tmp_path), "--out", str(tmp_path / "page.md")])
    assert "holds no results" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        leaderboard.main(["--out", str(tmp_path / "page.md")])
    assert "required: results" in capsys.readouterr().err


def test_the_script_writes_the_page_and_counts_its_rows(leaderboard, folder, tmp_path, capsys):
    leaderboard.main([str(folder), "--out", str(tmp_path / "page.md")])
    assert capsys.readouterr().out == f"4 rows in {tmp_path / 'page.md'}\n"
    assert (tmp_path / "page.md").read_text().startswith("# Encoders, diagnosed\n")
