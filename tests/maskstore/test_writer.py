"""Sorting parts into shards gives the same bytes, whoever wrote and whatever was killed."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from regiontok.core.masks import PixelMasks
from regiontok.maskstore import writer as writer_module
from regiontok.maskstore.store import MaskStore
from regiontok.maskstore.writer import MaskWriter, compact
from samples.mask_stores import (
    STRIPES,
    contents,
    key_of,
    masks_of,
    only_shard,
    same,
    write_parts,
    write_store,
)


def test_a_key_must_be_a_hash(tmp_path):
    with (
        MaskWriter(tmp_path, STRIPES) as writer,
        pytest.raises(ValueError, match="32 hexadecimal digits; got 'cat'"),
    ):
        writer.add("cat", masks_of(1))


def test_a_code_must_fit_the_image(tmp_path):
    codes = PixelMasks.from_dense(np.ones((1, 4, 4), bool)).counts
    with (
        MaskWriter(tmp_path, STRIPES) as writer,
        pytest.raises(ValueError, match="describes 16 pixels, the image has 4"),
    ):
        writer.add(key_of(0), PixelMasks((2, 2), codes))


def test_rows_are_sorted_and_unique(tmp_path):
    write_store(tmp_path, [*range(50), *range(30)])
    keys = pq.read_table(only_shard(tmp_path))["key"].to_pylist()
    assert keys == sorted({key_of(number) for number in range(50)})


@pytest.mark.slow
def test_the_way_does_not_show_in_the_bytes(tmp_path, monkeypatch):
    """At once; in three runs; in another order, with repeats; grown from one shard to sixteen."""
    monkeypatch.setattr(writer_module, "SHARD_IMAGES", 40)
    whole = contents(write_store(tmp_path / "a", range(70)))
    for start in (0, 20, 50):
        write_store(tmp_path / "b", range(start, min(start + 30, 70)))
    write_store(tmp_path / "c", reversed(range(70)))
    assert len(whole) == 17
    assert contents(tmp_path / "b") == whole
    assert contents(tmp_path / "c") == whole


@pytest.mark.slow
@pytest.mark.parametrize("shards_written", range(4))
def test_a_kill_while_sorting_loses_nothing(tmp_path, monkeypatch, shards_written):
    """It comes after some shards are written and before anything is removed."""
    monkeypatch.setattr(writer_module, "SHARD_IMAGES", 8)
    whole = contents(write_store(tmp_path / "a", range(40)))
    write_store(tmp_path / "b", range(8))
    write_parts(tmp_path / "b", range(8, 40))
    write_file, writes_left = writer_module.write_file, iter(range(shards_written))

    def dying(*arguments):
        if next(writes_left, None) is None:
            raise KeyboardInterrupt
        write_file(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(writer_module, "write_file", dying)
        with pytest.raises(KeyboardInterrupt):
            compact(tmp_path / "b")
    store = MaskStore(tmp_path / "b")
    assert all(same(store.get(key_of(number)), masks_of(number)) for number in range(40))
    compact(tmp_path / "b")
    assert contents(tmp_path / "b") == whole


def test_two_writers_at_once(tmp_path):
    """Both have parts in flight while a reader is open and parts are sorted into shards."""
    root = tmp_path / "s"
    with MaskWriter(root, STRIPES) as left, MaskWriter(root, STRIPES) as right:
        for number in range(30):
            left.add(key_of(number), masks_of(number))
            right.add(key_of(number + 20), masks_of(number + 20))
        left.flush()
        early = MaskStore(root)
        assert len(early) == 30
        compact(root)
    late = MaskStore(root)
    compact(root)
    assert len(late) == 50
    assert all(same(late.get(key_of(number)), masks_of(number)) for number in range(50))
    assert same(early.get(key_of(3)), masks_of(3))
    assert contents(root) == contents(write_store(tmp_path / "whole", range(50)))


def test_what_a_kill_left_half_written_is_cleared(tmp_path):
    write_store(tmp_path, range(3))
    leftover = only_shard(tmp_path).with_name(".b.parquet.part")
    leftover.write_bytes(b"half")
    compact(tmp_path)
    assert not leftover.exists()
    assert len(MaskStore(tmp_path)) == 3
