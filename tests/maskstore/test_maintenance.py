"""Corrupt files of a mask store are found, named, set aside or left out; stores are merged."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from regiontok.maskstore import writer as writer_module
from regiontok.maskstore.maintenance import merge, set_aside_corrupt, verify
from regiontok.maskstore.parquet_file import mask_row, write_file
from regiontok.maskstore.store import MaskStore
from regiontok.maskstore.writer import MaskWriter, compact
from samples.mask_stores import (
    OTHER,
    STRIPES,
    contents,
    flip,
    key_of,
    masks_of,
    only_shard,
    write_parts,
    write_store,
)


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """A store of sixteen shards; one is cut off."""
    monkeypatch.setattr(writer_module, "SHARD_IMAGES", 10)
    write_store(tmp_path, range(100))
    path = tmp_path / STRIPES.fingerprint / "7.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    return tmp_path


class TestVerify:
    def test_a_sound_store_has_no_problem(self, tmp_path):
        write_store(tmp_path, range(70))
        write_parts(tmp_path, range(60, 80))
        verdicts = [
            (verdict.images, verdict.problem, verdict.is_part) for verdict in verify(tmp_path)
        ]
        assert verdicts == [(70, None, False), (20, None, True)]

    @pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.97])
    def test_a_flipped_byte_is_found(self, tmp_path, share):
        write_store(tmp_path, range(200))
        flip(only_shard(tmp_path), share)
        (verdict,) = verify(tmp_path)
        assert "all.parquet" in verdict.problem

    def test_a_corrupt_shard_is_named_or_skipped_by_choice(self, broken):
        with pytest.raises(ValueError, match=r"7.parquet: corrupt"):
            MaskStore(broken)
        with pytest.raises(ValueError, match=r"7.parquet: corrupt"):
            compact(broken)
        store = MaskStore(broken, skip_corrupt=True)
        lost = {key_of(number) for number in range(100) if key_of(number).startswith("7")}
        assert lost
        assert len(store) == 100 - len(lost)
        assert [path.name for path in store.corrupt] == ["7.parquet"]

    def test_a_corrupt_shard_is_set_aside_and_done_again(self, broken, tmp_path_factory):
        assert [verdict.path.name for verdict in set_aside_corrupt(broken)] == ["7.parquet"]
        aside = broken / STRIPES.fingerprint / "7.parquet.corrupt"
        assert aside.exists()
        aside.unlink()
        write_store(broken, range(100))
        whole = write_store(tmp_path_factory.mktemp("whole"), range(100))
        assert contents(broken) == contents(whole)

    def test_rows_out_of_order(self, tmp_path):
        write_store(tmp_path, range(9))
        table = pq.read_table(only_shard(tmp_path))
        reversed_rows = table.take(list(range(9))[::-1])
        write_file(reversed_rows, only_shard(tmp_path), STRIPES.fingerprint)
        (verdict,) = verify(tmp_path)
        assert "not sorted by key" in verdict.problem
        with pytest.raises(ValueError, match="not sorted by key"):
            compact(tmp_path)

    def test_other_columns(self, tmp_path):
        write_store(tmp_path, range(9))
        table = pq.read_table(only_shard(tmp_path)).drop_columns(["names"])
        write_file(table, only_shard(tmp_path), STRIPES.fingerprint)
        message = r"all.parquet: corrupt .it has other columns: key, height"
        with pytest.raises(ValueError, match=message):
            MaskStore(tmp_path)

    def test_a_shard_under_another_name(self, tmp_path, monkeypatch):
        monkeypatch.setattr(writer_module, "SHARD_IMAGES", 10)
        write_store(tmp_path, range(100))
        folder = tmp_path / STRIPES.fingerprint
        (folder / "7.parquet").replace(folder / "8.parquet")
        problems = [verdict.problem for verdict in verify(tmp_path) if verdict.problem]
        assert any("does not begin with '8'" in problem for problem in problems)

    def test_a_code_that_is_no_code(self, tmp_path):
        """The Parquet file is sound, the code is not: reading and verifying name it by its key."""
        with MaskWriter(tmp_path, STRIPES) as writer:
            row = mask_row(key_of(3), masks_of(3))
            writer.add_row(row | {"codes": [*row["codes"][:-1], row["codes"][-1] + b"1"]})
        (verdict,) = verify(tmp_path)
        problem = f"corrupt at {key_of(3)} (a run-length code describes 57 pixels"
        assert problem in verdict.problem
        with pytest.raises(ValueError, match="describes 57 pixels, the image has 54"):
            MaskStore(tmp_path).get(key_of(3))


class TestMerge:
    def test_two_stores_are_the_store_of_both(self, tmp_path):
        left = write_store(tmp_path / "l", range(30))
        right = write_parts(tmp_path / "r", range(20, 50))
        assert merge([left, right], tmp_path / "out") == []
        assert contents(tmp_path / "out") == contents(write_store(tmp_path / "whole", range(50)))

    def test_stores_of_different_segmenters_are_refused(self, tmp_path):
        left = write_store(tmp_path / "l", range(3))
        right = write_store(tmp_path / "r", range(3), OTHER)
        with pytest.raises(ValueError, match=r"r holds masks of other\(version=1\)"):
            merge([left, right], tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_corrupt_files_are_an_error_or_left_out(self, tmp_path):
        left = write_store(tmp_path / "l", range(30))
        right = write_store(tmp_path / "r", range(20, 50))
        flip(only_shard(right), 0.5)
        with pytest.raises(ValueError, match=r"all.parquet: corrupt.*--skip-corrupt leaves it out"):
            merge([left, right], tmp_path / "out")
        left_out = merge([left, right], tmp_path / "out", skip_corrupt=True)
        assert [verdict.path for verdict in left_out] == [only_shard(right)]
        assert len(MaskStore(tmp_path / "out")) == 30

    def test_nothing_to_merge(self, tmp_path):
        with pytest.raises(ValueError, match="name the stores"):
            merge([], tmp_path / "out")
