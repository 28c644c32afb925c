"""Regions over time: a clip is a grid whose regions keep their identity over the frames.

A batch may hold clips and photos.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from regiontok.core.clip import Clip
from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid, stacked
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.encoders.filters import Filters
from regiontok.encoders.lite import Lite
from regiontok.methods import Encoder
from regiontok.tokenizer import clips
from regiontok.tokenizer.region_tokenizer import RegionTokenizer
from regiontok.tokenizer.regionizer import Regionizer
from samples.pictures import noise_frames

RED, GREEN, BLUE = (200, 40, 40), (40, 150, 60), (30, 60, 220)
ENCODERS = [Filters(size=128, patch=16), Lite(size=128, patch=16)]
each_encoder = pytest.mark.parametrize("encoder", ENCODERS, ids=["filters", "lite"])


def moving_square(count: int = 5, step: int = 16) -> list[np.ndarray]:
    """A red square of 48 pixels that goes right by one patch a frame, on green."""
    frames = []
    for index in range(count):
        frame = np.full((128, 128, 3), GREEN, np.uint8)
        frame[32:80, index * step : index * step + 48] = RED
        frames.append(frame)
    return frames


class Colour(Encoder):
    """Each patch's mean colour and a constant, without standardising.

    There are a CLS token and a register a frame.
    """

    width, has_cls, summaries, threshold, identity = 4, True, 1, 0.9, "mean colour"

    def frame(self, size):
        return Frame.stretch(size, (128, 128), (16, 16))

    def encode(self, pictures):
        grids = []
        for picture in pictures:
            frame = self.frame(picture.size)
            pixels = torch.from_numpy(frame.place(picture)).float() / 255
            colour = pixels.view(8, 16, 8, 16, 3).mean((1, 3))
            prefix = torch.stack([torch.full((4,), float(colour.mean())), torch.full((4,), -1.0)])
            features = torch.cat([colour - colour.mean(), torch.full((8, 8, 1), 0.01)], -1)
            grids.append(PatchGrid(features, frame, prefix=prefix, summaries=1, key=picture.key))
        return grids


def test_a_moving_square_is_one_region_over_time():
    clip = Clip.of(moving_square(5), fps=4)
    tokenizer = RegionTokenizer(Colour(), "merge(k=2) | sort('area')")
    run = tokenizer.run(clip)
    (regions,) = run.regions
    assert regions.grid == (5, 8, 8)
    assert len(run.tokens) == 2
    square = torch.zeros(5, 8, 8, dtype=torch.bool)
    for index in range(5):
        square[index, 2:5, index : index + 3] = True
    # the smaller one: the square on all frames, and nothing else
    assert torch.equal(regions.masks[1], square)
    assert run.tokens.counts.tolist() == [2]
    assert regions.is_partition()


@each_encoder
def test_a_moving_square_stays_one_region_in_real_features(encoder):
    clip = Clip.of(moving_square(6, step=8), fps=4)
    (regions,) = RegionTokenizer(encoder, "merge(k=4)").run(clip).regions
    # the patch under its middle
    held = [regions.labels[index, 3, (index * 8 + 24) // 16].item() for index in range(6)]
    assert len(set(held)) == 1
    assert held[0] not in {regions.labels[index, 7, 0].item() for index in range(6)}


def test_a_square_that_jumps_further_than_it_is_wide_is_two_regions():
    (regions,) = (
        RegionTokenizer(Colour(), "merge(0.9)").run(Clip.of(moving_square(2, step=64))).regions
    )
    assert len(regions) == 3  # neighbours in time are the same patch one frame later
    assert sorted(regions.sizes.tolist()) == [9, 9, 110]


def test_centre_of_mass_order_is_time_first():
    labels = torch.full((2, 4, 4), 0)
    labels[0, 3, 3] = 1
    labels[1, 0, 0] = 2
    grid = PatchGrid(torch.rand(2, 4, 4, 3), Frame.stretch((16, 16), (16, 16), (4, 4)))
    steps = Regionizer(ENCODERS[0], steps="sort('com')").steps
    ordered = steps[0].one(Regions.from_labels(labels), grid)
    assert ordered.sizes.tolist() == [1, 30, 1]
    assert ordered.centroids[0].tolist() == [0, 3, 3]
    assert ordered.centroids[2].tolist() == [1, 0, 0]


@each_encoder
def test_one_frame_is_its_picture(encoder):
    frame = noise_frames(1)[0]
    clip, picture = Clip.of([frame]), Picture.of(frame)
    ours, theirs = clips.encode(encoder, [clip, picture])
    assert ours.grid == (1, 8, 8)
    assert ours.key == clip.key
    assert torch.allclose(ours.features[0], theirs.features, atol=1e-5)
    assert torch.allclose(ours.values[0], theirs.values, atol=1e-5)


@each_encoder
def test_a_still_clip_is_its_picture_on_every_frame(encoder):
    frame = noise_frames(1)[0]
    grid = clips.encode(encoder, [Clip.of([frame] * 3)])[0]
    alone = encoder.encode([Picture.of(frame)])[0]
    assert torch.allclose(grid.features, alone.features.expand(3, -1, -1, -1), atol=1e-4)


@each_encoder
def test_statistics_are_of_the_clip_and_not_of_each_frame(encoder):
    flat = [np.full((64, 64, 3), colour, np.uint8) for colour in (RED, RED, BLUE, BLUE)]
    grid = clips.encode(encoder, [Clip.of(flat)])[0]
    alone = encoder.encode([Picture.of(flat[0]), Picture.of(flat[3])])
    # each is flat: nothing tells them apart
    assert torch.allclose(alone[0].features, alone[1].features, atol=1e-3)
    similarity = torch.nn.functional.cosine_similarity(grid.features[0], grid.features[3], dim=-1)
    assert similarity.max() < 0.3  # over the clip one is red and the other blue
    (regions,) = RegionTokenizer(encoder, "merge(0.5)").run(Clip.of(flat)).regions
    assert regions.labels.flatten(1).tolist() == [[0] * 64] * 2 + [[1] * 64] * 2
    (regions,) = RegionTokenizer(encoder, "merge(0.5)").run(Clip.of(flat[:2])).regions
    assert len(regions) == 1  # a uniform clip is one region, not one of noise


@each_encoder
def test_padding_of_a_letterbox_is_in_no_region_on_any_frame(encoder):
    boxed = replace(encoder, framing="letterbox")
    (regions,) = RegionTokenizer(boxed, "merge(k=5)").run(Clip.of(noise_frames(3, 32, 64))).regions
    assert regions.counts.sum((1, 2)).tolist() == [32, 32, 32]
    assert regions.counts[:, 2:6].min() == 1


@each_encoder
def test_a_batch_of_clips_and_photos_gives_what_each_gives_alone(encoder):
    clip, other = Clip.of(noise_frames(3, seed=1)), Clip.of(noise_frames(2, 40, 40, seed=2))
    photo, second = noise_frames(2, 50, 30, seed=3)
    tokenizer = RegionTokenizer(encoder, "merge(k=9) | sort('com')", whole=True)
    tokens = tokenizer([photo, clip, second, other])
    assert tokens.counts.tolist() == [10] * 4
    for index, source in enumerate((photo, clip, second, other)):
        alone, in_batch = tokenizer(source), tokens[index]
        assert torch.equal(alone.region, in_batch.region)
        assert torch.allclose(alone.values, in_batch.values, atol=1e-4)


@each_encoder
def test_twice_the_same_and_others_do_not_matter(encoder):
    clip = Clip.of(noise_frames(4))
    tokenizer = RegionTokenizer(encoder, "merge(0.5) | sort('com')")
    first, again = tokenizer.run(clip), tokenizer.run(clip)
    assert torch.equal(first.tokens.values, again.tokens.values)
    assert torch.equal(first.regions[0].patch, again.regions[0].patch)


def test_random_order_is_drawn_from_the_clip_s_key():
    tokenizer = RegionTokenizer(Colour(), "sort('random')", pool="select")
    first, second = (tokenizer(Clip.of(noise_frames(2, seed=seed))).patch for seed in (0, 1))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(128))
    assert not torch.equal(first, second)


def test_patch_tokens_say_where_they_are_in_time_and_space():
    clip = Clip.of(moving_square(3))
    run = RegionTokenizer(Colour(), "", pool="select").run(clip)
    assert run.tokens.patch.tolist() == list(range(3 * 64))
    t, y, x = torch.unravel_index(run.tokens.patch, run.regions[0].grid)
    assert torch.equal(run.tokens.values, run.grids[0].features[t, y, x])
    assert run.tokens.view.unique().tolist() == [0]


def test_cls_tokens_are_one_a_frame_and_registers_stay_behind():
    clip = Clip.of([np.full((64, 64, 3), level, np.uint8) for level in (0, 51, 102)])
    tokens = RegionTokenizer(Colour(), "windows(2)", cls=True)(clip)
    assert (tokens.count("cls"), tokens.count("region")) == (3, 2)
    assert tokens.values[:3, 0].tolist() == pytest.approx([0, 0.2, 0.4])
    grid = clips.encode(Colour(), [clip])[0]
    assert grid.summaries == 3
    assert grid.prefix[:, 0].tolist() == pytest.approx([0, 0.2, 0.4, -1, -1, -1])


def test_masks_of_a_clip_are_refused():
    tokenizer = RegionTokenizer(
        Filters(size=128, patch=16), "segments(0.07)", segmenter="felzenszwalb"
    )
    with pytest.raises(
        ValueError, match="a clip has no pixel masks: take steps that read features"
    ):
        tokenizer(Clip.of(noise_frames(2)))


def test_grids_that_do_not_lie_alike_are_not_stacked():
    small, large = (
        Colour().encode([Picture.of(frame)])[0]
        for frame in (noise_frames(1)[0], noise_frames(1, 64, 64)[0])
    )
    with pytest.raises(ValueError, match="must have one size and one grid"):
        stacked([small, large], "key")
    with pytest.raises(ValueError, match="at least one frame"):
        stacked([], "key")


def test_regions_on_one_frame_keep_their_identity():
    regions = Regions.from_labels(torch.tensor([[[0, 1]], [[2, 1]], [[-1, -1]]]))
    frame_regions, ids = regions.on_frame(1)
    assert frame_regions.grid == (1, 2)
    assert (frame_regions.labels.tolist(), ids.tolist()) == ([[1, 0]], [1, 2])
    none, nobody = regions.on_frame(2)
    assert (len(none), nobody.tolist()) == (0, [])
    with pytest.raises(IndexError, match="frame 3 of a clip of 3"):
        regions.on_frame(3)
    with pytest.raises(ValueError, match=r"only a clip's regions, on a grid \(t, h, w\)"):
        frame_regions.on_frame(0)


def test_features_that_are_no_number_are_named():
    class Broken(Colour):
        def encode(self, pictures):
            grids = super().encode(pictures)
            features = grids[-1].features.clone()
            features[0, 0] = float("nan")
            return [*grids[:-1], grids[-1].but(features=features)]

    with pytest.raises(ValueError, match="NaN or infinite at 1 of 64 patches"):
        RegionTokenizer(Broken(), "merge(0.5)")(Clip.of(noise_frames(2)))


def test_equal_features_everywhere_are_one_region():
    (regions,) = (
        RegionTokenizer(Colour(), "merge(1.0)")
        .run(Clip.of(np.full((3, 64, 64, 3), 9, np.uint8)))
        .regions
    )
    assert len(regions) == 1


@pytest.mark.parametrize(("k", "message"), [(193, "193"), (0, "at least one region")])
def test_budgets_a_clip_cannot_meet(k, message):
    with pytest.raises(ValueError, match=message):
        RegionTokenizer(Colour(), f"merge(k={k})")(Clip.of(noise_frames(3)))
