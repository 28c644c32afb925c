"""`regiontok masks`: where images come from, and what is set aside.

No stop shows in the store.
"""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest

from regiontok.core.picture import Picture, PictureError
from regiontok.data.collect import NoImages
from regiontok.jobs.masks import masks as command
from regiontok.jobs.masks.sources import Source, sources
from regiontok.maskstore.care import verify
from regiontok.maskstore.store import MaskStore
from regiontok.segment.felzenszwalb import Felzenszwalb
from regiontok.tokenizer.region_tokenizer import RegionTokenizer
from samples.files import contents
from samples.pictures import saved_scene

SPEC = "felzenszwalb(min_size=30)"


@pytest.fixture
def photos(tmp_path):
    """Five scenes; two of them are the same bytes."""
    for seed in range(4):
        saved_scene(tmp_path / "photos" / f"{seed}.png", seed)
    (tmp_path / "photos" / "copy.png").write_bytes((tmp_path / "photos" / "0.png").read_bytes())
    return tmp_path / "photos"


def tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def run(words, out: Path, images: Path | None = None, **options):
    return list(command.build(SPEC, sources([str(word) for word in words], images), out, **options))


class TestSources:
    def test_a_folder_each_file_once(self, photos):
        listed = sources([str(photos), str(photos / "0.png")])
        assert [source.path.name for source in listed] == [
            "0.png",
            "1.png",
            "2.png",
            "3.png",
            "copy.png",
        ]
        assert Picture.of(listed[0].read()).size == (64, 64)

    def test_a_list(self, photos):
        listed = sources(["-"], stdin=io.StringIO(f"{photos / '3.png'}\n{photos / '1.png'}\n"))
        assert [source.path.name for source in listed] == ["3.png", "1.png"]

    def test_webdataset_members_are_read_where_they_lie(self, photos, tmp_path):
        shards = tmp_path / "shards"
        shards.mkdir()
        data = [(photos / f"{seed}.png").read_bytes() for seed in range(3)]
        tar(shards / "00.tar", {"a/0.png": data[0], "a/0.json": b"{}", "1.png": data[1]})
        tar(shards / "01.tar", {"2.png": data[2], "._2.png": b"x"})
        listed = sources([str(shards)])
        assert [source.name for source in listed] == [
            f"{shards}/00.tar/a/0.png",
            f"{shards}/00.tar/1.png",
            f"{shards}/01.tar/2.png",
        ]
        assert [source.read() for source in listed] == data
        assert (
            sources([str(shards / "*.tar")])
            == sources([str(shards / "00.tar"), str(shards / "01.tar")])
            == listed
        )

    def test_a_folder_with_shards_and_images(self, photos):
        tar(photos / "00.tar", {"2.png": b"x"})
        assert len(sources([str(photos)])) == 6

    @pytest.mark.parametrize(
        ("length", "messages"),
        [
            (0, ["00.tar: damaged, or a compressed tar (it does not end as a tar does); 1 images"]),
            (
                300,
                ["00.tar: damaged, or a compressed tar (it does not end as a tar does); 1 images"],
            ),
            (
                700,
                [
                    "00.tar/1.png: cut off after 188 of",
                    "00.tar: damaged, or a compressed tar (unexpected end of data); 2 images",
                ],
            ),
        ],
        ids=["between members", "in a header", "in an image"],
    )
    def test_a_damaged_tar_gives_what_it_has_and_says_so(self, photos, tmp_path, length, messages):
        data = (photos / "0.png").read_bytes()
        path = tar(tmp_path / "00.tar", {"0.png": data, "1.png": data})
        block = 512 + -(-len(data) // 512) * 512
        path.write_bytes(path.read_bytes()[: block + length])
        first, *rest = sources([str(path)])
        assert first.read() == data
        errors = []
        for source in rest:
            with pytest.raises(PictureError) as error:
                source.read()
            errors.append(str(error.value))
        assert len(errors) == len(messages)
        assert all(message in text for message, text in zip(messages, errors, strict=True))

    def test_a_compressed_tar(self, tmp_path):
        with tarfile.open(tmp_path / "00.tar", "w:gz") as archive:
            archive.addfile(tarfile.TarInfo("0.png"), io.BytesIO())
        (source,) = sources([str(tmp_path / "00.tar")])
        with pytest.raises(PictureError, match=r"00.tar: damaged, or a compressed tar"):
            source.read()

    def test_a_tar_without_images(self, tmp_path):
        (source,) = sources([str(tar(tmp_path / "00.tar", {"0.txt": b"x"}))])
        with pytest.raises(PictureError, match="no images in this tar"):
            source.read()

    def test_llava_records(self, photos, tmp_path):
        records = [
            {"image": "0.png"},
            {"id": 1},
            {"image": ["1.png", "0.png"]},
            {"image": "gone.png"},
        ]
        (tmp_path / "llava.json").write_text(json.dumps(records))
        listed = sources([str(tmp_path / "llava.json")], photos)
        assert [source.name for source in listed] == ["0.png", "1.png", "gone.png"]
        with pytest.raises(PictureError, match=r"gone.png: no such file"):
            listed[2].read()

    @pytest.mark.parametrize(
        ("text", "error", "message"),
        [
            ("{", ValueError, "llava.json: cannot be read as JSON"),
            ('{"image": "a"}', ValueError, "expected a list of records"),
            (
                '[{"image": 3}]',
                ValueError,
                "record 0: image must be a path relative to --images, got 3",
            ),
            ('[{"image": "/etc/passwd"}]', ValueError, "record 0: image must be a path relative"),
            ('[{"id": 3}]', NoImages, "no record has an image"),
        ],
    )
    def test_other_json(self, tmp_path, text, error, message):
        (tmp_path / "llava.json").write_text(text)
        with pytest.raises(error, match=message):
            sources([str(tmp_path / "llava.json")], tmp_path)

    def test_the_root_of_a_json(self, tmp_path, photos):
        (tmp_path / "llava.json").write_text("[]")
        with pytest.raises(ValueError, match="say --images FOLDER"):
            sources([str(tmp_path / "llava.json")])
        with pytest.raises(ValueError, match="no such folder"):
            sources([str(tmp_path / "llava.json")], tmp_path / "gone")
        with pytest.raises(ValueError, match="goes with a LLaVA JSON"):
            sources([str(photos)], tmp_path)

    def test_nothing(self, tmp_path):
        with pytest.raises(NoImages, match="no image given"):
            sources([])
        with pytest.raises(NoImages, match="no images in this folder"):
            sources([str(tmp_path)])

    def test_a_file_too_large_and_one_cut_off(self, tmp_path, monkeypatch):
        path = tmp_path / "a.png"
        path.write_bytes(b"x" * 100)
        with pytest.raises(PictureError, match="cut off after 60 of 100 bytes"):
            Source("a", path, 40, 100).read()
        monkeypatch.setattr("regiontok.jobs.masks.sources.MAX_BYTES", 99)
        with pytest.raises(PictureError, match="MiB an image may have"):
            Source("a", path).read()


class TestBuild:
    def test_masks_are_the_segmenters_own(self, photos, tmp_path):
        done = run([photos], tmp_path / "s", batch=2)
        assert [outcome.error for outcome in done] == [None] * 5
        store = MaskStore(tmp_path / "s")
        assert len(store) == 4
        for path in photos.glob("*.png"):
            picture = Picture.of(path)
            assert store.get(picture.key).counts == Felzenszwalb(min_size=30)([picture])[0].counts
        assert sum(outcome.masks for outcome in done) == sum(
            len(masks) for _, masks in store.items()
        )
        assert [verdict.problem for verdict in verify(tmp_path / "s")] == [None]

    def test_the_second_run_does_nothing(self, photos, tmp_path, monkeypatch):
        run([photos], tmp_path / "s")
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("*.parquet")}
        monkeypatch.setattr(Felzenszwalb, "_one", None)
        assert all(outcome.resumed for outcome in run([photos], tmp_path / "s"))
        assert {
            path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("*.parquet")
        } == before

    def test_folder_webdataset_json_and_workers_give_the_same_bytes(self, photos, tmp_path):
        files = {path.name: path.read_bytes() for path in sorted(photos.glob("*.png"))}
        tar(tmp_path / "00.tar", files)
        (tmp_path / "llava.json").write_text(
            json.dumps([{"image": name} for name in reversed(files)])
        )
        run([photos], tmp_path / "a")
        run([tmp_path / "00.tar"], tmp_path / "b", batch=3)
        run([tmp_path / "llava.json"], tmp_path / "c", photos, batch=1, workers=2)
        assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(tmp_path / "c")

    @pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
    def test_bad_images_are_set_aside_until_they_are_good(self, photos, tmp_path, workers):
        (photos / "bad.png").write_bytes(b"no image")
        (photos / "bad2.png").write_bytes(b"no image")
        (photos / "empty.png").touch()
        done = run([photos], tmp_path / "s", workers=workers)
        failed = {
            Path(outcome.source.name).name: outcome.error for outcome in done if outcome.error
        }
        assert set(failed) == {"bad.png", "bad2.png", "empty.png"}
        assert "bad2.png: the same bytes as" in failed["bad2.png"]
        assert len(MaskStore(tmp_path / "s")) == 4
        assert {
            Path(name).name: why for name, why in command.set_aside(tmp_path / "s").items()
        } == failed
        saved_scene(photos / "bad.png", 7)
        saved_scene(photos / "bad2.png", 8)
        run([photos / "bad.png", photos / "bad2.png"], tmp_path / "s")
        assert [Path(name).name for name in command.set_aside(tmp_path / "s")] == ["empty.png"]
        (photos / "empty.png").unlink()
        with pytest.raises(NoImages):
            run([photos / "empty.png"], tmp_path / "s")

    def test_a_picture_that_a_segmenter_refuses_does_not_spoil_its_batch(
        self, photos, tmp_path, monkeypatch
    ):
        real = Felzenszwalb._one

        def choosy(self, picture):
            if picture.name.endswith("2.png"):
                raise ValueError(f"{picture.name}: not this one")
            return real(self, picture)

        monkeypatch.setattr(Felzenszwalb, "_one", choosy)
        done = run([photos], tmp_path / "s")
        assert [outcome.error for outcome in done if outcome.error] == [
            f"{photos}/2.png: not this one"
        ]
        assert len(MaskStore(tmp_path / "s")) == 3

    def test_a_stop_keeps_what_was_done(self, photos, tmp_path):
        settled = command.build(SPEC, sources([str(photos)]), tmp_path / "s", batch=1)
        next(settled)
        next(settled)
        settled.close()
        assert len(MaskStore(tmp_path / "s")) == 2
        run([photos], tmp_path / "s")
        run([photos], tmp_path / "whole")
        assert contents(tmp_path / "s") == contents(tmp_path / "whole")

    def test_two_at_once(self, photos, tmp_path):
        """Each sees what the other finished, and the second goes another way."""
        left = command.build(SPEC, sources([str(photos)]), tmp_path / "s", batch=1)
        right = command.build(SPEC, sources([str(photos)]), tmp_path / "s", batch=1)
        for both in (left, right, left, right):
            next(both)
        list(right)
        list(left)
        run([photos], tmp_path / "whole")
        assert contents(tmp_path / "s") == contents(tmp_path / "whole")

    def test_a_changed_parameter_needs_another_store(self, photos, tmp_path):
        run([photos], tmp_path / "s")
        with pytest.raises(
            ValueError,
            match=r"holds masks of felzenszwalb.*min_size=30.*not of felzenszwalb.*min_size=31",
        ):
            list(command.build("felzenszwalb(min_size=31)", sources([str(photos)]), tmp_path / "s"))
        with pytest.raises(ValueError, match="use another folder"):
            command.plan("felzenszwalb(min_size=31)", [], tmp_path / "s")

    def test_a_corrupt_shard_is_named_and_made_again_by_choice(self, photos, tmp_path):
        run([photos], tmp_path / "s")
        whole = contents(tmp_path / "s")
        (shard,) = (tmp_path / "s").rglob("*.parquet")
        shard.write_bytes(shard.read_bytes()[:-1])
        with pytest.raises(ValueError, match=r"all.parquet: corrupt"):
            run([photos], tmp_path / "s")
        (problem,) = command.recover(tmp_path / "s")
        assert "all.parquet: corrupt" in problem
        run([photos], tmp_path / "s")
        (aside,) = (tmp_path / "s").rglob("*.corrupt")
        aside.unlink()
        assert contents(tmp_path / "s") == whole
        assert command.recover(tmp_path / "none yet") == []

    def test_plan_and_info(self, photos, tmp_path):
        assert command.plan(SPEC, sources([str(photos)]), tmp_path / "s")["stored"] == 0
        assert not (tmp_path / "s").exists()
        run([photos], tmp_path / "s")
        facts = command.info(tmp_path / "s")
        assert (facts["images"], facts["shards"], facts["parts"], facts["set_aside"]) == (
            4,
            1,
            0,
            0,
        )
        assert facts["segmenter"].startswith("felzenszwalb(scale=300.0")
        assert facts["identity"].startswith("scikit-image")
        plan = command.plan(SPEC, sources([str(photos)]), tmp_path / "s")
        assert (plan["images"], plan["stored"], plan["fingerprint"]) == (5, 4, facts["fingerprint"])

    def test_the_key_is_the_pictures(self, photos):
        assert command.key_of((photos / "0.png").read_bytes()) == Picture.of(photos / "0.png").key

    def test_tokens_from_the_store_are_those_of_the_segmenter(self, photos, tmp_path):
        """Memberships derive from the store's pixels for any encoder's frame."""
        run([photos], tmp_path / "s")
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
from regiontok.jobs.masks import masks
from regiontok.jobs.masks.sources import sources
if __name__ == "__main__":
    photos, out, workers = sys.argv[1:]
    spec, root = "felzenszwalb(min_size=30)", masks.Path(out)
    for done in masks.build(spec, sources([photos]), root, batch=1, workers=int(workers)):
        print(done.source.name, flush=True)
    print("sorted", flush=True)
"""


def start(photos: Path, out: Path, workers: int = 1) -> subprocess.Popen:
    (out.parent / "run.py").write_text(RUN)
    words = [sys.executable, str(out.parent / "run.py"), str(photos), str(out), str(workers)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
class TestKills:
    @pytest.fixture
    def many(self, tmp_path):
        for seed in range(120):
            saved_scene(tmp_path / "photos" / f"{seed:03d}.png", seed, 96)
        (tmp_path / "photos" / "bad.png").write_bytes(b"no image")
        return tmp_path / "photos"

    @pytest.mark.parametrize("workers", [1, 2])
    def test_twenty_kills(self, many, tmp_path, workers):
        """Killed after a random number of images, also in the middle of writing and of sorting.

        Every file that is there is whole.
        """
        assert start(many, tmp_path / "whole").communicate(timeout=300)[0].endswith("sorted\n")
        draw = random.Random(workers)
        for _ in range(20):
            process = start(many, tmp_path / "s", workers)
            left = draw.randrange(90)
            for line in process.stdout:
                left -= 1
                if left < 0 or line == "sorted\n":
                    break
            time.sleep(draw.random() * 0.2)
            process.send_signal(
                draw.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
            )
            process.wait(timeout=60)
            process.stdout.close()
            if (tmp_path / "s" / "store.json").exists():
                assert [
                    verdict.problem for verdict in verify(tmp_path / "s") if verdict.problem
                ] == []
        assert start(many, tmp_path / "s", workers).communicate(timeout=300)[0].endswith("sorted\n")
        assert contents(tmp_path / "s") == contents(tmp_path / "whole")
        (shard,) = (tmp_path / "s").rglob("*.parquet")
        assert [list(MaskStore(tmp_path / "s"))] == [sorted(MaskStore(tmp_path / "s"))]
        assert shard.name == "all.parquet"

    def test_three_processes_at_once(self, many, tmp_path):
        running = [start(many, tmp_path / "s") for _ in range(3)]
        for process in running:
            assert process.communicate(timeout=300)[0].endswith("sorted\n")
        start(many, tmp_path / "whole").communicate(timeout=300)
        assert contents(tmp_path / "s") == contents(tmp_path / "whole")

    def test_workers_end_with_a_killed_parent(self, many, tmp_path):
        process = start(many, tmp_path / "s", 2)
        process.stdout.readline()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        if not children.exists():
            pytest.skip("this system does not list a process's children in /proc")
        workers = [int(word) for word in children.read_text().split()]
        process.kill()
        process.communicate(timeout=60)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and any(
            os.path.exists(f"/proc/{pid}") for pid in workers
        ):
            time.sleep(0.1)
        assert workers
        assert not [
            pid
            for pid in workers
            if os.path.exists(f"/proc/{pid}") and " Z " not in Path(f"/proc/{pid}/stat").read_text()
        ]
