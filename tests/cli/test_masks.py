"""`regiontok masks` as it is typed."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from regiontok.jobs.masks import compute
from regiontok.miniworld.scenes import make_scene
from samples.command_line import STATUS, regiontok, stop_at

pytest.importorskip("pyarrow")


@pytest.fixture
def photos(tmp_path):
    """A folder of two scenes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(2):
        Image.fromarray(make_scene(seed, 64).pixels).save(folder / f"{seed}.png")
    return folder


def test_a_store_is_built_resumed_and_looked_after(photos, tmp_path):
    store = tmp_path / "s"
    options = ["--segmenter", "felzenszwalb", "--out", store]
    assert regiontok("masks", photos, *options, "--dry-run").report["images"] == 2
    assert not store.exists()
    result = regiontok("masks", photos, *options)
    assert result.exit_code == 0, result.output
    assert (result.report["done"], result.report["resumed"]) == (2, 0)
    assert regiontok("masks", "build", photos, *options).report["resumed"] == 2
    assert regiontok("masks", *options, photos).report["resumed"] == 2
    assert regiontok("masks", "info", store).report["images"] == 2
    assert regiontok("masks", "verify", store).report["corrupt"] == []
    merged = regiontok("masks", "merge", store, "--out", tmp_path / "both")
    assert merged.report["images"] == 2
    assert "verify" in regiontok("masks", "--help").output


def test_bad_images_other_segmenters_and_corrupt_files(photos, tmp_path):
    store = tmp_path / "s"
    words = ["masks", photos, "--segmenter", "felzenszwalb", "--out", store]
    (photos / "bad.png").write_bytes(b"x")
    result = regiontok(*words)
    assert (result.exit_code, result.report["set_aside"]) == (1, 1)
    result = regiontok("masks", photos, "--segmenter", "slic", "--out", store)
    assert result.exit_code == 2
    assert "use another folder" in " ".join(result.output.split())
    (shard,) = store.rglob("*.parquet")
    shard.write_bytes(shard.read_bytes()[:-1])
    result = regiontok("masks", "verify", store)
    assert (result.exit_code, len(result.report["corrupt"])) == (1, 1)
    assert regiontok(*words).exit_code == 2
    result = regiontok(*words, "--skip-corrupt")
    assert result.report["resumed"] == 0
    assert "set aside as *.corrupt" in result.output


def test_a_bad_photo_may_have_any_name(photos, tmp_path):
    names = ["caf\udce9.png", "x[draft].png", "two\nlines\x1b[2J.png"]
    for name in names:
        (photos / name).write_bytes(name.encode("utf-8", "surrogateescape"))
    result = regiontok("masks", photos, "--segmenter", "slic(4)", "--out", tmp_path / "s[red]")
    assert (result.exit_code, result.report["set_aside"]) == (1, 3)
    listed = json.loads((tmp_path / "s[red]" / "set_aside.json").read_text())
    assert sorted(listed) == sorted(str(photos / name) for name in names)
    assert f"{photos}/x[draft].png: not an image" in result.stdout
    assert "masks in" in result.stdout
    assert "s[red]" in result.stdout
    assert all(line.isprintable() for line in result.stdout.splitlines())


@pytest.mark.parametrize("number", STATUS)
def test_a_stop_keeps_what_was_computed(photos, tmp_path, monkeypatch, number):
    words = ["masks", photos, "--segmenter", "slic(4)", "--batch", 1, "--out", tmp_path / "s"]
    with monkeypatch.context() as patch:
        patch.setattr(compute, "mask_row", stop_at(2, compute.mask_row, number))
        result = regiontok(*words)
    assert result.exit_code == STATUS[number]
    assert "stopped: 1 of 2 images are done; the same command goes on" in result.stderr
    assert regiontok(*words).report["resumed"] == 1


def test_tokenize_reads_a_store(photos, tmp_path):
    regiontok("masks", photos, "--segmenter", "felzenszwalb", "--out", tmp_path / "s")
    words = ["--segmenter", f"stored({str(tmp_path / 's')!r})", "--regions", "segments(0.07)"]
    tokens = regiontok(
        *("tokenize", photos / "0.png", "--encoder", "filters", "--no-picture", *words),
        *("--out", tmp_path / "t"),
    )
    assert tokens.exit_code == 0, tokens.output
