"""Grids from disk equal fresh ones to the last bit; what is damaged is made again and counted."""

from __future__ import annotations

import pickle
from dataclasses import fields

import pytest
import torch
from PIL import Image

from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture, PictureError
from regiontok.data.cache import FeatureCache
from regiontok.settings.recipe import TokenizerSettings
from regiontok.tokenizer.regionizer import Regionizer

SMALL = TokenizerSettings(encoder="filters(size=112)", regions="merge(k=4)")
SCENES = [
    "miniworld(seed=1, size=64, fewest=1, most=2)",
    "miniworld(seed=2, size=64, fewest=1, most=2)",
]


def same(a: PatchGrid, b: PatchGrid) -> bool:
    for name in (field.name for field in fields(PatchGrid)):
        first, second = getattr(a, name), getattr(b, name)
        if isinstance(first, torch.Tensor):
            assert torch.equal(first, second), name
            assert first.dtype == second.dtype
        elif name == "masks" and first is not None:
            assert (first.size, first.counts, first.names) == (
                second.size,
                second.counts,
                second.names,
            )
            assert (first.scores is None) == (second.scores is None)
        else:
            assert first == second, name
    return True


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.effect_mandelbrot((96, 64), (-2, -1, 1, 1), 20).convert("RGB").save(path)
    return str(path)


def test_a_kept_grid_is_the_fresh_one(tmp_path, photo):
    cache = FeatureCache(tmp_path / "kept", SMALL)
    grids = cache.views([photo, *SCENES])
    assert (cache.counts.encoded, cache.counts.loaded) == (3, 0)
    again = pickle.loads(pickle.dumps(FeatureCache(tmp_path / "kept", SMALL)))
    read = again.views([photo, *SCENES])
    assert (again.counts.encoded, again.counts.loaded) == (0, 3)
    fresh = Regionizer("filters(size=112)", steps="merge(k=4)").see([Picture.of(photo)])
    assert all(same(a, b) for a, b in zip(grids, read, strict=True))
    assert same(read[0], fresh[0])
    files, size = again.size()
    assert files == 3
    assert size > sum(grid.features.nbytes for grid in read)
    assert not [
        path
        for path in (tmp_path / "kept").rglob("*")
        if ".part" in path.name or path.name.startswith(".")
    ]


def test_masks_transforms_and_tiles_are_kept_too(tmp_path, photo):
    masked = TokenizerSettings(
        encoder="filters(size=112)",
        segmenter="felzenszwalb",
        regions="segments",
        transforms="standardise",
    )
    tiled = TokenizerSettings(encoder="filters(size=56)", tiles="1x2,2x1")
    for settings in (masked, tiled):
        cache = FeatureCache(tmp_path / "kept", settings)
        fresh, read = cache.views([photo, *SCENES]), cache.views([photo, *SCENES])
        assert len(fresh) == len(read)
        assert all(same(a, b) for a, b in zip(fresh, read, strict=True))
        assert cache.counts.loaded == 3
    assert [grid.view for grid in read][:2] == [0, 1]
    assert len(list((tmp_path / "kept").iterdir())) == 2


@pytest.mark.parametrize("damage", ["short", "flipped", "empty", "other"])
def test_a_damaged_file_is_made_again_and_counted(tmp_path, photo, damage):
    cache = FeatureCache(tmp_path / "kept", SMALL)
    (grid,) = cache.views([photo])
    (path,) = cache.folder.glob("??/*.safetensors")
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(
        {"short": data[:-50], "flipped": data, "empty": b"", "other": b"x" * 500}[damage]
    )
    (again,) = cache.views([photo])
    assert (cache.counts.corrupt, cache.counts.encoded) == (1, 2)
    assert same(grid, again)
    assert cache.load(grid.key) is not None


def test_what_decides_the_features_decides_the_folder(tmp_path):
    folders = {
        FeatureCache(
            tmp_path, TokenizerSettings(encoder=encoder, regions=steps, padding=padding)
        ).folder
        for encoder in ("filters(size=112)", "filters(size=56)")
        for steps in ("merge(k=4)", "windows(3)")
        for padding in ("drop", "keep")
    }
    assert len(folders) == 4  # steps do not matter


def test_fill_keeps_all_and_names_what_cannot_be_decoded(tmp_path, photo):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    cache = FeatureCache(tmp_path / "kept", SMALL)
    failures = cache.fill([SCENES[0], str(bad), photo, str(tmp_path / "none.png")], batch=2)
    assert [image for image, _ in failures] == [str(bad), str(tmp_path / "none.png")]
    assert cache.size()[0] == 2
    cache.views([photo, SCENES[0]])
    assert cache.counts.encoded == 2
    with pytest.raises(PictureError, match="cannot be read"):
        cache.views([str(tmp_path / "none.png")])
