"""Generated scenes as shards."""

from __future__ import annotations

import numpy as np
import pytest

from regiontok.miniworld.scenes import make_scene
from regiontok.miniworld.words import COLOURS, TEXTURES
from regiontok.pretrain.scenes import Scenes
from regiontok.shards.sources import ShardSource
from regiontok.shards.stream import ShardViews
from regiontok.shards.views import LabelSpace, ViewSettings


def whole(folder, **words) -> ShardViews:
    settings = ViewSettings((64, 64), 16, scale=None, flip=0.0, patch=8, **words)
    return ShardViews(
        [ShardSource(folder)], settings, LabelSpace(1000, 256, lambda text: text.encode())
    )


def test_shards_hold_the_scenes_their_masks_and_true_labels(tmp_path):
    data = whole(Scenes(3, start=5, size=64).shards(tmp_path))
    views = [data[position] for position in range(3)]
    assert sorted(view.index for view in views) == [0, 1, 2]
    for view in views:
        scene = make_scene(5 + view.index, 64, (2, 5))
        assert np.array_equal(view.pixels, scene.pixels)
        for region, label, share in zip(view.regions, view.labels[:, 0], view.shares, strict=True):
            thing = scene.objects[region]
            attributes = COLOURS[label // len(TEXTURES)], TEXTURES[label % len(TEXTURES)]
            assert attributes == (thing.colour, thing.texture)
            assert share.sum() * 64 == pytest.approx(thing.visible, abs=1e-3)


def test_a_word_is_a_region_with_its_text(tmp_path):
    data = whole(Scenes(4, size=64, words=True).shards(tmp_path))
    texts = []
    for view in (data[position] for position in range(4)):
        (word,) = set(view.regions[view.kinds == 1].tolist())
        row = data.row(
            next(place for place in map(data.order.address, range(4)) if place.row == view.index)
        )
        texts.append(row.texts[word])
        x0, y0, x1, _ = row.boxes[word].astype(int)
        assert (view.pixels[y0, x0:x1] == 255).all()  # the plate's upper edge
    assert len(set(texts)) > 1


@pytest.mark.slow
def test_clusters_are_below_k_and_gather_what_looks_alike(tmp_path):
    scenes = Scenes(24, size=64, kmeans=6)
    data = whole(scenes.shards(tmp_path))
    labels = np.concatenate([data[position].labels[:, 0] for position in range(24)])
    assert set(labels.tolist()) == set(range(6))
    assert scenes.classes == 6
    assert Scenes(3).classes == 40
    assert Scenes(3, labels="shape+colour+size").classes == 192


@pytest.mark.slow
def test_region_features_are_made_once_for_all_numbers_of_clusters(tmp_path, monkeypatch):
    Scenes(24, size=64, kmeans=6).shards(tmp_path)
    monkeypatch.setattr("regiontok.pretrain.scenes.region_features", None)  # calling it would raise
    labels = whole(Scenes(24, size=64, kmeans=3).shards(tmp_path))
    assert {int(label) for position in range(24) for label in labels[position].labels[:, 0]} == {
        0,
        1,
        2,
    }


def test_written_once_and_the_same_again(tmp_path):
    scenes = Scenes(2, size=64)
    folder = scenes.shards(tmp_path / "a")
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert scenes.shards(tmp_path / "a") == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == times
    again = scenes.shards(tmp_path / "b")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in again.iterdir()
    }


@pytest.mark.slow
def test_whole_pictures_are_one_region(tmp_path):
    data = whole(Scenes(8, size=64, kmeans=2, whole=True).shards(tmp_path))
    for view in (data[position] for position in range(8)):
        assert set(view.regions.tolist()) == {0}
        assert view.boxes[0].tolist() == [0, 0, 64, 64]
        assert view.labels[0, 0] in (0, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scenes(3, hue=2)", "has no parameter 'hue' .*it has: n, start"),
        ("scenes(size=64)", "missing a required argument: 'n'"),
        ("scenes(3, size='x')", "size must be int, not 'x'"),
        (
            "scenes(3, labels='colour+hue')",
            "unknown 'hue' in labels; they are of shape, colour, texture, size",
        ),
        ("scenes(0)", "at least one scene"),
        ("scenes(3, whole=True)", "give kmeans"),
    ],
)
def test_a_wrong_spec_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        Scenes.of(text)


def test_more_clusters_than_regions_are_refused(tmp_path):
    with pytest.raises(ValueError, match="do not make 500 clusters"):
        Scenes(1, size=64, kmeans=500).shards(tmp_path)
