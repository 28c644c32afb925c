"""The filter of a curation: reasons, duplicates, resuming, changed settings, damaged input."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from regiontok.curate.duplicates import first_of_duplicates, write_keep_list
from regiontok.curate.filter import FilterPiece, filter_stage
from regiontok.curate.phash import look_at, perceptual_hash
from regiontok.curate.plan import FilterPlan, load_plan
from regiontok.curate.progress import stage_progress
from regiontok.curate.run import run_pieces
from regiontok.curate.sources import CurationError
from regiontok.curate.stage_files import read_rows
from regiontok.curate.tars import Piece, open_curation
from regiontok.settings.tables import RecipeError
from regiontok.shards.tar import write_tar
from samples.curation import PLAN, contents, filtered, photo, three_tars


@pytest.fixture
def tars(tmp_path):
    return three_tars(tmp_path / "tars")


def test_small_and_corrupt_images_are_set_aside_with_reasons(tars, tmp_path):
    curation, stage, outcomes = filtered(tars, tmp_path / "out")
    assert [outcome.error for outcome in outcomes] == [None] * 7
    rows = read_rows(stage, curation.out, curation.tars[1]).to_pylist()
    assert [row["reason"].split(":")[0] for row in rows] == ["small", "corrupt", "", ""]
    assert (rows[0]["height"], rows[0]["width"]) == (30, 64)
    assert "30 x 64" in rows[0]["reason"]
    report = json.loads((tmp_path / "out" / "b.filter.json").read_text())
    assert report["set_aside"] == {"corrupt": 1, "small": 1}
    assert not [*(tmp_path / "out" / "pieces").iterdir()], "pieces are merged"


@pytest.mark.slow
def test_of_duplicates_the_first_stays(tars, tmp_path):
    curation, stage, _ = filtered(tars, tmp_path / "out")
    report = write_keep_list(curation, stage, PLAN)
    assert (report.images, report.kept) == (12, 7)
    assert report.set_aside == {"corrupt": 1, "small": 1, "duplicate": 3}
    rows = pq.read_table(tmp_path / "out" / "keep.parquet").to_pylist()
    first = {(row["shard"], row["index"]): (row["first_shard"], row["first_index"]) for row in rows}
    assert first["b", 2] == ("a", 1), "compressed anew"
    assert first["c", 1] == ("a", 3), "twice the size"
    assert first["c", 2] == ("b", 3), "the same bytes"
    assert sum(one != other for one, other in first.items()) == 3
    everything = write_keep_list(curation, stage, FilterPlan(shorter_edge=40, duplicates=-1))
    assert everything.kept == 10
    assert everything.hash != report.hash


@pytest.mark.slow
def test_interrupted_anywhere_it_goes_on_to_the_same_bytes(tars, tmp_path):
    curation, stage, _ = filtered(tars, tmp_path / "whole")
    write_keep_list(curation, stage, PLAN)
    whole = contents(tmp_path / "whole")
    for taken in (0, 2, 5, 7):
        out = tmp_path / f"stopped{taken}"
        curation = open_curation(out, [str(tars)], piece=2)
        stage = filter_stage(curation, PLAN)
        begun = run_pieces(stage, curation, FilterPiece(curation, PLAN))
        for _ in range(taken):
            next(begun, None)
        begun.close()
        _, _, outcomes = filtered(tars, out)
        assert len(outcomes) == 7 - taken
        write_keep_list(curation, stage, PLAN)
        assert contents(out) == whole


def test_changed_settings_are_done_again_and_never_mixed(tars, tmp_path):
    out = tmp_path / "out"
    curation, stage, _ = filtered(tars, out)
    before = write_keep_list(curation, stage, PLAN)
    left_over = stage.piece_path(out, curation.pieces(curation.tars[0])[0])
    left_over.write_bytes(b"of a run that was killed right behind its merge")
    assert filtered(tars, out)[2] == [], "nothing is left to do"
    assert not left_over.exists()
    other = FilterPlan(shorter_edge=60)
    new_stage = filter_stage(curation, other)
    assert stage_progress(new_stage, curation).tars == 0
    _, _, outcomes = filtered(tars, out, other)
    assert len(outcomes) == 7
    after = write_keep_list(curation, new_stage, other)
    assert after.settings != before.settings
    assert after.set_aside["small"] > before.set_aside["small"]


def test_progress_counts_what_is_there(tars, tmp_path):
    curation = open_curation(tmp_path / "out", [str(tars)], piece=2)
    stage = filter_stage(curation, PLAN)
    begun = run_pieces(stage, curation, FilterPiece(curation, PLAN))
    for _ in range(5):
        next(begun)
    begun.close()
    progress = stage_progress(stage, curation)
    assert (progress.tars, progress.of_tars, progress.pieces) == (1, 3, 2)
    assert (progress.images, progress.of_images) == (9, 12)
    assert progress.seconds_left > 0


def test_a_damaged_piece_is_named_and_done_again(tars, tmp_path):
    out = tmp_path / "out"
    curation = open_curation(out, [str(tars)], piece=2)
    stage = filter_stage(curation, PLAN)
    begun = run_pieces(stage, curation, FilterPiece(curation, PLAN))
    next(begun)
    begun.close()
    (piece,) = (out / "pieces").iterdir()
    piece.write_bytes(piece.read_bytes()[:-9])
    _, _, outcomes = filtered(tars, out)
    (failed,) = [outcome for outcome in outcomes if outcome.error]
    assert failed.name == "a"
    assert "it is removed, start again" in failed.error
    assert [outcome.error for outcome in filtered(tars, out)[2]] == [None]


def test_a_tar_cut_in_the_middle_is_listed_and_the_rest_is_done(tars, tmp_path):
    tar = tars / "b.tar"
    tar.write_bytes(tar.read_bytes()[:2000])
    curation, _, outcomes = filtered(tars, tmp_path / "out")
    assert [Path(path).name for path, _ in curation.unreadable] == ["b.tar"]
    assert "cut off" in curation.unreadable[0][1]
    assert len(outcomes) == 5
    again = open_curation(tmp_path / "out", [str(tars)], piece=2)
    assert again == curation


def test_a_tar_that_is_cut_after_the_start_is_named(tars, tmp_path):
    filtered(tars, tmp_path / "out")
    tar = tars / "b.tar"
    tar.write_bytes(tar.read_bytes()[:-600])
    with pytest.raises(CurationError, match=r"b\.tar has \d+ bytes, and had \d+ when"):
        open_curation(tmp_path / "out", [str(tars)], piece=2)


def test_other_images_in_the_same_folder_are_refused(tars, tmp_path):
    out = tmp_path / "out"
    open_curation(out, [str(tars)], piece=2)
    with pytest.raises(CurationError, match="curates piece = 2, the plan says 3"):
        open_curation(out, [str(tars)], piece=3)
    with pytest.raises(CurationError, match="curates images"):
        open_curation(out, [str(tars / "a.tar")], piece=2)
    with pytest.raises(CurationError, match="no tar that can be read"):
        open_curation(tmp_path / "new", [str(out)], piece=2)


class KillsItself(FilterPiece):
    """Work that ends its process at one piece, as memory or a fault in a decoder would."""

    def __call__(self, piece: Piece) -> None:
        if piece.tar.name == "b" and piece.number == 1:
            os._exit(9)
        super().__call__(piece)


@pytest.mark.slow
def test_a_piece_that_kills_its_worker_is_named_and_the_rest_is_done(tars, tmp_path):
    curation = open_curation(tmp_path / "out", [str(tars)], piece=2)
    stage = filter_stage(curation, PLAN)
    outcomes = list(run_pieces(stage, curation, KillsItself(curation, PLAN), workers=2))
    (failed,) = [outcome for outcome in outcomes if outcome.error]
    assert failed.name == "b, images 2 to 3"
    assert failed.error == "kills the process that works on it, tried 3 times"
    assert len(outcomes) == 7
    _, _, rest = filtered(tars, tmp_path / "out")
    assert [outcome.name for outcome in rest] == ["b, images 2 to 3"]
    filtered(tars, tmp_path / "alone")
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")


def test_hashes_stay_under_scaling_and_compression_and_differ_between_photos():
    distances = []
    for seed in range(6):
        whole = look_at(photo(seed, (240, 320))).phash
        for other in (photo(seed, (240, 320), quality=20), photo(seed, (120, 160), form="PNG")):
            assert (whole ^ look_at(other).phash).bit_count() <= 3
        distances.append((whole ^ look_at(photo(seed + 100, (240, 320))).phash).bit_count())
    assert min(distances) > 8
    assert perceptual_hash(Image.new("L", (64, 64), 200)) == 0


def test_turned_photos_are_hashed_upright():
    image = Image.open(io.BytesIO(photo(1, (48, 64))))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    stream = io.BytesIO()
    image.rotate(90, expand=True).save(stream, "JPEG", exif=exif, quality=95)
    turned = look_at(stream.getvalue())
    assert turned.size == (48, 64)
    assert (turned.phash ^ look_at(photo(1, (48, 64))).phash).bit_count() <= 3


def test_planted_near_duplicates_are_all_found_and_nothing_else():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 1 << 63, 3000, dtype=np.uint64)
    expected = np.arange(3000)
    for place in range(0, 1000, 2):
        bits = rng.choice(64, int(rng.integers(0, 4)), replace=False)
        hashes[place + 2000] = hashes[place] ^ np.bitwise_or.reduce(
            np.uint64(1) << bits.astype(np.uint64), initial=np.uint64(0)
        )
        expected[place + 2000] = place
    assert first_of_duplicates(hashes, 3).tolist() == expected.tolist()
    exact = first_of_duplicates(hashes, 0)
    assert (exact[hashes != hashes[exact]].size, exact[0]) == (0, 0)
    assert first_of_duplicates(hashes[:0], 3).tolist() == []


def test_a_plan_names_what_is_wrong_with_it(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text('images = ["tars"]\n[filter]\nshorter_edge = 300\n')
    plan = load_plan(path)
    assert plan.images == [str(tmp_path / "tars")]
    assert (plan.piece, plan.filter.shorter_edge, plan.filter.duplicates) == (1024, 300, 3)
    path.write_text('images = ["tars"]\n[filter]\nshort_edge = 300\n')
    with pytest.raises(RecipeError, match=r"plan\.toml: unknown key 'filter\.short_edge'"):
        load_plan(path)
    path.write_text("[filter]\nduplicates = 4\n")
    with pytest.raises(RecipeError, match="images"):
        load_plan(path)


@pytest.mark.slow
def test_two_runs_at_once_do_each_other_no_harm(tars, tmp_path):
    context = multiprocessing.get_context("fork")
    runs = [context.Process(target=filtered, args=(tars, tmp_path / "two")) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    assert [run.exitcode for run in runs] == [0, 0]
    filtered(tars, tmp_path / "two")
    filtered(tars, tmp_path / "one")
    two = {name: what for name, what in contents(tmp_path / "two").items() if "pieces" not in name}
    assert two == contents(tmp_path / "one")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_at_random_moments_it_ends_at_the_same_bytes(tmp_path, workers):
    (tmp_path / "tars").mkdir()
    for name in "abc":
        files = [photo(ord(name) * 100 + seed, (400, 600)) for seed in range(40)]
        write_tar(
            tmp_path / "tars" / f"{name}.tar", [(f"{i}.jpg", data) for i, data in enumerate(files)]
        )
    plan = tmp_path / "plan.toml"
    plan.write_text('images = ["tars"]\npiece = 3\n')
    command = [sys.executable, "-m", "regiontok", "curate", plan, "--until", "keep"]
    command += ["--workers", str(workers)]
    rng = np.random.default_rng(workers)
    for _ in range(4):
        run = subprocess.Popen([*command, "--out", tmp_path / "killed"], stderr=subprocess.DEVNULL)
        begun = time.monotonic()
        while not (tmp_path / "killed" / "pieces").exists() and time.monotonic() < begun + 60:
            time.sleep(0.02)
        time.sleep(float(rng.uniform(0, 1.5)))
        run.kill()
        run.wait()
    subprocess.run([*command, "--out", tmp_path / "killed"], check=True)
    subprocess.run([*command, "--out", tmp_path / "whole"], check=True)
    killed, whole = (contents(tmp_path / name) for name in ("killed", "whole"))
    assert {name: what for name, what in killed.items() if not name.startswith(".")} == whole
    assert whole["keep.json"]["kept"] > 0
