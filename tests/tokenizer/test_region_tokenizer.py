"""RegionTokenizer: what goes in, what comes out, batches, saving, gradients, cost."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.core.tokens import KINDS
from regiontok.methods import CanvasEncoder, Segmenter
from regiontok.miniworld.scenes import make_scene
from regiontok.settings import registry
from regiontok.settings.recipe import load_recipe
from regiontok.steps.merge import merge_tree
from regiontok.system.devices import NoDevice
from regiontok.tokenizer.clock import STAGES
from regiontok.tokenizer.images import decode_images
from regiontok.tokenizer.region_tokenizer import RegionTokenizer
from regiontok.tokenizer.regionizer import Regionizer, build_encoder


@dataclass(frozen=True)
class Tiny(CanvasEncoder):
    """A transparent encoder: 8 x 8 patches of 8 px.

    A feature is the patch's mean colour and a constant; there are one CLS token and one register.
    """

    framing: str = "stretch"
    shuffle: int | None = None
    device: str = field(default="cpu", metadata={"run": True})
    version: ClassVar[int] = 1
    threshold: ClassVar[float] = 0.9
    width: ClassVar[int] = 4
    has_cls: ClassVar[bool] = True
    identity: ClassVar[str] = "tiny"

    def frame(self, size):
        return Frame.fit(self.framing, size, (64, 64), (8, 8))

    def encode(self, seen):
        return [self._one(picture) for picture in seen]

    def _one(self, picture):
        frame = self.frame(picture.size)
        canvas = torch.from_numpy(frame.place(picture)).float() / 255
        colour = canvas.view(8, 8, 8, 8, 3).mean((1, 3))
        features = torch.cat([colour, torch.ones(8, 8, 1)], -1)
        prefix = torch.stack([features.mean((0, 1)), torch.full((4,), 9.0)])
        return PatchGrid(features, frame, prefix=prefix, summaries=1, key=picture.key)


def scene(seed=0, size=(96, 128)):
    return make_scene(seed, size).pixels


SEGMENTED = "segments(0.07) | cover('rest') | sort('com')"


class TestInputs:
    def test_one_or_many_of_any_kind(self, tmp_path):
        array = scene()
        path = tmp_path / "photo.png"
        Image.fromarray(array).save(path)
        tokenizer = RegionTokenizer(Tiny(), "windows(4)")
        expected = tokenizer(array).values
        tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
        for image in (
            path,
            str(path),
            path.read_bytes(),
            Image.fromarray(array),
            tensor,
            tensor.float() / 255,
            Picture.of(array),
        ):
            tokens = tokenizer(image)
            assert tokens.images == 1
            assert torch.equal(tokens.values, expected)
        many = tokenizer([path, Image.fromarray(array), tensor])
        assert many.counts.tolist() == [4, 4, 4]
        assert torch.equal(many.values, expected.repeat(3, 1))

    def test_four_axes_are_a_batch(self):
        batch = np.stack([scene(0), scene(1)])
        assert [p.size for p in decode_images(batch)] == [(96, 128)] * 2
        assert len(decode_images(torch.from_numpy(batch).permute(0, 3, 1, 2))) == 2

    def test_no_image_is_an_error(self):
        with pytest.raises(ValueError, match="no image given"):
            RegionTokenizer(Tiny())([])

    def test_another_kind_is_an_error_that_says_what_is_expected(self):
        with pytest.raises(
            TypeError, match="expected a path, bytes, a Pillow image, an array or a tensor; got int"
        ):
            RegionTokenizer(Tiny())([3])


class TestTokens:
    def test_the_empty_pipeline_is_the_patch_baseline(self):
        run = RegionTokenizer(Tiny()).run([scene()])
        assert run.tokens.counts.tolist() == [64]
        assert torch.equal(run.tokens.values, run.grids[0].features.flatten(0, 1))
        assert run.tokens.region.tolist() == list(range(64))

    def test_mixed_sizes_keep_images_apart(self):
        images = [scene(0, (64, 200)), scene(1, (301, 77)), scene(2, (64, 64))]
        tokens = RegionTokenizer(Tiny(framing="letterbox"), "merge(k=5) | sort('com')")(images)
        assert tokens.counts.tolist() == [5, 5, 5]
        assert tokens.image.tolist() == [0] * 5 + [1] * 5 + [2] * 5
        assert tokens.region.tolist() == [0, 1, 2, 3, 4] * 3

    def test_cls_then_whole_then_regions(self):
        run = RegionTokenizer(Tiny(), "windows(3)", whole=True, cls=True).run([scene(0), scene(1)])
        tokens = run.tokens
        assert [KINDS[k] for k in tokens.kind.tolist()] == [
            "cls",
            "whole",
            "region",
            "region",
            "region",
        ] * 2
        assert tokens.region.tolist() == [-1, -1, 0, 1, 2] * 2
        grid = run.grids[1]
        assert torch.equal(tokens.values[5], grid.prefix[0])  # one CLS, and not the register
        torch.testing.assert_close(tokens.values[6], grid.features.mean((0, 1)))

    def test_whole_under_select_is_the_global_view(self):
        run = RegionTokenizer(Tiny(), "windows(2)", pool="select", whole=True).run(scene())
        assert (run.tokens.count("whole"), run.tokens.count("region")) == (64, 64)
        assert run.tokens.patch[:64].tolist() == list(range(64))

    def test_whole_leaves_padding_out(self):
        photo = np.full((40, 80, 3), 255, np.uint8)
        run = RegionTokenizer(Tiny(framing="letterbox"), "windows(2)", whole=True).run(photo)
        assert int(run.grids[0].valid.sum()) == 32
        # black bars would darken it
        torch.testing.assert_close(run.tokens.values[0], torch.ones(4))

    def test_cls_of_an_encoder_without_one_is_an_error(self):
        with pytest.raises(ValueError, match=r"filters has no CLS or summary token; set cls=False"):
            RegionTokenizer("filters", cls=True)

    def test_regions_from_masks(self):
        run = RegionTokenizer(Tiny(), SEGMENTED, segmenter="felzenszwalb(scale=50)").run(scene())
        trail = run.trails[0]
        assert len(trail) == 4
        assert int((trail[0].counts == 1).sum()) == 64
        assert int((trail[2].counts == 0).sum()) == 0
        assert run.grids[0].masks is not None

    def test_stages_are_timed(self):
        seconds = RegionTokenizer(Tiny(), SEGMENTED, segmenter="felzenszwalb").run(scene()).seconds
        assert tuple(seconds) == STAGES
        assert all(value > 0 for value in seconds.values())


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["mean", "attend(heads=2)", "select"])
@pytest.mark.parametrize("regions", ["", "merge(0.99) | sort('com')", SEGMENTED])
def test_a_batch_gives_what_its_images_give_one_by_one(pool, regions):
    """The same regions in the same order.

    Values agree within 1e-6 with an encoder that is the same for any batch.
    """
    tokenizer = RegionTokenizer(
        Tiny("letterbox"),
        regions,
        segmenter="felzenszwalb",
        pool=pool,
        whole=True,
        cls=True,
        norm="rms",
    )
    images = [
        scene(seed, size) for seed, size in enumerate([(96, 128), (70, 140), (64, 190), (128, 128)])
    ]
    together = tokenizer(images)
    for index, image in enumerate(images):
        alone, within = tokenizer(image), together[index]
        for name in ("kind", "region", "patch", "view"):
            assert torch.equal(getattr(alone, name), getattr(within, name))
        torch.testing.assert_close(alone.values, within.values, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["lite", "filters"])
def test_a_batch_through_a_shipped_encoder(encoder):
    """Values agree to 1e-4, regions and order exactly.

    Convolutions choose their algorithm by batch size.
    """
    tokenizer = RegionTokenizer(encoder, "merge(k=20) | sort('com')")
    images = [scene(seed, size) for seed, size in enumerate([(160, 200), (150, 90), (128, 128)])]
    together = tokenizer.run(images)
    for index, image in enumerate(images):
        alone = tokenizer.run(image)
        assert torch.equal(alone.regions[0].labels, together.regions[index].labels)
        torch.testing.assert_close(
            alone.tokens.values, together.tokens[index].values, rtol=1e-4, atol=1e-4
        )


class TestLearning:
    def test_gradients_reach_the_head_and_only_the_head(self):
        tokenizer = RegionTokenizer(
            Tiny(), "windows(4)", norm="rms", pool="attend(heads=2)", cls=True
        )
        tokens = tokenizer([scene(0), scene(1)])
        tokens.values.square().sum().backward()
        assert all(
            parameter.grad is not None and parameter.grad.abs().sum() > 0
            for parameter in tokenizer.parameters()
            if parameter.ndim > 1
        )
        assert set(dict(tokenizer.named_parameters())) == {
            f"head.{name}" for name in tokenizer.head.state_dict()
        }

    def test_an_optimiser_step_lowers_a_loss(self):
        tokenizer = RegionTokenizer(Tiny(), "windows(4)", norm="rms", pool="attend(heads=2)")
        optimiser = torch.optim.AdamW(tokenizer.parameters(), lr=0.02)
        losses = []
        for _ in range(8):
            loss = (tokenizer(scene()).values - 1).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        assert losses[-1] < 0.8 * losses[0]

    def test_the_seed_decides_the_head_and_global_randomness_is_left_alone(self):
        torch.manual_seed(5)
        before = torch.rand(1)
        torch.manual_seed(5)
        first = RegionTokenizer(Tiny(), pool="attend(heads=2)", seed=1)
        assert torch.equal(torch.rand(1), before)
        again, other = (RegionTokenizer(Tiny(), pool="attend(heads=2)", seed=s) for s in (1, 2))
        assert torch.equal(first.head.pool.query.weight, again.head.pool.query.weight)
        assert not torch.equal(first.head.pool.query.weight, other.head.pool.query.weight)

    def test_partition_on_normed_follows_a_trained_scale(self):
        """Two channels; a scale that mutes the second merges what only the second told apart."""
        tokenizer = RegionTokenizer(Tiny(), "merge(0.95)", norm="rms", partition_on="normed")
        image = np.zeros((64, 64, 3), np.uint8)
        image[:, 32:, 2] = 255  # right half blue
        assert len(tokenizer.run(image).regions[0]) == 2
        with torch.no_grad():
            tokenizer.head.norm.weight[2] = 0.0
        assert len(tokenizer.run(image).regions[0]) == 1

    def test_partition_on_normed_needs_a_norm(self):
        with pytest.raises(ValueError, match="needs a norm"):
            RegionTokenizer(Tiny(), partition_on="normed")


class TestSaving:
    def test_round_trip(self, tmp_path):
        tokenizer = RegionTokenizer(
            "filters",
            "merge(k=9) | sort('area')",
            segmenter="slic(segments=20)",
            norm="rms",
            pool="attend(heads=4)",
            whole=True,
            seed=3,
        )
        with torch.no_grad():
            for parameter in tokenizer.parameters():
                parameter.add_(0.01)
        tokenizer.save_pretrained(tmp_path / "mine")
        again = RegionTokenizer.from_pretrained(tmp_path / "mine")
        assert again.settings == tokenizer.settings
        for (name, weight), (_, other) in zip(
            tokenizer.named_parameters(), again.named_parameters(), strict=True
        ):
            assert torch.equal(weight, other), name
        image = scene()
        assert torch.equal(tokenizer(image).values, again(image).values)
        assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == [
            "head.safetensors",
            "provenance.json",
            "recipe.toml",
        ]

    def test_other_encoder_weights_are_refused(self, tmp_path):
        RegionTokenizer("filters").save_pretrained(tmp_path)
        provenance = json.loads((tmp_path / "provenance.json").read_text())
        (tmp_path / "provenance.json").write_text(json.dumps(provenance | {"weights": "others"}))
        with pytest.raises(ValueError, match=r"was saved with other encoder weights \(others\)"):
            RegionTokenizer.from_pretrained(tmp_path)

    def test_from_recipe(self):
        recipe = Path(registry.__file__).parents[1] / "recipes" / "quick" / "budget.toml"
        tokenizer = RegionTokenizer.from_recipe(recipe)
        assert load_recipe(recipe).tokenizer.regions.startswith(
            tokenizer.regionizer.spec.split(" | ")[0]
        )
        assert len(tokenizer(scene())) == 64


class TestRegionizer:
    def test_a_source_stands_first(self):
        with pytest.raises(
            ValueError, match="windows makes regions afresh, so it must stand first"
        ):
            Regionizer(Tiny(), steps="merge(0.5) | windows(3)")

    def test_segments_need_a_segmenter(self):
        with pytest.raises(ValueError, match="needs pixel masks: name a segmenter"):
            Regionizer(Tiny(), steps="segments(0.07)")

    def test_masks_do_not_follow_shuffled_patches(self):
        with pytest.raises(ValueError, match="masks do not follow shuffled patches"):
            Regionizer(Tiny(shuffle=1), steps="segments(0.07)", segmenter="felzenszwalb")

    def test_padding_is_checked(self):
        with pytest.raises(ValueError, match="did you mean 'drop'"):
            Regionizer(Tiny(), padding="drp")

    def test_masks_are_made_only_where_a_step_reads_them(self):
        class Never(Segmenter):
            def __call__(self, pictures):
                raise AssertionError("segmented for nothing")

        grids, members = Regionizer(Tiny(), steps="windows(3)", segmenter=Never())(
            [Picture.of(scene())]
        )
        assert grids[0].masks is None
        assert len(members) == 3

    def test_the_fingerprint_changes_with_every_setting_and_not_with_the_device_or_batch(self):
        base = {"encoder": "filters", "steps": SEGMENTED, "segmenter": "felzenszwalb"}
        same = Regionizer(**base).fingerprint
        assert Regionizer(**base).fingerprint == same
        assert Regionizer(**base | {"encoder": "filters(device='cpu')"}).fingerprint == same
        changes = [
            {"encoder": "filters(size=448)"},
            {"segmenter": "felzenszwalb(scale=77)"},
            {"steps": SEGMENTED.replace("0.07", "0.08")},
            {"transforms": "rms"},
            {"padding": "keep"},
        ]
        assert len({same, *(Regionizer(**base | change).fingerprint for change in changes)}) == 6

    def test_the_fingerprint_leaves_out_a_segmenter_that_nobody_reads(self):
        plain = Regionizer("filters", steps="merge(0.5)").fingerprint
        assert Regionizer("filters", steps="merge(0.5)", segmenter="slic").fingerprint == plain

    def test_draw_reaches_seeded_steps(self):
        tokenizer = RegionTokenizer(Tiny(), "sort('random', seed=1)")
        first, again, later = (
            tokenizer.run(scene(), draw=draw).regions[0].patch for draw in (0, 0, 1)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, later)


def test_moving_the_tokenizer_moves_the_encoder():
    tokenizer = RegionTokenizer("filters(size=56)", "windows(4)", norm="rms")
    assert next(tokenizer.double().parameters()).dtype == torch.float64
    assert tokenizer.regionizer.encoder.device == "cpu"
    tokenizer.to("meta")  # the one other device of every machine
    assert tokenizer.regionizer.encoder.device == "meta"
    assert next(tokenizer.parameters()).device.type == "meta"
    assert tokenizer.half().regionizer.encoder.device == "meta"
    with pytest.raises(NoDevice, match="unknown device 'meta'"):
        tokenizer(np.zeros((20, 30, 3), np.uint8))


def test_padding_keep_gives_every_patch_a_region():
    photo = np.zeros((40, 80, 3), np.uint8)
    with_padding, without_padding = (
        RegionTokenizer(Tiny("letterbox"), padding=padding)(photo) for padding in ("keep", "drop")
    )
    assert (len(with_padding), len(without_padding)) == (64, 32)


def test_nan_features_are_refused():
    with pytest.raises(ValueError, match="NaN or infinite at 1 of 4 patches"):
        PatchGrid(
            torch.tensor([[[1.0], [2.0]], [[float("nan")], [0.0]]]),
            Frame.stretch((2, 2), (2, 2), (1, 1)),
        )


def test_a_folder_is_short_for_transformers(tmp_path):
    with pytest.raises(ValueError, match=r"safetensors|config"):
        assert build_encoder(str(tmp_path)).identity


@pytest.mark.parametrize("encoder", ["lite", "filters"])
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (200, 30, 40)])
def test_a_uniform_image_is_one_region(encoder, colour):
    image = np.full((120, 160, 3), colour, np.uint8)
    built = build_encoder(encoder)
    assert len(RegionTokenizer(built, f"merge({built.threshold})").run(image).regions[0]) == 1


def test_regions_of_a_scene_follow_its_objects():
    """Clusters cover the largest object of a generated scene better than windows do.

    There are as many of them as objects.
    """
    drawn = make_scene(3, 192, (3, 3))
    mask = torch.from_numpy(drawn.masks.copy())
    best = {}
    for name, steps in (("merge", "merge(k=16)"), ("windows", "windows(16, shape='grid')")):
        run = RegionTokenizer("lite", steps).run(drawn.pixels)
        pixels = run.grids[0].frame.to_pixels(run.regions[0].masks)
        overlap = (pixels[:, None] & mask[None]).sum((2, 3)) / (pixels[:, None] | mask[None]).sum(
            (2, 3)
        )
        best[name] = float(overlap.max(0).values.max())
    assert best["merge"] > best["windows"]


def test_a_denoising_artifact_belongs_to_its_encoder_and_to_the_cache_key(tmp_path):
    from regiontok.transform.denoise import mean_artifact, save_artifact

    encoder = build_encoder("filters(size=112)")
    grids = encoder.encode(
        [
            Picture.of(np.random.default_rng(i).integers(0, 255, (40, 60, 3), dtype=np.uint8))
            for i in range(2)
        ]
    )
    path = tmp_path / "mean.safetensors"
    save_artifact(path, mean_artifact(grids), encoder=encoder, images=2)
    first = Regionizer("filters(size=112)", transforms=f"denoise({str(path)!r})").fingerprint
    save_artifact(path, mean_artifact(grids[:1]), encoder=encoder, images=1)
    assert (
        Regionizer("filters(size=112)", transforms=f"denoise({str(path)!r})").fingerprint != first
    )
    with pytest.raises(ValueError, match=r"lite|weights"):
        Regionizer("lite", transforms=f"denoise({str(path)!r})")


def test_a_transform_that_reads_masks_brings_the_segmenter_in():
    assert Regionizer(
        "filters", segmenter="felzenszwalb", transforms="globalfilter(regions='masks')"
    ).reads_masks
    with pytest.raises(ValueError, match="needs pixel masks"):
        Regionizer("filters", transforms="globalfilter(regions='masks')")


@dataclass(frozen=True)
class Keyless(Tiny):
    """An encoder that forgets the pictures' keys, or has one for all."""

    key: str = ""

    def encode(self, seen):
        return [grid.but(key=self.key) for grid in super().encode(seen)]


@pytest.mark.parametrize("key", ["", "the same"])
@pytest.mark.parametrize("tiles", ["", "1x2"])
def test_an_encoder_without_keys_draws_anew_for_each_picture(key, tiles):
    photos = [scene(seed) for seed in (1, 2)]
    drawn = {}
    for encoder in (Tiny(), Keyless(key=key)):
        tokens = RegionTokenizer(encoder, "random(9)", pool="select", tiles=tiles)(photos)
        drawn[type(encoder)] = [tokens[image].patch.tolist() for image in (0, 1)]
        assert drawn[type(encoder)][0] != drawn[type(encoder)][1]
    assert drawn[Keyless] == drawn[Tiny]


def test_an_encoder_must_give_a_grid_for_each_picture():
    class Short(Tiny):
        def encode(self, seen):
            return super().encode(seen)[:1]

    with pytest.raises(ValueError, match="gives 1 grids for 2 pictures"):
        RegionTokenizer(Short())([scene(1), scene(2)])


def test_the_regionizer_takes_what_the_tokenizer_takes(tmp_path):
    regionizer = Regionizer(Tiny(), steps="merge(k=5)")
    path = tmp_path / "scene.png"
    Image.fromarray(scene()).save(path)
    expected, members = regionizer([Picture.of(scene())])
    for images in (path, str(path), [str(path)], scene(), Picture.of(scene())):
        (grid,) = regionizer.see(images)
        assert torch.equal(grid.features, expected[0].features)
        assert torch.equal(regionizer(images)[1].region, members.region)


def test_objects_show_themselves_in_a_line(tmp_path):
    tokenizer = RegionTokenizer(Tiny(), "merge(k=5)")
    run = tokenizer.run(scene())
    tree = merge_tree(run.trails[0][0], run.grids[0])
    shown = [tokenizer, tokenizer.regionizer, run, run.tokens, run.grids[0], run.regions[0]]
    shown += [run.pictures[0], run.grids[0].frame, tree, tree.sequence, make_scene(0)]
    for value in shown:
        assert "\n" not in repr(value)
        assert len(repr(value)) < 500, type(value)
    assert repr(tokenizer) == (
        "RegionTokenizer(encoder=test_region_tokenizer, regions='merge(k=5)', pool=mean)"
    )


@pytest.mark.parametrize("name", ["quick/budget", "quick/segment"])
def test_a_shipped_recipe_by_its_name(name):
    tokenizer = RegionTokenizer.from_recipe(name)
    assert (
        tokenizer.settings == RegionTokenizer(**load_recipe(name).tokenizer.model_dump()).settings
    )
    with pytest.raises(ValueError, match=f"did you mean '{name}'"):
        RegionTokenizer.from_recipe(name[:-1])
