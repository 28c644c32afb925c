"""Pictures of the generated world as shards."""

from __future__ import annotations

import numpy as np
import pytest

from regiontok.miniworld.words import COLOURS, SHAPES
from regiontok.miniworld.world import World
from regiontok.pretrain import world as module
from regiontok.pretrain.world import WorldPictures, class_names, true_labels
from regiontok.shards.sources import ShardSource
from regiontok.shards.stream import ShardViews
from regiontok.shards.views import LabelSpace, ViewSettings


def whole(folder, **words) -> ShardViews:
    settings = ViewSettings((128, 128), 32, scale=None, flip=0.0, patch=8, **words)
    return ShardViews(
        [ShardSource(folder)], settings, LabelSpace(1000, 256, lambda text: text.encode())
    )


def test_shards_hold_the_pictures_their_masks_signs_and_true_labels(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PER_SHARD", 2)  # the last tar is not full
    folder = WorldPictures(3, start=5, size=128).shards(tmp_path)
    assert len(list(folder.glob("*.tar"))) == 2
    data, world, texts = whole(folder), World("train", size=128), []
    seen = []
    for address in map(data.order.address, range(3)):
        row = data.row(address)
        picture = world[int(row.key.split("-")[-1])]
        seen.append(int(row.key.split("-")[-1]))
        count = len(picture.objects)
        names = [f"{item.colour} {item.shape}" for item in picture.objects]
        assert [class_names("colour+shape")[label] for label in row.labels[:count]] == names
        assert list(row.texts) == [""] * count + [plate.text for plate in picture.texts]
        assert row.kinds.tolist() == [0] * count + [1] * len(picture.texts)
        texts += row.texts[count:]
    assert sorted(seen) == [5, 6, 7]
    assert texts
    view = data[0]
    number = int(data.row(data.order.address(0)).key.split("-")[-1])
    assert np.array_equal(view.pixels, world[number].pixels)
    for region, share in zip(view.regions, view.shares, strict=True):
        if region < len(world[number].objects):
            area = world[number].masks[region].sum()
            assert share.sum() * 64 == pytest.approx(area, abs=1e-2)


def test_a_class_is_made_of_the_attributes_that_are_named():
    picture = World("train", size=128)[0]
    first = picture.objects[0]
    label = true_labels(picture, "shape+size")[0]
    assert class_names("shape+size")[label] == f"{first.shape} {first.size}"
    assert len(class_names("shape")) == len(SHAPES)
    pictures = WorldPictures(1, labels="colour+shape")
    assert pictures.classes == len(COLOURS) * len(SHAPES)


def test_clusters_are_below_k_and_signs_have_none(tmp_path, monkeypatch):
    pictures = WorldPictures(6, size=128, kmeans=4)
    data = whole(pictures.shards(tmp_path))
    labels = [data.row(data.order.address(place)).labels for place in range(6)]
    assert set(np.concatenate(labels).tolist()) == {-1, 0, 1, 2, 3}
    assert pictures.classes == 4
    # another number of clusters reads the features that are there
    monkeypatch.setattr(module, "region_features", None)  # calling it would raise
    WorldPictures(6, size=128, kmeans=3).shards(tmp_path)


def test_whole_pictures_are_one_region(tmp_path):
    data = whole(WorldPictures(4, size=128, kmeans=2, whole=True).shards(tmp_path))
    for view in (data[position] for position in range(4)):
        assert set(view.regions.tolist()) == {0}
        assert view.boxes[0].tolist() == [0, 0, 128, 128]
        assert view.labels[0, 0] in (0, 1)
        assert (view.shares == 1).all()


def test_written_once_and_the_same_again(tmp_path):
    pictures = WorldPictures(2, size=128)
    folder = pictures.shards(tmp_path / "a")
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert pictures.shards(tmp_path / "a") == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == times
    again = pictures.shards(tmp_path / "b")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in again.iterdir()
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("world(3, hue=2)", "has no parameter 'hue'"),
        ("world(3, labels='colour+hue')", "unknown 'hue' in labels"),
        ("world(0)", "at least one is needed"),
        ("world(10, start=4995, split='val')", "the split val has 5000 pictures"),
        ("world(3, split='dev')", "dev"),
        ("world(3, whole=True)", "give kmeans"),
    ],
)
def test_a_wrong_spec_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        WorldPictures.of(text)
