"""Tiles: the same views, tokens and order as LLaVA-NeXT in transformers.

Masks and pixels fall on the same patches in every view.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from regiontok.core.canvas import canvases
from regiontok.core.clip import Clip
from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid, images_of
from regiontok.core.picture import Picture
from regiontok.core.tokens import CLS, NEWLINE, REGION, WHOLE
from regiontok.data.collect import collect
from regiontok.jobs.tokenize.earlier import Writing
from regiontok.jobs.tokenize.images import tokenize_images
from regiontok.jobs.tokenize.tokenizer_set import TokenizerSet
from regiontok.methods import CanvasEncoder
from regiontok.settings.recipe import RecipeError, TokenizerSettings, resolve
from regiontok.tokenizer.region_tokenizer import RegionTokenizer
from regiontok.tokenizer.regionizer import Regionizer
from samples.pictures import noise
from samples.segmenters import KnownBox, rectangle

SIZES = [(100, 200), (200, 100), (90, 100), (60, 400), (400, 60), (37, 53), (300, 301)]


@dataclass(frozen=True)
class Brightness(CanvasEncoder):
    """An encoder that one can check by eye: the mean brightness of a patch, 0 to 1, four times."""

    size: int = 56
    framing: str | None = None
    shuffle: None = None
    width = 4
    has_cls = True
    identity = "brightness"
    threshold = 0.5

    def frame(self, size):
        return Frame.fit(self.framing or "letterbox", size, (self.size, self.size), (14, 14))

    def encode(self, pictures):
        return [self.grid(picture) for picture in pictures]

    def grid(self, picture):
        frame = self.frame(picture.size)
        light = canvases([picture], [frame])[0].float().mean(0) / 255
        h, w = frame.grid
        mean = light[: 14 * h, : 14 * w].reshape(h, 14, w, 14).mean((1, 3))
        prefix = light.mean().expand(1, 4).clone()
        return PatchGrid(
            mean[..., None].expand(h, w, 4).clone(),
            frame,
            prefix=prefix,
            summaries=1,
            cls_attention=mean,
            key=picture.key,
        )


def square(size, box):
    """A picture that is white in a box and black elsewhere."""
    return Picture.of(np.repeat(rectangle(size, box)[..., None], 3, 2).astype(np.uint8) * 255)


class TestMasksAndPixels:
    """A picture of 112 x 224 on 2 x 4 tiles of 56: every patch sees 14 x 14 pixels of it."""

    size, box = (112, 224), (28, 42, 70, 126)

    def views(self, cut):
        regionizer = Regionizer(
            Brightness(),
            segmenter=KnownBox(self.box),
            steps="segments(0.5)",
            transforms="",
            tiles="2x4",
            cut=cut,
        )
        grids, members = regionizer([square(self.size, self.box)])
        return grids, members, regionizer.trails(grids)

    def test_base(self):
        grids, _, trails = self.views("stitched")
        # stretched to 56 x 56: a patch sees 28 rows and 56 columns, so the square has rows 1 to
        # 2.5, columns 0.75 to 2.25
        share = grids[0].frame.to_grid(grids[0].masks)[0]
        assert share.tolist() == [
            [0, 0, 0, 0],
            [0.25, 1, 0.25, 0],
            [0.125, 0.5, 0.125, 0],
            [0, 0, 0, 0],
        ]
        torch.testing.assert_close(grids[0].features[..., 0], share, atol=0.02, rtol=0)
        assert trails[0][-1].masks[0].nonzero().tolist() == [[1, 1]]

    def test_stitched(self):
        grids, members, trails = self.views("stitched")
        assert [grid.grid for grid in grids] == [(4, 4), (8, 16)]
        wanted = torch.zeros(8, 16)
        wanted[2:5, 3:9] = 1
        assert torch.equal(grids[1].features[..., 0], wanted)
        assert torch.equal(grids[1].frame.to_grid(grids[1].masks)[0], wanted)
        assert torch.equal(trails[1][-1].masks[0], wanted == 1)
        assert members.image.tolist() == [0, 0]

    def test_tiles(self):
        grids, _, trails = self.views("tile")
        assert [grid.grid for grid in grids] == [(4, 4)] * 9
        wanted = torch.zeros(8, 16)
        wanted[2:5, 3:9] = 1
        quarters = [quarter for rows in wanted.split(4) for quarter in rows.split(4, 1)]
        for grid, trail, quarter in zip(grids[1:], trails[1:], quarters, strict=True):
            assert torch.equal(grid.features[..., 0], quarter)
            assert torch.equal(grid.frame.to_grid(grid.masks)[0], quarter)
            assert torch.equal(trail[-1].counts.bool(), quarter == 1)
        assert [len(trail[-1]) for trail in trails[1:]] == [1, 1, 1, 0, 1, 1, 1, 0]

    def test_clusters_meet_the_seams_of_tiles_only_if_cut_there(self):
        """The white rectangle crosses six tiles.

        It is one region of the stitched grid, and one a tile otherwise.
        """
        counts = {}
        for cut in ("stitched", "tile"):
            run = RegionTokenizer(Brightness(), "merge(0.9)", tiles="2x4", cut=cut).run(
                square(self.size, self.box)
            )
            white = [
                sum(
                    bool(
                        grid.features.flatten(0, 1)[regions.patch[regions.region == k]].min() > 0.9
                    )
                    for k in range(len(regions))
                )
                for grid, regions in zip(run.grids[1:], run.regions[1:], strict=True)
            ]
            counts[cut] = white
        assert counts == {"stitched": [1], "tile": [1, 1, 1, 0, 1, 1, 1, 0]}

    @settings(max_examples=40, deadline=None)
    @given(st.data(), st.sampled_from(["stitched", "tile"]), st.sampled_from(["drop", "keep"]))
    def test_any_size_any_box(self, data, cut, padding):
        """What shines on a patch is what the mask covers of it, but for the resizing filter."""
        height, width = data.draw(st.integers(20, 300)), data.draw(st.integers(20, 300))
        y, x = data.draw(st.integers(0, height - 10)), data.draw(st.integers(0, width - 10))
        box = y, x, data.draw(st.integers(y + 8, height)), data.draw(st.integers(x + 8, width))
        regionizer = Regionizer(
            Brightness(), segmenter=KnownBox(box), tiles="anyres", cut=cut, padding=padding
        )
        for grid in regionizer.see([square((height, width), box)], masks=True):
            share = grid.frame.to_grid(grid.masks)[0]
            torch.testing.assert_close(grid.features[..., 0], share, atol=0.16, rtol=0)


@pytest.mark.parametrize("cut", ["stitched", "tile"])
def test_padding_is_in_no_region_and_kept_padding_in_all(cut):
    # white; on 2x2 tiles of 56 it is 19 pixels high, in the middle
    picture = square((56, 336), (0, 0, 56, 336))
    without_padding, with_padding = (
        RegionTokenizer(Brightness(), tiles="2x2", cut=cut, padding=padding).run(picture)
        for padding in ("drop", "keep")
    )
    assert sum(int(grid.valid.sum()) for grid in with_padding.grids) == 16 + 64
    if cut == "stitched":  # LLaVA's unpadding: 1.33 rows of patches become 2
        assert [grid.grid for grid in without_padding.grids] == [(4, 4), (2, 8)]
        assert without_padding.tokens.count("newline") == 2
        assert with_padding.tokens.count("newline") == 8
    else:
        assert [int(grid.valid.sum()) for grid in without_padding.grids] == [16, 4, 4, 4, 4]
        assert without_padding.tokens.count("newline") == 0


def test_a_tile_of_padding_alone_is_no_view():
    long = square((10, 200), (0, 0, 10, 200))
    grids = Regionizer(Brightness(), tiles="3x1", cut="tile").see(
        [long, square((60, 60), (0, 0, 9, 9))]
    )
    assert images_of(grids) == [0, 0, 1, 1]
    assert [grid.view for grid in grids] == [0, 1, 0, 1]
    assert len({grid.key for grid in grids}) == 4


class TestOrder:
    def test_one_picture(self):
        """Base view, then row after row of the tiles, each with its end.

        Ids are those of the view.
        """
        tokens = RegionTokenizer(Brightness(), tiles="1x2", cls=True, whole=True)(noise(56, 112))
        assert tokens.kind.tolist() == [CLS, WHOLE, *[REGION] * 16, *([REGION] * 8 + [NEWLINE]) * 4]
        assert tokens.view.tolist() == [0] * 18 + [1] * 36
        assert tokens.region[18:].tolist() == [
            k for row in range(4) for k in [*range(8 * row, 8 * row + 8), -1]
        ]
        newline = tokens.values[tokens.kind == NEWLINE]
        assert torch.equal(newline, newline[:1].expand(4, 4))

    def test_select_keeps_the_same_rows(self):
        mean, select = (
            RegionTokenizer(Brightness(), tiles="1x2", pool=pool)(noise(56, 112))
            for pool in ("mean", "select")
        )
        assert torch.equal(mean.values, select.values)
        assert select.patch[16:].tolist() == [
            k for row in range(4) for k in [*range(8 * row, 8 * row + 8), -1]
        ]

    @pytest.mark.parametrize("regions", ["merge(0.9)", "sort('random')", "windows(3)"])
    def test_regions_have_no_newlines(self, regions):
        assert (
            RegionTokenizer(Brightness(), regions, tiles="1x2")(noise(56, 112)).count("newline")
            == 0
        )

    @pytest.mark.parametrize("cut", ["stitched", "tile"])
    def test_a_batch_is_its_pictures_one_by_one(self, cut):
        tokenizer = RegionTokenizer(Brightness(), tiles="anyres", cut=cut, cls=True, whole=True)
        pictures = [noise(*size, seed) for seed, size in enumerate(SIZES)]
        together = tokenizer(pictures)
        for place, picture in enumerate(pictures):
            alone, in_batch = tokenizer(picture), together[place]
            torch.testing.assert_close(in_batch.values, alone.values)
            for name in ("view", "region", "patch", "kind"):
                assert torch.equal(getattr(in_batch, name), getattr(alone, name))

    def test_views_of_a_run(self):
        run = RegionTokenizer(Brightness(), "merge(k=3)", tiles="1x2").run(
            [noise(56, 112), noise(56, 112, 1)]
        )
        assert [run.views(image) for image in (0, 1)] == [[0, 1], [2, 3]]
        assert [len(regions) for regions in run.regions] == [3] * 4
        assert run.tokens.counts.tolist() == [6, 6]

    def test_views_draw_apart(self):
        """Two views of one size must not be shuffled alike."""
        run = RegionTokenizer(Brightness(), "sort('random')", tiles="1x2", cut="tile").run(
            noise(56, 112)
        )
        orders = [tuple(regions.patch.tolist()) for regions in run.regions]
        assert len(set(orders)) == 3


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A tiny random CLIP tower of 42 x 42 pixels, saved as a checkpoint."""
    hub = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("clip")
    body = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "patch_size": 14,
        "intermediate_size": 64,
    }
    torch.manual_seed(0)
    tower = hub.CLIPVisionModel(hub.CLIPVisionConfig(**body, image_size=42)).eval()
    tower.save_pretrained(folder)
    crop = {"height": 42, "width": 42}
    hub.CLIPImageProcessorPil(size={"shortest_edge": 42}, crop_size=crop).save_pretrained(folder)
    return folder, tower


# LLaVA-NeXT's, for tiles of 42 pixels
PINPOINTS = ((42, 84), (84, 42), (84, 84), (126, 42), (42, 126))


@pytest.fixture(scope="module")
def processor():
    llava_next = pytest.importorskip(
        "transformers.models.llava_next.image_processing_pil_llava_next"
    )
    return llava_next.LlavaNextImageProcessorPil(
        size={"shortest_edge": 42},
        crop_size={"height": 42, "width": 42},
        image_grid_pinpoints=[list(pair) for pair in PINPOINTS],
    )


@pytest.fixture(scope="module")
def model(clip):
    hub = pytest.importorskip("transformers")
    text = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 32,
    }
    config = hub.LlavaNextConfig(
        vision_config=clip[1].config,
        text_config=hub.LlamaConfig(**text),
        image_grid_pinpoints=list(PINPOINTS),
    )
    return hub.LlavaNextModel(config)


class TestLlavaNext:
    """Against transformers' processor and model."""

    @pytest.mark.parametrize("size", SIZES)
    def test_tokens_and_their_order(self, clip, processor, model, size):
        folder, tower = clip
        picture = noise(*size, seed=size[0])
        tokenizer = RegionTokenizer(f"transformers({str(folder)!r}, layer=-2)", tiles="anyres")
        tokens = tokenizer(picture)
        inputs = processor(Image.fromarray(picture.pixels), return_tensors="pt")
        with torch.no_grad():
            seen = tower(inputs["pixel_values"][0], output_hidden_states=True).hidden_states[-2][
                :, 1:
            ]
        newline = tokenizer.head.newline.detach()
        expected, counts = model.pack_image_features(
            [seen], inputs["image_sizes"], "default", image_newline=newline
        )
        assert len(tokens) == int(counts[0])
        # in float32 on two layers; a tile shares its batch with others here and there
        torch.testing.assert_close(tokens.values.detach(), expected[0], atol=2e-5, rtol=0)

    @pytest.mark.parametrize("size", SIZES)
    def test_count_is_that_of_the_processor(self, clip, processor, size):
        from transformers.models.llava_next.processing_llava_next import LlavaNextProcessor

        from regiontok.model.mini import mini_tokenizer

        words = mini_tokenizer()
        whole = LlavaNextProcessor(
            processor,
            words,
            14,
            "default",
            image_token=words.pad_token,
            num_additional_image_tokens=1,
        )
        theirs = whole._get_num_multimodal_tokens([size], size={"height": 42, "width": 42})[
            "num_image_tokens"
        ]
        assert [len(RegionTokenizer(Brightness(42), tiles="anyres")(noise(*size)))] == theirs


class TestSettings:
    def test_round_trip_through_a_folder(self, tmp_path):
        tokenizer = RegionTokenizer(
            "filters(size=56)", tiles="anyres(2)", norm="rms", pool="select"
        )
        tokenizer.save_pretrained(tmp_path / "saved")
        again = RegionTokenizer.from_pretrained(tmp_path / "saved")
        assert again.settings == tokenizer.settings
        assert again.settings.tiles == "anyres(2)"
        assert again.regionizer.fingerprint == tokenizer.regionizer.fingerprint
        assert torch.equal(again(noise(60, 90)).values, tokenizer(noise(60, 90)).values)

    def test_from_recipe(self):
        table = {
            "what": "tiles",
            "tokenizer": {"encoder": "filters(size=56)", "tiles": "2x2+1", "cut": "tile"},
        }
        tokenizer = RegionTokenizer.from_recipe(resolve(table, name="tiles"))
        assert tokenizer(noise(60, 60)).counts.tolist() == [5 * 16]

    def test_fingerprint(self):
        kinds = [{}, {"tiles": "2x2"}, {"tiles": "2x2", "cut": "tile"}, {"tiles": "anyres"}]
        prints = [
            Regionizer("filters(size=56, framing='stretch')", **kind).fingerprint for kind in kinds
        ]
        assert len(set(prints)) == 4
        assert Regionizer("filters(size=56)", tiles="2x2+1").fingerprint == prints[1]

    def test_an_encoder_without_tiles_keeps_its_framing(self):
        assert Regionizer(Brightness()).encoder == Brightness()
        assert Regionizer(Brightness(), tiles="2x2").encoder == Brightness(framing="stretch")

    def test_tiles_that_do_not_exist(self):
        with pytest.raises(ValueError, match="rows x columns"):
            RegionTokenizer("filters", tiles="next")
        with pytest.raises(RecipeError, match=r"tiles: tiles must be grids.*'2by2'"):
            resolve({"what": "x", "tokenizer": {"tiles": "2by2"}}, name="tiles")
        with pytest.raises(
            ValueError, match=r"cut must be 'stitched' or 'tile', not 'tiles' \(did you mean 'tile'"
        ):
            RegionTokenizer("filters", tiles="2x2", cut="tiles")

    def test_encoders_that_cannot(self):
        with pytest.raises(ValueError, match="leave out framing='crop'"):
            Regionizer("filters(framing='crop')", tiles="2x2")
        with pytest.raises(ValueError, match="a canvas of one size; Naflex has none"):
            Regionizer("naflex('nowhere')", tiles="2x2")

    def test_tiles_that_are_not_whole_patches(self):
        with pytest.raises(
            ValueError,
            match=r"60 x 60 pixels are not whole patches of 14 x 14.*56 x 56, or cut='tile'",
        ):
            RegionTokenizer(Brightness(60), tiles="2x2")(noise(60, 60))
        run = RegionTokenizer(Brightness(60), tiles="2x2", cut="tile").run(noise(60, 60))
        assert [grid.grid for grid in run.grids] == [(4, 4)] * 5

    def test_clips_are_not_cut(self):
        clip = Clip.of([np.zeros((40, 40, 3), np.uint8)] * 2)
        with pytest.raises(ValueError, match="frames are not cut into tiles"):
            RegionTokenizer("filters(size=56)", "merge(0.5)", tiles="2x2")(clip)


def test_newlines_want_single_patches():
    tokenizer = RegionTokenizer(Brightness(), tiles="1x2")
    grids, members = Regionizer(Brightness(), steps="merge(k=3)", tiles="1x2")([noise(56, 112)])
    with pytest.raises(ValueError, match="regions of one patch each"):
        tokenizer.head(grids, members)


def test_what_is_learned_gets_a_gradient():
    tokenizer = RegionTokenizer(Brightness(), tiles="1x2", norm="rms")
    tokenizer(noise(56, 112)).values.square().sum().backward()
    assert tokenizer.head.newline.grad.abs().min() > 0
    torch.testing.assert_close(tokenizer.head.newline.grad, 2 * 4 * tokenizer.head.newline.detach())


@pytest.mark.parametrize("name", ["filters(size=56)", "lite"])
def test_encoders_that_standardise_see_all_tiles_at_once(name):
    """Left and right half of a picture of two colours: tile by tile each would be uniform."""
    pixels = np.zeros((56, 112, 3), np.uint8)
    pixels[:, :56] = (200, 40, 40)
    pixels[:, 56:] = (40, 40, 200)
    regionizer = Regionizer(name, steps="merge(k=2)", tiles="1x2")
    _, stitched = regionizer.see([Picture.of(pixels)])
    regions = regionizer.trails([stitched])[0][-1]
    (row,) = regions.labels.unique(dim=0)
    assert row.tolist() == sorted(row.tolist())
    # the network's convolutions end at the seam: there `lite` may be off by a patch
    assert abs(int((row == 0).sum()) - stitched.grid[1] // 2) <= (name == "lite")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["filters(size=56)", "lite"])
@pytest.mark.parametrize("cut", ["stitched", "tile"])
def test_a_uniform_picture_stays_one_region_a_view_beside_its_padding(name, cut):
    picture = Picture.of(np.full((40, 70, 3), (200, 180, 30), np.uint8))
    run = RegionTokenizer(name, "merge(0.5)", tiles="2x2", cut=cut).run(picture)
    assert [len(regions) for regions in run.regions] == [1] * len(run.grids)


class TestRegionVLM:
    """The language model sees the same views, also of kept features.

    Its newline travels with it.
    """

    @pytest.fixture(scope="class")
    @staticmethod
    def model():
        mini, vlm = (pytest.importorskip(f"regiontok.model.{name}") for name in ("mini", "vlm"))
        settings = TokenizerSettings(encoder="filters(size=56)", tiles="anyres")
        words = mini.mini_tokenizer()
        placeholder = words.convert_tokens_to_ids("<image>")
        return vlm.RegionVLM.from_parts(
            mini.mini_language_model(0), settings, image_token_id=placeholder
        ).eval()

    def test_kept_views_are_as_good_as_pictures(self, model):
        pictures = [noise(*size, seed) for seed, size in enumerate(SIZES[:3])]
        grids = [grid for picture in pictures[:2] for grid in model.regionizer.see([picture])]
        fresh, mixed = model.see(pictures), model.see([*grids, pictures[2]])
        expected = RegionTokenizer("filters(size=56)", tiles="anyres")(pictures)
        assert torch.equal(fresh.kind, expected.kind)
        assert torch.equal(fresh.counts, expected.counts)
        assert torch.equal(fresh.values, mixed.values)
        assert torch.equal(fresh.image, mixed.image)

    def test_saved_and_loaded(self, model, tmp_path):
        model.save_pretrained(tmp_path)
        again = type(model).from_pretrained(tmp_path).eval()
        assert torch.equal(again.head.newline, model.head.newline)
        assert torch.equal(again.see([noise(60, 90)]).values, model.see([noise(60, 90)]).values)


class TestTokenizeCommand:
    def run(self, tmp_path, **settings):
        Image.fromarray(noise(56, 112).pixels).save(tmp_path / "a.png")
        job = TokenizerSet(
            TokenizerSettings(encoder="filters(size=56)", **settings), ["merge(k=3)", "patches"]
        )
        images = collect([str(tmp_path / "a.png")])
        (done,) = tokenize_images(job, images, tmp_path / "out", writing=Writing(rle=True))
        assert done.error is None
        return done.report, tmp_path / "out" / "a.png"

    def test_report_and_regions(self, tmp_path):
        report, folder = self.run(tmp_path, tiles="1x2")
        assert report["grid"] == [4, 4]
        assert report["views"] == [[4, 4], [4, 8]]
        assert report["patches"] == 48
        merged, patches = report["settings"]
        assert (merged["regions"], merged["tokens"], merged["steps"][0]["regions"]) == (6, 6, 48)
        assert (patches["regions"], patches["tokens"]) == (48, 52)
        content = json.loads((folder / "merge-k-3.regions.json").read_text(encoding="utf-8"))
        assert [row["view"] for row in content["regions"]] == [0, 0, 0, 1, 1, 1]
        assert [view["grid"] for view in content["views"]] == [[4, 4], [4, 8]]
        assert len(content["masks"]) == 6
        assert (folder / "regions.webp").is_file()

    def test_one_view_is_told_as_ever(self, tmp_path):
        report, folder = self.run(tmp_path)
        content = json.loads((folder / "merge-k-3.regions.json").read_text(encoding="utf-8"))
        assert "views" not in report
        assert "views" not in content
        assert "view" not in content["regions"][0]

    def test_names_are_of_whole_images(self):
        with pytest.raises(ValueError, match="leave out the tiles"):
            TokenizerSet(TokenizerSettings(encoder="lite", tiles="2x2"), name_regions=True)
