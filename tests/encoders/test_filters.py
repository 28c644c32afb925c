"""The filter encoder: its numbers, uniform pictures, odd sizes, framings, and real photos."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.io import loadmat
from skimage import data as photos

from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.encoders.filters import NOTICED, Filters, describe, noticed, oriented, smoothed
from regiontok.measures.covering import region_scores
from regiontok.settings.registry import build, render
from regiontok.settings.spec import SpecError
from regiontok.steps.merge import Merge
from samples.grids import merged
from samples.pictures import one_colour

COLOURS = [(0, 0, 0), (255, 255, 255), (127, 127, 127), (255, 0, 0), (0, 0, 255), (40, 90, 60)]
SIZES = [(1, 1), (48, 48), (30, 500), (700, 450)]


def halves(left, right):
    """Two fields of 336 x 168 side by side."""
    return Picture.of(np.concatenate([left, right], axis=1).astype(np.uint8))


def stripes(axis):
    """Black and white bands across `axis`, one of each a patch: all patches have one mean."""
    line = np.arange(336 if axis == 0 else 168) // 7 % 2 * 255
    field = np.broadcast_to(line[:, None] if axis == 0 else line[None], (336, 168))
    return np.repeat(field[..., None], 3, axis=2)


@pytest.mark.parametrize(("fourier", "width"), [(264, 320), (256, 312), (0, 64)])
def test_grid_and_width(cat, fourier, width):
    encoder = Filters(fourier=fourier)
    grid = encoder.encode([cat])[0]
    assert grid.frame == encoder.frame(cat.size)
    assert grid.features.shape == grid.values.shape == (24, 24, width)
    assert encoder.width == width
    assert grid.features.dtype == grid.values.dtype == torch.float32
    assert not grid.features.requires_grad
    assert grid.key == cat.key
    assert not encoder.has_cls
    assert encoder.summaries == grid.summaries == 0


def test_other_canvas_and_patch(cat):
    # 6 px are seen by no patch
    assert Filters(size=384, patch=14).encode([cat])[0].grid == (27, 27)
    assert Filters(size=64, patch=16).encode([cat])[0].grid == (4, 4)


def test_colour_of_a_patch_is_its_mean_and_deviation():
    canvas = np.zeros((14, 28, 3), np.uint8)
    canvas[:, 14:21] = 255
    black, half = describe(canvas, 14)[0]
    assert black[:6] == pytest.approx(0, abs=1e-4)
    # L is 0 on one half and 100 on the other
    assert half[[0, 3]] == pytest.approx([50, 50], abs=0.01)


@pytest.mark.parametrize(("axis", "bin"), [(1, 0), (0, 3)])
def test_orientation_of_stripes(axis, bin):
    numbers = describe(stripes(axis)[:168].astype(np.uint8), 14)
    inner = numbers[2:-2, 2:-2, 6:12].mean((0, 1))
    assert inner.argmax() == bin
    assert inner[bin] > 0.99 * inner.sum()


def test_energy_is_shared_between_neighbouring_bins_and_the_last_meets_the_first():
    steps = np.arange(40.0)
    angle = np.deg2rad(175)  # bins begin at 0, 30, ..., 150: five sixths of the way to the first
    low, _, share = oriented(np.add.outer(steps * np.sin(angle), steps * np.cos(angle)), 1.0)
    assert set(low[8:-8, 8:-8].ravel()) == {5}
    assert share[8:-8, 8:-8] == pytest.approx(5 / 6, abs=1e-3)


def test_patterns_of_a_flat_patch_and_their_sum(cat):
    flat = describe(np.full((28, 28, 3), 90, np.uint8), 14)[..., 18:]
    # all 8 neighbours as light as the pixel
    assert flat == pytest.approx(np.broadcast_to(np.eye(10)[8], (2, 2, 10)))
    photo = describe(cat.resized((336, 336), (0, 0, *cat.size), "bicubic"), 14)[..., 18:]
    assert photo.sum(-1) == pytest.approx(np.ones((24, 24)))


def test_smoothing_leaves_padding_out():
    numbers = np.ones((4, 6, 1))
    valid = np.zeros((4, 6), bool)
    valid[1:3] = True
    numbers[~valid] = 1e6
    assert smoothed(numbers, valid)[valid] == pytest.approx(1)


def test_what_is_noticed():
    numbers = np.zeros((1, 4, 28))
    numbers[0, :, 0] = [50 - 3 * NOTICED, 50, 50, 50 + 3 * NOTICED]
    numbers[0, 2, 3] = 1.5 * NOTICED  # a texture around the mean colour
    assert noticed(numbers, np.ones((1, 4), bool))[0] == pytest.approx([1, 0, 0.5, 1])


def test_features_are_standardised_over_the_picture_and_values_are_not(cat):
    grid = Filters().encode([cat])[0]
    features, values = grid.features[..., :56].flatten(0, 1), grid.values[..., :56].flatten(0, 1)
    weights = torch.tensor(([2.0] * 3 + [1.0] * 3 + [0.7] * 12 + [0.5] * 10) * 2)
    torch.testing.assert_close(features.std(0, correction=0), weights, rtol=0.02, atol=0)
    torch.testing.assert_close(features.mean(0), torch.zeros(56), rtol=0, atol=0.02)
    dim = Picture.of((cat.pixels * 0.5).astype(np.uint8))
    again = Filters().encode([dim])[0]
    # Lab is not linear
    assert torch.cosine_similarity(again.features, grid.features, dim=-1).mean() > 0.95
    assert (again.values[..., 0].mean() - values[:, 0].mean()) < -1


def test_fourier_features_are_a_gaussian_kernel(cat):
    grid = Filters(fourier=8192).encode([cat])[0]
    numbers, waves = grid.features[0, :, :56].double(), grid.features[0, :, 56:].double()
    length = waves.square().sum(-1).mean()
    kernel = torch.exp(-torch.cdist(numbers, numbers).square() / 2 / 4.0**2)
    torch.testing.assert_close(waves @ waves.T / length, kernel, rtol=0, atol=0.06)


def test_runs_repeat_and_pictures_of_a_batch_do_not_meet(cat):
    batch = [cat, Picture.of(photos.astronaut()), Picture.of(photos.camera())]
    together = Filters().encode(batch)
    for picture, grid in zip(batch, together, strict=True):
        alone = Filters().encode([picture])[0]
        assert torch.equal(alone.features, grid.features)
        assert torch.equal(alone.values, grid.values)
    assert Filters().encode([]) == []
    assert not torch.equal(Filters(seed=1).encode([cat])[0].features, together[0].features)


@pytest.mark.slow
@pytest.mark.parametrize("fourier", [264, 0])
@pytest.mark.parametrize("colour", COLOURS)
def test_a_uniform_picture_is_one_region(colour, fourier):
    encoder = Filters(fourier=fourier)
    for size in SIZES:
        for noise in (0, 1):
            assert len(merged(encoder, one_colour(colour, size, noise))) == 1, (size, noise)
    assert (
        len(merged(Filters(framing="letterbox", fourier=fourier), one_colour(colour, (30, 90), 1)))
        == 1
    )
    assert (
        len(merged(Filters(framing="crop", fourier=fourier), one_colour(colour, (30, 90), 1))) == 1
    )


def test_uniform_pictures_still_differ_in_what_pools_read():
    red, blue = Filters().encode([one_colour((255, 0, 0)), one_colour((0, 0, 255))])
    torch.testing.assert_close(red.features, blue.features)
    assert torch.cosine_similarity(red.values[0, 0], blue.values[0, 0], dim=0) < 0.5


def test_a_photo_does_not_become_one_region(cat):
    assert 60 < len(merged(Filters(), cat)) < 400


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (np.full((336, 168, 3), (200, 60, 60)), np.full((336, 168, 3), (60, 60, 200))),
        (stripes(0), stripes(1)),  # one mean colour, one deviation: only the direction differs
    ],
    ids=["colours", "directions"],
)
def test_two_halves_are_found(left, right):
    labels = merged(Filters(), halves(left, right), k=2).labels.numpy()
    # smoothing and edges reach one column over the border
    assert (labels == (np.arange(24) >= 12)).mean() > 0.95


@pytest.mark.slow
def test_odd_pictures():
    long = np.random.default_rng(0).integers(0, 256, (10, 20000, 3)).astype(np.uint8)
    upright = np.ascontiguousarray(long.swapaxes(0, 1))
    for framing in ("stretch", "letterbox", "crop"):
        for picture in (long, upright, np.zeros((1, 1, 3), np.uint8), photos.camera()):
            grid = Filters(framing=framing).encode([Picture.of(picture)])[0]
            # PatchGrid itself refuses what is not finite
            assert grid.features.shape == (24, 24, 320)


def test_a_greyscale_picture_equals_its_rgb_copy():
    grey = photos.camera()
    both = Filters().encode([Picture.of(grey), Picture.of(np.repeat(grey[..., None], 3, axis=2))])
    assert torch.equal(both[0].features, both[1].features)


def test_letterbox_standardises_over_the_image_only():
    photo = Picture.of(photos.coffee()[:200])
    grid = Filters(framing="letterbox").encode([photo])[0]
    assert 0 < int(grid.valid.sum()) < 576
    features = grid.features[grid.valid][:, :3]
    torch.testing.assert_close(
        features.std(0, correction=0), torch.full((3,), 2.0), rtol=0.02, atol=0
    )
    labels = merged(Filters(framing="letterbox"), photo).labels
    assert torch.equal(labels >= 0, grid.valid)


def test_shuffled_patches_keep_their_colours(cat):
    grid, moved = Filters().encode([cat])[0], Filters(shuffle=3).encode([cat])[0]
    colours, elsewhere = (g.values[..., :6].flatten(0, 1) for g in (grid, moved))
    assert not torch.allclose(colours, elsewhere)
    for channel in range(6):
        torch.testing.assert_close(
            colours[:, channel].sort().values, elsewhere[:, channel].sort().values
        )
    assert torch.equal(Filters(shuffle=3).encode([cat])[0].features, moved.features)


def test_spec_round_trip():
    encoder = build("encoder", "filters(size=448, fourier=0)")
    assert encoder == Filters(size=448, fourier=0) == build("encoder", render(encoder))
    assert render(Filters(device="cpu"), full=True) == (
        "filters(size=336, patch=14, framing='stretch', fourier=264, seed=0, "
        "shuffle=None, version=1)"
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("filters(size=10)", "expected 2 <= patch <= size, got patch=14, size=10"),
        ("filters(fourier=-1)", "fourier must be 0 or more, got -1"),
        ("filters(framing='fit')", "framing must be one of 'stretch', 'letterbox', 'crop'"),
        ("filters(sise=10)", "did you mean 'size'"),
    ],
)
def test_refused_settings(spec, message):
    with pytest.raises(SpecError, match=message):
        build("encoder", spec)


def test_regions_of_photos_agree_with_people(data):
    """Six photos at K=16: grid pooling covers .215 of what people drew."""
    folder = data / "bsds500"
    shares = []
    for image in sorted((folder / "images" / "train").glob("*.jpg"))[:60:10]:
        picture = Picture.of(image)
        grid = Filters().encode([picture])[0]
        labels = Merge(k=16).one(Regions.singletons(grid.grid), grid).labels
        truth = loadmat(folder / "groundTruth" / "train" / f"{image.stem}.mat")["groundTruth"][0]
        humans = [annotator["Segmentation"][0, 0] for annotator in truth]
        shares.append(region_scores(grid.frame.to_pixels(labels).numpy(), humans).covering.share)
    assert np.mean(shares) > 0.4


def test_the_canvas_has_any_size_but_there_are_no_layers_and_no_weights(cat):
    encoder = Filters(fourier=0)
    assert encoder.can_resize
    assert encoder.at_size(56) == Filters(size=56, fourier=0)
    assert encoder.at_size(56).frame(cat.size).grid == (4, 4)
    assert (encoder.layers, encoder.layer_name, encoder.untrained()) == (None, "", None)
    assert encoder.at_layer(None) is encoder
    with pytest.raises(ValueError, match="Filters has no choice of layers, got layer 1"):
        encoder.at_layer(1)
