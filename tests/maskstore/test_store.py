"""The mask store: what comes back, what a kill or a second writer leaves, what is stale."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.maskstore import writer as _store_write
from regiontok.maskstore.care import merge, set_aside_corrupt, verify
from regiontok.maskstore.packed import pack, unpack
from regiontok.maskstore.store import Maker, MaskStore, is_store
from regiontok.maskstore.writer import MaskWriter, compact
from regiontok.segment.felzenszwalb import Felzenszwalb
from regiontok.segment.stored import Stored
from regiontok.system import need as needing
from samples.files import contents

MAKER = Maker("stripes(wide=2, version=1)", "weights 1")


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()[:32]


def some(number: int, size: tuple[int, int] = (6, 9)) -> PixelMasks:
    """Masks that overlap, one a number."""
    dense = np.random.default_rng(number).random((number % 4, *size)) < 0.4
    return PixelMasks.from_dense(dense)


def write(root: Path, numbers, maker: Maker = MAKER) -> Path:
    with MaskWriter(root, maker) as writer:
        for number in numbers:
            writer.add(key(number), some(number))
    return root


def filled(root: Path, numbers, maker: Maker = MAKER) -> Path:
    write(root, numbers, maker)
    compact(root)
    return root


def shard(root: Path) -> Path:
    return root / MAKER.fingerprint / "all.parquet"


def same(left: PixelMasks, right: PixelMasks) -> bool:
    return left.size == right.size and left.counts == right.counts and left.names == right.names


class TestPacked:
    def test_by_eye(self):
        """Two columns inside, then a gap.

        The second run begins one height (4) later and is as long, so both numbers are 0.
        """
        mask = np.zeros((1, 4, 3), bool)
        mask[0, 1:3, :2] = True
        runs, starts, lengths = pack(PixelMasks.from_dense(mask))
        assert (runs.tolist(), list(starts), list(lengths)) == ([2], [2, 0], [4, 0])

    @given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 40), st.floats(0, 1))
    @settings(max_examples=60, deadline=None)
    def test_codes_come_back_byte_for_byte(self, seed, height, width, share):
        dense = np.random.default_rng(seed).random((3, height, width)) < share
        masks = PixelMasks.from_dense(dense)
        runs, starts, lengths = pack(masks)
        assert (
            unpack(
                runs, np.frombuffer(starts, np.uint8), np.frombuffer(lengths, np.uint8), masks.size
            )
            == masks.counts
        )

    def test_large_numbers(self):
        """Runs that take one to five bytes."""
        size = (30000, 30000)
        counts = [10, 100, 20_000, 3_000_000, 400_000_000, 1]
        counts.append(size[0] * size[1] - sum(counts))
        masks = PixelMasks.from_coco([{"size": list(size), "counts": counts}], size)
        runs, starts, lengths = pack(masks)
        assert (
            unpack(runs, np.frombuffer(starts, np.uint8), np.frombuffer(lengths, np.uint8), size)
            == masks.counts
        )

    def test_another_form_of_the_same_mask_comes_back_in_cocos_own(self):
        """An empty run in the middle stays, one at the end goes."""
        code = coco.frPyObjects({"size": [2, 3], "counts": [1, 0, 2, 3, 0]}, 2, 3)["counts"]
        masks = PixelMasks((2, 3), (code,))
        runs, starts, lengths = pack(masks)
        got = PixelMasks(
            (2, 3),
            unpack(runs, np.frombuffer(starts, np.uint8), np.frombuffer(lengths, np.uint8), (2, 3)),
        )
        assert got.dense().tolist() == masks.dense().tolist()
        assert got.runs(0).tolist() == [[1, 1], [3, 6]]

    @pytest.mark.parametrize(
        ("runs", "starts", "lengths", "message"),
        [
            ([1], [], [], "ends too early"),
            ([-1], [], [], "ends too early"),
            ([1], [200], [2], "ends too early"),
            ([1], [128, 128, 128, 128, 128, 1], [2], "ends too early"),
            ([1], [4], [40], "outside the image"),
            ([1], [1], [2], "outside the image"),
            ([1], [4], [1], "outside the image"),
            ([2], [4, 9], [4, 0], "outside the image"),
            ([1], [4, 0], [2], "goes on too long"),
        ],
    )
    def test_damaged_streams(self, runs, starts, lengths, message):
        with pytest.raises(ValueError, match=message):
            unpack(
                np.array(runs, np.int64),
                np.array(starts, np.uint8),
                np.array(lengths, np.uint8),
                (3, 4),
            )

    def test_a_code_of_another_size(self):
        code = PixelMasks.from_dense(np.ones((1, 4, 4), bool)).counts
        with pytest.raises(ValueError, match="more pixels than the 4 of the image"):
            pack(PixelMasks((2, 2), code))


class TestRoundTrip:
    def test_scores_names_and_nothing(self, tmp_path):
        cases = {
            key(0): PixelMasks((3, 4), ()),
            key(1): PixelMasks((3, 4), (), np.zeros(0), ()),
            key(2): PixelMasks.from_dense(
                np.zeros((2, 3, 4), bool), [math.nan, -0.5], ["", "Köter"]
            ),
            key(3): PixelMasks.from_dense(np.ones((1, 1, 1), bool), [math.inf]),
            key(4): PixelMasks.from_dense(np.ones((2, 2, 2), bool), names=["a", "a"]),
        }
        with MaskWriter(tmp_path / "s", MAKER) as writer:
            for name, masks in cases.items():
                writer.add(name, masks)
        compact(tmp_path / "s")
        store = MaskStore(tmp_path / "s")
        assert len(store) == 5
        assert list(store) == sorted(cases)
        for name, masks in store.items():
            assert same(masks, cases[name])
            assert (masks.scores is None) == (cases[name].scores is None)
            if masks.scores is not None:
                np.testing.assert_array_equal(masks.scores, cases[name].scores)

    def test_many_across_groups_and_shards(self, tmp_path, monkeypatch):
        monkeypatch.setattr(_store_write, "EACH", 10)
        store = MaskStore(filled(tmp_path, range(120)))
        names = sorted(path.name for path in store.folder.glob("*.parquet"))
        assert names == [f"{digit:x}.parquet" for digit in range(16)]
        assert all(same(store.get(key(number)), some(number)) for number in range(120))
        assert store.get(key(120)) is None
        assert key(7) in store
        assert key(120) not in store

    def test_real_masks(self, data, tmp_path):
        photos = [Picture.of(path) for path in sorted((data / "coco" / "images").glob("*.jpg"))[:3]]
        segments = Felzenszwalb(min_size=100)(photos)
        with MaskWriter(tmp_path, MAKER) as writer:
            for photo, masks in zip(photos, segments, strict=True):
                writer.add(photo.key, masks)
        store = MaskStore(tmp_path)
        for photo, masks in zip(photos, segments, strict=True):
            assert store.get(photo.key).counts == masks.counts

    def test_a_key_is_a_hash(self, tmp_path):
        with (
            MaskWriter(tmp_path, MAKER) as writer,
            pytest.raises(ValueError, match="32 hexadecimal digits; got 'cat'"),
        ):
            writer.add("cat", some(1))


class TestSorting:
    def test_rows_are_sorted_and_unique(self, tmp_path):
        filled(tmp_path, [*range(50), *range(30)])
        keys = pq.read_table(shard(tmp_path))["key"].to_pylist()
        assert keys == sorted({key(number) for number in range(50)})

    def test_the_way_does_not_show_in_the_bytes(self, tmp_path, monkeypatch):
        """The store is written at once, in three runs, or in another order with repeats.

        It also grows from one shard to sixteen.
        """
        monkeypatch.setattr(_store_write, "EACH", 40)
        whole = contents(filled(tmp_path / "a", range(70)))
        for start in (0, 20, 50):
            filled(tmp_path / "b", range(start, min(start + 30, 70)))
        filled(tmp_path / "c", reversed(range(70)))
        assert len(whole) == 17
        assert contents(tmp_path / "b") == whole
        assert contents(tmp_path / "c") == whole

    @pytest.mark.parametrize("stop", range(4))
    def test_killed_while_sorting_in(self, tmp_path, monkeypatch, stop):
        """A kill after any shard, and before anything is removed, loses nothing.

        Sorting again ends the same.
        """
        monkeypatch.setattr(_store_write, "EACH", 8)
        whole = contents(filled(tmp_path / "a", range(40)))
        filled(tmp_path / "b", range(8))
        write(tmp_path / "b", range(8, 40))
        real, left = _store_write.write_file, iter(range(stop))

        def dying(*arguments):
            if next(left, None) is None:
                raise KeyboardInterrupt
            real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(_store_write, "write_file", dying)
            with pytest.raises(KeyboardInterrupt):
                compact(tmp_path / "b")
        store = MaskStore(tmp_path / "b")
        assert all(same(store.get(key(number)), some(number)) for number in range(40))
        compact(tmp_path / "b")
        assert contents(tmp_path / "b") == whole

    def test_two_writers_at_once(self, tmp_path):
        """Both writers have parts in flight.

        A reader that opened before sees all, also after the parts went into a shard.
        """
        with MaskWriter(tmp_path / "s", MAKER) as left, MaskWriter(tmp_path / "s", MAKER) as right:
            for number in range(30):
                left.add(key(number), some(number))
                right.add(key(number + 20), some(number + 20))
            left.flush()
            early = MaskStore(tmp_path / "s")
            assert len(early) == 30
            compact(tmp_path / "s")
        late = MaskStore(tmp_path / "s")
        compact(tmp_path / "s")
        assert len(late) == 50
        assert all(same(late.get(key(number)), some(number)) for number in range(50))
        assert same(early.get(key(3)), some(3))
        assert contents(tmp_path / "s") == contents(filled(tmp_path / "whole", range(50)))

    def test_a_reader_is_not_misled_by_a_rewritten_shard(self, tmp_path):
        filled(tmp_path, range(0, 60, 2))
        store = MaskStore(tmp_path)
        filled(tmp_path, range(60))
        assert all(same(store.get(key(number)), some(number)) for number in range(0, 60, 2))

    def test_what_a_kill_left_half_written_is_cleared(self, tmp_path):
        filled(tmp_path, range(3))
        leftover = shard(tmp_path).with_name(".b.parquet.part")
        leftover.write_bytes(b"half")
        compact(tmp_path)
        assert not leftover.exists()
        assert len(MaskStore(tmp_path)) == 3


class TestStale:
    def test_a_changed_parameter_is_refused(self, tmp_path):
        filled(tmp_path, range(3))
        other = Maker("stripes(wide=3, version=1)", "weights 1")
        message = r"holds masks of stripes\(wide=2.*\(weights 1\), not of stripes\(wide=3"
        with pytest.raises(ValueError, match=message):
            MaskWriter(tmp_path, other)
        with pytest.raises(ValueError, match=message):
            MaskStore(tmp_path, maker=other)

    def test_so_are_other_weights(self, tmp_path):
        filled(tmp_path, range(3))
        with pytest.raises(ValueError, match=r"not of stripes.*\(weights 2\)"):
            MaskWriter(tmp_path, Maker(MAKER.segmenter, "weights 2"))

    def test_a_file_of_another_fingerprint_is_never_read(self, tmp_path):
        other = Maker("stripes(wide=3, version=1)", "")
        filled(tmp_path / "a", range(3))
        filled(tmp_path / "b", range(3), other)
        shard(tmp_path / "a").write_bytes(
            (tmp_path / "b" / other.fingerprint / "all.parquet").read_bytes()
        )
        with pytest.raises(
            ValueError, match=f"all.parquet: holds masks of fingerprint {other.fingerprint}"
        ):
            MaskStore(tmp_path / "a")

    def test_a_forged_marker(self, tmp_path):
        filled(tmp_path, range(3))
        marker = tmp_path / "store.json"
        marker.write_text(marker.read_text().replace("wide=2", "wide=3"))
        with pytest.raises(ValueError, match="its fingerprint is not that of the segmenter"):
            MaskStore(tmp_path)

    def test_fields_that_say_where_it_runs_do_not_count(self):
        assert Maker.of(Felzenszwalb()).segmenter.startswith("felzenszwalb(scale=300.0, sigma=0.8")
        assert Maker.of(Felzenszwalb()).fingerprint != Maker.of(Felzenszwalb(sigma=1.0)).fingerprint

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "store.json: cannot be read"),
            ("[]", "cannot be read"),
            (
                '{"format": "x", "segmenter": "a", "identity": "", "fingerprint": ""}',
                "of the format 'x'",
            ),
        ],
    )
    def test_bad_markers(self, tmp_path, text, message):
        (tmp_path / "store.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            MaskStore(tmp_path)

    def test_no_store(self, tmp_path):
        assert not is_store(tmp_path)
        with pytest.raises(ValueError, match=r"no mask store \(it has no store.json\)"):
            MaskStore(tmp_path)

    def test_a_folder_with_something_else_in_it(self, tmp_path):
        (tmp_path / "photo.jpg").touch()
        with pytest.raises(ValueError, match=r"has 'photo.jpg' in it and is no mask store"):
            MaskWriter(tmp_path, MAKER)
        assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]

    def test_without_pyarrow_the_extra_is_named(self, tmp_path, monkeypatch):
        filled(tmp_path, range(3))

        def gone(name):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        monkeypatch.setattr(needing.importlib, "import_module", gone)
        with pytest.raises(ImportError, match=r"needs pyarrow.*regiontok\[store\]"):
            MaskStore(tmp_path)


def flip(path: Path, place: float) -> None:
    """Damage one byte, at a share of the file's length."""
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 0x55
    path.write_bytes(data)


class TestCorrupt:
    @pytest.fixture
    def broken(self, tmp_path, monkeypatch):
        """A store of sixteen shards; one is cut off."""
        monkeypatch.setattr(_store_write, "EACH", 10)
        filled(tmp_path, range(100))
        path = tmp_path / MAKER.fingerprint / "7.parquet"
        path.write_bytes(path.read_bytes()[:-9])
        return tmp_path

    def test_a_sound_store_has_no_problem(self, tmp_path):
        filled(tmp_path, range(70))
        write(tmp_path, range(60, 80))
        assert [
            (verdict.images, verdict.problem, verdict.part) for verdict in verify(tmp_path)
        ] == [
            (70, None, False),
            (20, None, True),
        ]

    @pytest.mark.parametrize("place", [0.1, 0.3, 0.5, 0.7, 0.97])
    def test_one_flipped_bit_is_found(self, tmp_path, place):
        filled(tmp_path, range(200))
        flip(shard(tmp_path), place)
        (verdict,) = verify(tmp_path)
        assert "all.parquet" in verdict.problem

    def test_a_corrupt_shard_is_named_or_skipped_by_choice(self, broken):
        with pytest.raises(ValueError, match=r"7.parquet: corrupt"):
            MaskStore(broken)
        with pytest.raises(ValueError, match=r"7.parquet: corrupt"):
            compact(broken)
        store = MaskStore(broken, skip_corrupt=True)
        lost = {key(number) for number in range(100) if key(number).startswith("7")}
        assert lost
        assert len(store) == 100 - len(lost)
        assert [path.name for path in store.corrupt] == ["7.parquet"]

    def test_set_aside_and_done_again(self, broken, tmp_path_factory):
        assert [verdict.path.name for verdict in set_aside_corrupt(broken)] == ["7.parquet"]
        aside = broken / MAKER.fingerprint / "7.parquet.corrupt"
        assert aside.exists()
        aside.unlink()
        filled(broken, range(100))
        assert contents(broken) == contents(filled(tmp_path_factory.mktemp("whole"), range(100)))

    def test_rows_out_of_order(self, tmp_path):
        filled(tmp_path, range(9))
        table = pq.read_table(shard(tmp_path))
        _store_write.write_file(
            table.take(list(range(9))[::-1]), shard(tmp_path), MAKER.fingerprint
        )
        (verdict,) = verify(tmp_path)
        assert "not sorted by key" in verdict.problem
        with pytest.raises(ValueError, match="not sorted by key"):
            compact(tmp_path)

    def test_other_columns(self, tmp_path):
        filled(tmp_path, range(9))
        table = pq.read_table(shard(tmp_path))
        _store_write.write_file(table.drop_columns(["names"]), shard(tmp_path), MAKER.fingerprint)
        with pytest.raises(
            ValueError, match=r"all.parquet: corrupt .it has other columns: key, height"
        ):
            MaskStore(tmp_path)

    def test_a_shard_under_another_name(self, tmp_path, monkeypatch):
        monkeypatch.setattr(_store_write, "EACH", 10)
        filled(tmp_path, range(100))
        folder = tmp_path / MAKER.fingerprint
        (folder / "7.parquet").replace(folder / "8.parquet")
        assert [
            v.problem
            for v in verify(tmp_path)
            if v.problem and "does not begin with '8'" in v.problem
        ]

    def test_a_code_that_is_no_code(self, tmp_path):
        """Sound Parquet, unsound streams: found on reading and by verify, by key."""
        with MaskWriter(tmp_path, MAKER) as writer:
            row = _store_write.packed_row(key(3), some(3))
            writer.add_row(row | {"lengths": row["lengths"] + b"\0"})
        (verdict,) = verify(tmp_path)
        assert f"corrupt at {key(3)} (a stream of runs goes on too long)" in verdict.problem
        with pytest.raises(ValueError, match="goes on too long"):
            MaskStore(tmp_path).get(key(3))


class TestMerge:
    def test_two_stores_are_the_store_of_both(self, tmp_path):
        left, right = filled(tmp_path / "l", range(30)), write(tmp_path / "r", range(20, 50))
        assert merge([left, right], tmp_path / "out") == []
        assert contents(tmp_path / "out") == contents(filled(tmp_path / "whole", range(50)))

    def test_of_different_segmenters(self, tmp_path):
        left, right = (
            filled(tmp_path / "l", range(3)),
            filled(tmp_path / "r", range(3), Maker("other(version=1)", "")),
        )
        with pytest.raises(ValueError, match=r"r holds masks of other\(version=1\)"):
            merge([left, right], tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_corrupt_files(self, tmp_path):
        left, right = filled(tmp_path / "l", range(30)), filled(tmp_path / "r", range(20, 50))
        flip(shard(right), 0.5)
        with pytest.raises(ValueError, match=r"all.parquet: corrupt.*--skip-corrupt leaves it out"):
            merge([left, right], tmp_path / "out")
        assert [
            verdict.path for verdict in merge([left, right], tmp_path / "out", skip_corrupt=True)
        ] == [shard(right)]
        assert len(MaskStore(tmp_path / "out")) == 30

    def test_nothing_to_merge(self, tmp_path):
        with pytest.raises(ValueError, match="name the stores"):
            merge([], tmp_path / "out")


class TestAsSegmenter:
    @pytest.fixture
    def picture(self):
        return Picture.of(
            np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8), "photo.png"
        )

    @pytest.fixture
    def root(self, tmp_path, picture):
        with MaskWriter(tmp_path / "s", MAKER) as writer:
            writer.add(picture.key, some(3, (40, 50)))
        return str(tmp_path / "s")

    @pytest.mark.parametrize("format", ["auto", "store"])
    def test_finds_a_picture_by_its_bytes_whatever_its_name(self, root, picture, format):
        renamed = Picture(picture.pixels, picture.key, "elsewhere/other.jpg")
        (masks,) = Stored(root, format)([renamed])
        assert same(masks, some(3, (40, 50)))

    def test_what_is_missing(self, root):
        other = Picture.of(np.zeros((4, 5, 3), np.uint8), "other.png")
        with pytest.raises(
            ValueError,
            match=r"other.png: .* has no masks of these bytes \(key .*\) among its 1 images; add "
            r"them",
        ):
            Stored(root)([other])
        (masks,) = Stored(root, missing="empty")([other])
        assert (masks.size, len(masks)) == ((4, 5), 0)

    def test_another_size_under_the_same_key(self, root, picture):
        turned = Picture(picture.pixels.transpose(1, 0, 2), picture.key, "turned.png")
        with pytest.raises(
            ValueError, match=r"turned.png: its masks in .*size \(40, 50\).*turned by 90 degrees"
        ):
            Stored(root)([turned])

    def test_identity_is_the_fingerprint(self, root):
        assert Stored(root).identity == MAKER.fingerprint
        before = Stored(root, missing="empty").identity
        write(Path(root), [5])
        assert Stored(root).identity == MAKER.fingerprint
        assert Stored(root, missing="empty").identity != before

    def test_options_of_other_formats_and_folders_without_a_marker(self, root, tmp_path):
        with pytest.raises(ValueError, match="images goes with the formats results"):
            _ = Stored(root, images="x.json").identity
        with pytest.raises(ValueError, match="no mask store"):
            _ = Stored(str(tmp_path), "store").identity
