"""`tokenize` with pictures decoded ahead: the same output in the same order, and a clean end."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from PIL import Image

from regiontok.core.picture import Picture
from regiontok.data.collect import collect
from regiontok.jobs.tokenize.earlier import Writing
from regiontok.jobs.tokenize.images import tokenize_images
from regiontok.jobs.tokenize.tokenizer_set import TokenizerSet
from regiontok.settings.recipe import TokenizerSettings
from regiontok.system.errors import UnusableModel
from samples.models import save_clip_tower

UNDRAWN, RESUMED = Writing(picture=""), Writing(picture="", resume=True)


@pytest.fixture
def photos(tmp_path):
    """A folder of seven images, one of which cannot be read."""
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (7, 40, 50, 3), np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "3.png").write_bytes(b"not a picture")
    return folder


@pytest.fixture
def tokenizers():
    return TokenizerSet(TokenizerSettings(encoder="filters(size=56)"), ["windows(4)"])


def without_times(outcomes):
    """What became of each image: name, error, and the tokens of each spec."""
    return [
        (
            outcome.source.name,
            outcome.error,
            outcome.report
            and [(entry["spec"], entry["tokens"]) for entry in outcome.report["settings"]],
        )
        for outcome in outcomes
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "batch"), [(1, 8), (4, 2), (3, 1)])
def test_workers_change_nothing_but_the_time(photos, tokenizers, tmp_path, workers, batch):
    images = collect([str(photos)])

    def run(out, workers):
        return without_times(
            tokenize_images(
                tokenizers, images, tmp_path / out, batch=batch, workers=workers, writing=UNDRAWN
            )
        )

    alone, together = run("alone", 0), run("together", workers)
    assert together == alone
    assert [name for name, error, _ in together if error] == ["3.png"]
    for name in ("0.png", "6.png"):
        tokens_alone, tokens_together = (
            (tmp_path / out / name / "windows-4.safetensors").read_bytes()
            for out in ("alone", "together")
        )
        assert tokens_alone == tokens_together
        report = json.loads((tmp_path / "together" / name / "report.json").read_text())
        assert report["key"] == Picture.of(photos / name).key


def test_a_run_that_is_left_early_leaves_whole_folders_and_no_thread(photos, tokenizers, tmp_path):
    images, out = collect([str(photos)]), tmp_path / "out"
    run = tokenize_images(tokenizers, images, out, batch=2, workers=2, writing=UNDRAWN)
    assert next(run).source.name == "0.png"
    run.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
    assert [path.name for path in out.iterdir()] == ["0.png"]
    again = tokenize_images(tokenizers, images, out, workers=2, writing=RESUMED)
    assert len(without_times(again)) == 7


def test_the_report_counts_what_a_budget_leaves_out(tmp_path):
    settings = TokenizerSettings(encoder="filters(size=56)", segmenter="slic(4)", pool="select")
    budget = "segments(0) | budget(9, policy='round_robin') | sort('area')"
    tokenizers = TokenizerSet(settings, ["segments(0)", budget])
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    images = collect([str(tmp_path / "a.png")])
    (outcome,) = tokenize_images(tokenizers, images, tmp_path / "out", writing=UNDRAWN)
    whole, cut = outcome.report["settings"]
    assert cut["tokens"] == 9
    step = next(step for step in cut["steps"] if step["step"].startswith("budget"))
    assert step["left_out"] == {
        "rows": whole["tokens"] - 9,
        "regions": whole["regions"] - step["regions"],
    }
    assert whole["tokens"] > 9
    assert [sorted(step) for step in cut["steps"] if not step["step"].startswith("budget")] == [
        ["regions", "step", "uncovered"],
        ["masks", "regions", "step", "uncovered", "vanished"],
        ["regions", "step", "uncovered"],
    ]


def test_an_encoder_that_cannot_be_loaded_ends_the_run_and_no_image_is_blamed(photos, tmp_path):
    tower = save_clip_tower(
        tmp_path / "tower", side=56, patch_size=14, hidden_size=48, num_hidden_layers=1
    )
    config = json.loads((tower / "config.json").read_text())
    (tower / "config.json").write_text(json.dumps(config | {"hidden_act": "banana"}))
    tokenizers = TokenizerSet(TokenizerSettings(encoder=str(tower)), ["windows(4)"])
    with pytest.raises(UnusableModel, match=r"tower cannot be loaded.*banana"):
        list(tokenize_images(tokenizers, collect([str(photos)]), tmp_path / "out"))
