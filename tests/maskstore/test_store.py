"""What is written to a mask store comes back, whatever happens to its files in between."""

from __future__ import annotations

import math

import numpy as np
import pytest

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.maskstore import writer as writer_module
from regiontok.maskstore.store import MaskStore
from regiontok.maskstore.writer import MaskWriter, compact
from regiontok.segment.felzenszwalb import Felzenszwalb
from regiontok.system import need as needing
from samples.mask_stores import STRIPES, key_of, masks_of, same, write_store


def test_scores_names_and_no_masks_at_all(tmp_path):
    samples = {
        key_of(0): PixelMasks((3, 4), ()),
        key_of(1): PixelMasks((3, 4), (), np.zeros(0), ()),
        key_of(2): PixelMasks.from_dense(
            np.zeros((2, 3, 4), bool), [math.nan, -0.5], ["", "Köter"]
        ),
        key_of(3): PixelMasks.from_dense(np.ones((1, 1, 1), bool), [math.inf]),
        key_of(4): PixelMasks.from_dense(np.ones((2, 2, 2), bool), names=["a", "a"]),
    }
    with MaskWriter(tmp_path, STRIPES) as writer:
        for key, masks in samples.items():
            writer.add(key, masks)
    compact(tmp_path)
    store = MaskStore(tmp_path)
    assert len(store) == 5
    assert list(store) == sorted(samples)
    for key, masks in store.items():
        assert same(masks, samples[key])
        assert (masks.scores is None) == (samples[key].scores is None)
        if masks.scores is not None:
            np.testing.assert_array_equal(masks.scores, samples[key].scores)


def test_many_images_across_groups_and_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "SHARD_IMAGES", 10)
    store = MaskStore(write_store(tmp_path, range(120)))
    names = sorted(path.name for path in store.folder.glob("*.parquet"))
    assert names == [f"{digit:x}.parquet" for digit in range(16)]
    assert all(same(store.get(key_of(number)), masks_of(number)) for number in range(120))
    assert store.get(key_of(120)) is None
    assert key_of(7) in store
    assert key_of(120) not in store


@pytest.mark.slow
def test_masks_of_real_photos(data, tmp_path):
    photos = [Picture.of(path) for path in sorted((data / "coco" / "images").glob("*.jpg"))[:3]]
    segments = Felzenszwalb(min_size=100)(photos)
    with MaskWriter(tmp_path, STRIPES) as writer:
        for photo, masks in zip(photos, segments, strict=True):
            writer.add(photo.key, masks)
    store = MaskStore(tmp_path)
    for photo, masks in zip(photos, segments, strict=True):
        assert store.get(photo.key).counts == masks.counts


def test_an_empty_run_inside_a_code_comes_back_as_it_was(tmp_path):
    runs = {"size": [2, 3], "counts": [1, 0, 2, 3, 0]}
    masks = PixelMasks.from_coco([runs], (2, 3))
    with MaskWriter(tmp_path, STRIPES) as writer:
        writer.add(key_of(0), masks)
    assert same(MaskStore(tmp_path).get(key_of(0)), masks)


def test_a_reader_is_not_misled_by_a_rewritten_shard(tmp_path):
    write_store(tmp_path, range(0, 60, 2))
    store = MaskStore(tmp_path)
    write_store(tmp_path, range(60))
    assert all(same(store.get(key_of(number)), masks_of(number)) for number in range(0, 60, 2))


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    write_store(tmp_path, range(3))

    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(needing.importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"needs pyarrow.*regiontok\[store\]"):
        MaskStore(tmp_path)
