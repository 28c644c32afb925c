"""The world: a picture is a function of its split, seed and number, and says what it shows."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest

from regiontok.miniworld import world as module
from regiontok.miniworld.captions import captions_of
from regiontok.miniworld.words import COLOURS, POPULAR, SHAPES, SIZES, TEXTURES
from regiontok.miniworld.world import World, WorldPicture


@pytest.fixture(scope="module")
def many() -> list[WorldPicture]:
    return list(World("val", size=128).pictures(range(60)))


def test_the_bytes_of_a_version() -> None:
    """Fails on any change of the generator.

    Is the change meant? Then raise WORLD_VERSION and write the new sum here.
    """
    digest = hashlib.sha256()
    for picture in World("test", seed=3, size=(128, 144)).pictures(range(8)):
        digest.update(picture.pixels.tobytes() + picture.labels.astype("<i2").tobytes())
    assert (module.WORLD_VERSION, digest.hexdigest()) == (
        1,
        "db8eb4cea48d5356d7db51373840c73e529f5b5d0d28e9676aa7108e312f1be7",
    )


def test_a_picture_depends_on_its_split_seed_and_number_alone() -> None:
    world = World("test", size=128)
    first = world[5]
    assert world[4].pixels.tobytes() != first.pixels.tobytes()
    assert world[5].pixels.tobytes() == first.pixels.tobytes()
    for other in (World("val", size=128), World("test", seed=1, size=128)):
        assert other[5].pixels.tobytes() != first.pixels.tobytes()


def test_labels_objects_and_signs_agree(many: list[WorldPicture]) -> None:
    for picture in many:
        assert 2 <= len(picture.objects) <= 8
        assert len(picture.masks) == len(picture.objects) + len(picture.texts)
        assert picture.masks.any((1, 2)).all()
        assert picture.masks.sum(0).max() == 1
        for item, mask in zip(picture.objects, picture.masks, strict=False):
            rows, columns = np.nonzero(mask)
            box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert item.box == box
            assert item.visible == mask.sum()
            assert item.visible_share >= 0.35
        for plate, mask in zip(picture.texts, picture.masks[len(picture.objects) :], strict=True):
            left, top, right, bottom = plate.box
            assert mask[top:bottom, left:right].all()
            assert mask.sum() == (right - left) * (bottom - top)


def test_a_sign_shows_ink_on_its_plate(many: list[WorldPicture]) -> None:
    fonts = Counter()
    for picture in many:
        for plate in picture.texts:
            left, top, right, bottom = plate.box
            shown = picture.pixels[top:bottom, left:right, 0].astype(float)
            ink = np.abs(shown - plate.tones[0]) > np.abs(shown - plate.tones[1])
            assert 0.04 < ink.mean() < 0.5, plate
            fonts[plate.font] += 1
    assert len(fonts) == 7


def test_what_a_picture_was_planned_around_is_there(many: list[WorldPicture]) -> None:
    attributes = Counter()
    for picture in many:
        attribute, value, count = picture.group
        attributes[attribute] += 1
        words = [getattr(item, attribute) for item in picture.objects] if attribute else []
        assert (words.count(value) if attribute else len(picture.objects)) == count
    assert set(attributes) == {"", "shape", "colour"}


def test_every_word_appears_and_popular_pairs_often(many: list[WorldPicture]) -> None:
    items = [item for picture in many for item in picture.objects]
    for words, field in ((SHAPES, "shape"), (COLOURS, "colour"), (TEXTURES, "texture")):
        assert {getattr(item, field) for item in items} == set(words)
    assert {item.size for item in items} == set(SIZES)
    popular = np.mean([POPULAR[item.shape] == item.colour for item in items])
    assert 0.25 < popular < 0.45  # 0.25 are drawn so, and one in eight of the others


def test_what_hides_what(many: list[WorldPicture]) -> None:
    for picture in many[:20]:
        hidden = picture.hidden
        assert (np.tril(hidden) == 0).all()  # later objects are in front
        areas = np.array([item.area - item.visible for item in picture.objects])
        assert (hidden.sum(1) == areas).all()


def test_captions_are_sentences_that_name_all(many: list[WorldPicture]) -> None:
    for picture in many[:20]:
        captions = captions_of(picture)
        assert len(captions) >= 3
        for caption in captions:
            assert caption[0].isupper()
            assert caption.endswith(".")
        for item in picture.objects:
            assert f"{item.size} {item.texture} {item.colour} {item.shape}" in captions[0]
        assert all(f'"{plate.text}"' in captions[0] for plate in picture.texts)


def test_the_largest_pictures_and_no_occlusion() -> None:
    picture = World("train", size=768, min_visible=1.0)[0]
    assert picture.pixels.shape == (768, 768, 3)
    assert all(item.visible == item.area for item in picture.objects)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "tset"}, "split must be .* not 'tset' .did you mean 'test'"),
        ({"seed": -1}, "expected a seed >= 0, got -1"),
        ({"size": 127}, "expected sides of 128 to 768 pixels, got 127"),
        ({"size": (128, 800)}, r"expected sides of 128 to 768 pixels, got \(128, 800\)"),
        ({"min_visible": 0.0}, r"expected min_visible in \(0, 1\], got 0.0"),
    ],
)
def test_what_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        World(**{"size": 128, **arguments})


def test_a_split_has_an_end() -> None:
    with pytest.raises(IndexError, match="the split test has pictures 0 to 4999, got 5000"):
        World("test")[5000]
