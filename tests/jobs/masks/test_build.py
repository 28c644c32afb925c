"""`regiontok masks build`: what is computed and set aside, and that no stop shows in the store."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from regiontok.core.picture import Picture
from regiontok.data.collect import NoImages
from regiontok.jobs.masks.build import build_store, plan_store
from regiontok.jobs.masks.image_sources import image_sources
from regiontok.jobs.masks.store_state import read_set_aside, rename_corrupt, store_info
from regiontok.maskstore.maintenance import verify
from regiontok.maskstore.store import MaskStore
from regiontok.segment.felzenszwalb import Felzenszwalb
from regiontok.tokenizer.region_tokenizer import RegionTokenizer
from samples.files import contents
from samples.pictures import saved_scene

pytest.importorskip("pyarrow")
SPEC = "felzenszwalb(min_size=30)"


def build(words, out: Path, root: Path | None = None, **options):
    """The outcome of each image, when the store is whole."""
    return list(start_build(words, out, root, **options))


def start_build(words, out: Path, root: Path | None = None, **options):
    sources = image_sources([str(word) for word in words], root)
    return build_store(SPEC, sources, out, **options)


class TestBuild:
    def test_masks_are_the_segmenters_own(self, photos, tmp_path):
        outcomes = build([photos], tmp_path / "s", batch=2)
        assert [outcome.error for outcome in outcomes] == [None] * 5
        store = MaskStore(tmp_path / "s")
        assert len(store) == 4
        for path in photos.glob("*.png"):
            picture = Picture.of(path)
            assert store.get(picture.key).counts == Felzenszwalb(min_size=30)([picture])[0].counts
        count = sum(len(masks) for _, masks in store.items())
        assert sum(outcome.masks for outcome in outcomes) == count
        assert [verdict.problem for verdict in verify(tmp_path / "s")] == [None]

    def test_a_store_whose_looks_take_long_is_looked_at_seldom(self, photos, tmp_path, monkeypatch):
        clock = SimpleNamespace(seconds=0.0, looks=0)

        def look(store):
            clock.seconds, clock.looks = clock.seconds + 1, clock.looks + 1

        monkeypatch.setattr("regiontok.jobs.masks.build.time.monotonic", lambda: clock.seconds)
        outcomes = start_build([photos], tmp_path / "s", batch=1)
        next(outcomes)
        monkeypatch.setattr(MaskStore, "refresh", look)
        clock.seconds += 100
        assert len([*outcomes]) == 4
        assert clock.looks == 1, "for four images; the next look is due 20 seconds later"

    def test_the_second_run_does_nothing(self, photos, tmp_path, monkeypatch):
        build([photos], tmp_path / "s")
        (shard,) = (tmp_path / "s").rglob("*.parquet")
        written = shard.stat().st_mtime_ns
        monkeypatch.setattr(Felzenszwalb, "_segmented", None)
        assert all(outcome.resumed for outcome in build([photos], tmp_path / "s"))
        assert shard.stat().st_mtime_ns == written

    @pytest.mark.slow
    def test_folder_webdataset_json_and_workers_give_the_same_bytes(
        self, photos, tmp_path, write_tar
    ):
        files = {path.name: path.read_bytes() for path in sorted(photos.glob("*.png"))}
        write_tar(tmp_path / "00.tar", files)
        (tmp_path / "llava.json").write_text(
            json.dumps([{"image": name} for name in reversed(files)])
        )
        build([photos], tmp_path / "a")
        build([tmp_path / "00.tar"], tmp_path / "b", batch=3)
        build([tmp_path / "llava.json"], tmp_path / "c", photos, batch=1, workers=2)
        assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(tmp_path / "c")

    @pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
    def test_bad_images_are_set_aside_until_they_are_good(self, photos, tmp_path, workers):
        (photos / "bad.png").write_bytes(b"no image")
        (photos / "bad2.png").write_bytes(b"no image")
        (photos / "empty.png").touch()
        outcomes = build([photos], tmp_path / "s", workers=workers)
        failed = {
            Path(outcome.source.name).name: outcome.error for outcome in outcomes if outcome.error
        }
        assert set(failed) == {"bad.png", "bad2.png", "empty.png"}
        assert "bad2.png: the same bytes as" in failed["bad2.png"]
        assert len(MaskStore(tmp_path / "s")) == 4
        reasons = read_set_aside(tmp_path / "s")
        assert {Path(name).name: reason for name, reason in reasons.items()} == failed
        saved_scene(photos / "bad.png", 7)
        saved_scene(photos / "bad2.png", 8)
        build([photos / "bad.png", photos / "bad2.png"], tmp_path / "s")
        assert [Path(name).name for name in read_set_aside(tmp_path / "s")] == ["empty.png"]
        (photos / "empty.png").unlink()
        with pytest.raises(NoImages):
            build([photos / "empty.png"], tmp_path / "s")

    def test_a_picture_that_a_segmenter_refuses_does_not_spoil_its_batch(
        self, photos, tmp_path, monkeypatch
    ):
        segment = Felzenszwalb._segmented

        def choosy(self, picture):
            if picture.name.endswith("2.png"):
                raise ValueError(f"{picture.name}: not this one")
            return segment(self, picture)

        monkeypatch.setattr(Felzenszwalb, "_segmented", choosy)
        errors = [outcome.error for outcome in build([photos], tmp_path / "s") if outcome.error]
        assert errors == [f"{photos}/2.png: not this one"]
        assert len(MaskStore(tmp_path / "s")) == 3

    def test_a_stop_keeps_what_was_done(self, photos, tmp_path):
        running = start_build([photos], tmp_path / "s", batch=1)
        next(running)
        next(running)
        running.close()
        assert len(MaskStore(tmp_path / "s")) == 2
        build([photos], tmp_path / "s")
        build([photos], tmp_path / "whole")
        assert contents(tmp_path / "s") == contents(tmp_path / "whole")

    def test_two_at_once(self, photos, tmp_path):
        """Each sees what the other finished, and the second goes another way."""
        left = start_build([photos], tmp_path / "s", batch=1)
        right = start_build([photos], tmp_path / "s", batch=1)
        for running in (left, right, left, right):
            next(running)
        list(right)
        list(left)
        build([photos], tmp_path / "whole")
        assert contents(tmp_path / "s") == contents(tmp_path / "whole")

    def test_a_changed_parameter_needs_another_store(self, photos, tmp_path):
        build([photos], tmp_path / "s")
        with pytest.raises(
            ValueError,
            match=r"holds masks of felzenszwalb.*min_size=30.*not of felzenszwalb.*min_size=31",
        ):
            list(build_store("felzenszwalb(min_size=31)", [], tmp_path / "s"))
        with pytest.raises(ValueError, match="use another folder"):
            plan_store("felzenszwalb(min_size=31)", [], tmp_path / "s")

    def test_a_corrupt_shard_is_named_and_made_again_by_choice(self, photos, tmp_path):
        build([photos], tmp_path / "s")
        whole = contents(tmp_path / "s")
        (shard,) = (tmp_path / "s").rglob("*.parquet")
        shard.write_bytes(shard.read_bytes()[:-1])
        with pytest.raises(ValueError, match=r"all.parquet: corrupt"):
            build([photos], tmp_path / "s")
        (problem,) = rename_corrupt(tmp_path / "s")
        assert "all.parquet: corrupt" in problem
        build([photos], tmp_path / "s")
        (aside,) = (tmp_path / "s").rglob("*.corrupt")
        aside.unlink()
        assert contents(tmp_path / "s") == whole
        assert rename_corrupt(tmp_path / "none yet") == []

    def test_plan_and_info(self, photos, tmp_path):
        sources = image_sources([str(photos)])
        assert plan_store(SPEC, sources, tmp_path / "s")["stored"] == 0
        assert not (tmp_path / "s").exists()
        build([photos], tmp_path / "s")
        info = store_info(tmp_path / "s")
        assert (info["images"], info["shards"], info["parts"], info["set_aside"]) == (4, 1, 0, 0)
        assert info["segmenter"].startswith("felzenszwalb(scale=300.0")
        assert info["identity"].startswith("scikit-image")
        plan = plan_store(SPEC, sources, tmp_path / "s")
        assert (plan["images"], plan["stored"], plan["fingerprint"]) == (5, 4, info["fingerprint"])

    def test_the_key_of_an_image_is_that_of_its_picture(self, photos, tmp_path):
        (outcome,) = build([photos / "0.png"], tmp_path / "s")
        assert outcome.key == Picture.of(photos / "0.png").key

    @pytest.mark.slow
    def test_tokens_from_the_store_are_those_of_the_segmenter(self, photos, tmp_path):
        """Memberships derive from the store's pixels for any encoder's frame."""
        build([photos], tmp_path / "s")
        words = ["filters", "segments(0.07) | sort('com')"]
        paths = sorted(photos.glob("*.png"))
        direct = RegionTokenizer(*words, segmenter=SPEC)(paths)
        stored = RegionTokenizer(*words, segmenter=f"stored({str(tmp_path / 's')!r})")(paths)
        np.testing.assert_array_equal(
            direct.values.detach().numpy(), stored.values.detach().numpy()
        )
        assert direct.region.tolist() == stored.region.tolist()


RUN = """
import sys
from pathlib import Path
from regiontok.jobs.masks.build import build_store
from regiontok.jobs.masks.image_sources import image_sources
if __name__ == "__main__":
    photos, out, workers = sys.argv[1:]
    images = image_sources([photos])
    for outcome in build_store(
        "felzenszwalb(min_size=30)", images, Path(out), batch=1, workers=int(workers)
    ):
        print(outcome.source.name, flush=True)
    print("sorted", flush=True)
"""


def start_process(photos: Path, out: Path, workers: int = 1) -> subprocess.Popen:
    (out.parent / "run.py").write_text(RUN)
    words = [sys.executable, str(out.parent / "run.py"), str(photos), str(out), str(workers)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> None:
    """Wait until a process has sorted the store."""
    printed, _ = process.communicate(timeout=300)
    assert printed.endswith("sorted\n")


def is_running(pid: int) -> bool:
    """True for a process that has not ended; one that waits to be collected has."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and " Z " not in status.read_text()


@pytest.mark.slow
class TestKills:
    @pytest.fixture
    def many(self, tmp_path):
        """A folder of 120 scenes and one file that is no image."""
        for seed in range(120):
            saved_scene(tmp_path / "photos" / f"{seed:03d}.png", seed, 96)
        (tmp_path / "photos" / "bad.png").write_bytes(b"no image")
        return tmp_path / "photos"

    @pytest.mark.parametrize("workers", [1, 2])
    def test_twenty_kills_leave_only_whole_files(self, many, tmp_path, workers):
        """Killed after a random number of images, also in the middle of writing and sorting."""
        finish(start_process(many, tmp_path / "whole"))
        rng = random.Random(workers)
        for _ in range(20):
            process = start_process(many, tmp_path / "s", workers)
            images = rng.randrange(90)
            for line in process.stdout:
                images -= 1
                if images < 0 or line == "sorted\n":
                    break
            time.sleep(rng.random() * 0.2)
            signals = [signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
            process.send_signal(rng.choice(signals))
            process.wait(timeout=60)
            process.stdout.close()
            if (tmp_path / "s" / "store.json").exists():
                problems = [verdict.problem for verdict in verify(tmp_path / "s")]
                assert set(problems) <= {None}
        finish(start_process(many, tmp_path / "s", workers))
        assert contents(tmp_path / "s") == contents(tmp_path / "whole")
        (shard,) = (tmp_path / "s").rglob("*.parquet")
        assert list(MaskStore(tmp_path / "s")) == sorted(MaskStore(tmp_path / "s"))
        assert shard.name == "all.parquet"

    def test_three_processes_at_once(self, many, tmp_path):
        for process in [start_process(many, tmp_path / "s") for _ in range(3)]:
            finish(process)
        finish(start_process(many, tmp_path / "whole"))
        assert contents(tmp_path / "s") == contents(tmp_path / "whole")

    def test_workers_end_with_a_killed_parent(self, many, tmp_path):
        process = start_process(many, tmp_path / "s", 2)
        process.stdout.readline()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        if not children.exists():
            pytest.skip("this system does not list a process's children in /proc")
        workers = [int(word) for word in children.read_text().split()]
        process.kill()
        process.communicate(timeout=60)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and any(map(is_running, workers)):
            time.sleep(0.1)
        assert workers
        assert not any(map(is_running, workers))
