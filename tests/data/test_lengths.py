"""Lengths before training: what is fixed by the spec, what is measured, and what is set aside."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from regiontok.core.masks import PixelMasks
from regiontok.core.tokens import REGION, Tokens
from regiontok.data.labels import Labeller
from regiontok.data.lengths import measure
from regiontok.data.records import read
from regiontok.data.visual_tokens import VisualTokens
from regiontok.methods import Pool, Segmenter
from regiontok.model.mini import mini_tokenizer
from regiontok.settings import registry
from regiontok.settings.recipe import Data, TokenizerSettings


@dataclass(frozen=True)
class FirstPatches(Pool):
    """The first n patches of each region: a pool whose regions have varying numbers of tokens."""

    n: int

    def build(self, width):
        return FirstPatchesModule(self.n)


class FirstPatchesModule(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.n = n

    def forward(self, values, members, kind=REGION):
        starts = members.sizes.cumsum(0) - members.sizes
        keep = torch.arange(len(members.patch)) - starts[members.region] < self.n
        return Tokens.of_patches(values[members.patch], members, kind).take(keep)


@pytest.fixture(autouse=True)
def _first_patches_is_a_pool(monkeypatch):
    monkeypatch.setitem(registry._REGISTERED["pool"], "first", f"{__name__}:FirstPatches")


@dataclass(frozen=True)
class Bright(Segmenter):
    """One mask of all bright pixels, or none where no pixel is bright."""

    def __call__(self, pictures):
        masks = [picture.pixels[:, :, 0] > 60 for picture in pictures]
        return [
            PixelMasks.from_dense(mask[None] if mask.any() else mask[None][:0]) for mask in masks
        ]


@pytest.fixture(autouse=True)
def _bright_is_a_segmenter(monkeypatch):
    monkeypatch.setitem(registry._REGISTERED["segmenter"], "bright", f"{__name__}:Bright")


def settings(**options) -> TokenizerSettings:
    return TokenizerSettings(encoder="filters(size=56)", **options)


@pytest.fixture
def photos(tmp_path) -> list[str]:
    """Four photos: one flat, the others with one to three bright squares."""
    paths = []
    for squares in range(4):
        pixels = np.full((56, 56, 3), 40, np.uint8)
        for square in range(squares):
            pixels[4 + 16 * square : 14 + 16 * square, 8:30] = 90 + 60 * square
        path = tmp_path / f"{squares}.png"
        Image.fromarray(pixels).save(path)
        paths.append(str(path))
    return paths


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 16),
        ({"regions": "merge(k=7)"}, 7),
        ({"regions": "merge(k=7) | sort('com')", "whole": True}, 8),
        ({"regions": "windows(4)"}, 4),
        ({"regions": "merge(0.7)"}, None),
        ({"regions": "merge(k=7) | drop(below=2)"}, None),
        ({"regions": "merge(k=7)", "pool": "select"}, None),
        ({"regions": "merge(k=7)", "pool": "first(2)"}, None),
        ({"pool": "first(2)"}, None),
        ({"regions": "windows(4, shape='photo')"}, None),
    ],
)
def test_a_count_is_fixed_only_where_steps_and_pool_promise_it(options, count):
    assert VisualTokens(settings(**options)).fixed == count


def test_a_pool_with_varying_rows_is_measured_picture_by_picture(photos):
    visual = VisualTokens(settings(regions="merge(k=7)", pool="first(3)"))
    counts = visual(photos)
    runs = [visual.tokenizer(Path(photo)).counts.tolist() for photo in photos]
    assert [[count] for count in counts] == runs
    assert len(set(counts)) > 1  # this is what a grey picture cannot say
    assert all(7 <= count <= 16 for count in counts)


def test_images_without_masks_have_every_patch_and_are_counted(photos, tmp_path):
    """OG-LLaVA's release gives such an image all V rows (row O2)."""
    options = {"segmenter": "bright", "pool": "select"}
    with_patches = settings(regions="segments(unmasked='patches')", **options)
    visual = VisualTokens(with_patches, tmp_path)
    counts = visual(photos)
    assert counts[0] == 16
    assert all(count < 16 for count in counts[1:])
    assert visual.images_without_masks == 1
    visual.save()
    again = VisualTokens(with_patches, tmp_path)
    again(photos[1:])
    assert again.images_without_masks == 0
    assert (again(photos), again.images_without_masks) == (counts, 1)
    assert VisualTokens(settings(regions="segments()", **options))(photos[:1]) == [0]


def test_a_full_table_of_positions_is_refused_before_training(photos):
    """It was met when an image of so many masks came up, at the end of an epoch at worst."""
    options = {"segmenter": "felzenszwalb(scale=1, min_size=1)", "regions": "segments()"}
    masks = VisualTokens(settings(pool="mean", **options))(photos)
    full = settings(pool="select", place_tokens="posenc('learn1d', masks=1)", **options)
    visual = VisualTokens(full)
    visual(photos)
    with pytest.raises(ValueError, match=r"of 4 images have more masks than posenc.*which is 1"):
        visual.check_masks()
    with pytest.raises(ValueError, match=f"say masks={max(masks)}"):
        visual.check_masks()
    unmasked = settings(
        segmenter="bright",
        pool="select",
        regions="segments(unmasked='patches')",
        place_tokens="posenc('learn1d', masks=2)",
    )
    visual = VisualTokens(unmasked)
    assert visual(photos)[0] == 16  # rows of no mask
    visual.check_masks()
    enough = full.model_copy(update={"place_tokens": f"posenc('learn1d', masks={max(masks)})"})
    visual = VisualTokens(enough)
    visual(photos)
    visual.check_masks()


def test_rows_that_a_varying_pool_makes_too_long_are_refused(photos, tmp_path):
    rows = [
        {
            "id": photo,
            "image": Path(photo).name,
            "conversations": [
                {"from": "human", "value": "<image>\nred"},
                {"from": "gpt", "value": "red"},
            ],
        }
        for photo in photos
    ]

    (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    records = read([Data(records=str(tmp_path / "rows.json"), images=str(tmp_path))])
    tokenizer = mini_tokenizer()
    labeller = Labeller(tokenizer)
    visual = VisualTokens(settings(regions="merge(k=7)", pool="first(3)"))
    counts = visual(photos)
    lengths = measure(records, labeller, visual, max_length=1000)
    assert lengths.visual.tolist() == counts
    longest = int(lengths.lengths.max())
    with pytest.raises(ValueError, match=f"longer than max_length={longest - 1}"):
        measure(records, labeller, visual, max_length=longest - 1)
    shorter = measure(records, labeller, visual, max_length=longest - 1, overflow="skip")
    assert [counts[place] for place in shorter.reasons] == [max(counts)] * len(shorter.reasons)
