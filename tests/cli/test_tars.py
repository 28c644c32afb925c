"""`regiontok masks` and `regiontok tokenize` over tars, as they are typed."""

from __future__ import annotations

import pytest

from regiontok.shards.report import read_report
from regiontok.shards.tar import write_tar
from regiontok.shards.token_sidecar import read_token_sidecar
from samples.command_line import regiontok

FILTERS = ["--encoder", "filters(size=112, fourier=0)", "--regions", "windows(4)"]


@pytest.fixture
def tars(photos):
    """A folder with a tar of two scenes."""
    folder = photos.parent / "tars"
    folder.mkdir()
    files = [(f"{number}.png", (photos / "a.png").read_bytes()) for number in range(2)]
    write_tar(folder / "s.tar", files)
    return folder


def test_tars_get_side_cars_of_masks_and_a_store_if_that_is_asked_for(tars, tmp_path):
    words = ["masks", tars, "--segmenter", "slic(4)", "--out"]
    out = tmp_path / "out"
    assert regiontok(*words, out, "--dry-run").report["pieces"] == 2
    result = regiontok(*words, out)
    assert (result.exit_code, result.report["failed"]) == (0, [])
    assert read_report(out / "shards" / "s.regions.json").masks > 2
    assert regiontok("masks", "info", out).report["images"] == 2
    assert regiontok("masks", "verify", out).report["findings"] == []
    (out / "s.masks.parquet").unlink()
    assert regiontok("masks", "verify", out).exit_code == 1
    store = tmp_path / "store"
    assert regiontok(*words, store, "--store").report["done"] == 2
    assert regiontok(*words, store).report["resumed"] == 2, "a store stays one"


def test_tars_get_files_of_tokens(tars, tmp_path):
    words = ["tokenize", tars, *FILTERS, "--out", tmp_path / "out"]
    assert regiontok(*words).exit_code == 0
    images = list(read_token_sidecar(tmp_path / "out" / "s.tokens.parquet"))
    assert [len(image.tokens) for image in images] == [4, 4]
    assert regiontok(*words, "--dry-run").report["pieces"] == 0
    for more, said in (
        (["--rle"], "--rle is of single images"),
        (["--regions", "patches"], "tars take one --regions, got 2"),
        (["--piece", 1], "take another --out"),
    ):
        result = regiontok(*words, *more)
        assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
