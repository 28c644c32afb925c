"""Pictures of the generated world as labelled regions."""

from __future__ import annotations

from collections import Counter

import pytest

from regiontok.core.masks import PixelMasks
from regiontok.miniworld.world import World
from regiontok.probe.regions.sources import labelled_set
from regiontok.probe.regions.world import WorldSet


def test_objects_are_labelled_and_signs_are_not():
    data = labelled_set("world(3, start=4, size=128, labels='colour+shape')")
    assert isinstance(data, WorldSet)
    assert len(data) == 3
    left_out: Counter[str] = Counter()
    for index in range(3):
        shown, image = World("test", size=128)[4 + index], data.read(index, left_out)
        assert image.labels == tuple(f"{item.colour} {item.shape}" for item in shown.objects)
        count = len(shown.objects)
        assert image.masks.counts == PixelMasks.from_dense(shown.masks[:count]).counts
    assert not left_out


def test_what_decides_the_labels_is_in_the_identity():
    texts = ("world(3)", "world(3, labels='size')", "world(3, split='val')", "world(3, seed=1)")
    assert len({WorldSet(text).identity for text in texts}) == 4
    assert WorldSet("world(3)").identity == WorldSet("world(3, split='test')").identity


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("world(0)", "at least one is needed"),
        ("world(3, labels='hue')", "unknown 'hue' in labels"),
        ("world(3, kmeans=2)", "has no parameter 'kmeans'"),
    ],
)
def test_a_wrong_spec_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        WorldSet(text)
