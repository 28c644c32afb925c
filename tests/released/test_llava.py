"""Region tokens inside tiny random LLaVA, LLaVA-NeXT and LLaVA-OneVision.

The empty pipeline must equal the untouched model.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("transformers", minversion="5.18")

from transformers.utils import is_flash_attn_2_available

from regiontok.core.clip import Clip
from regiontok.core.picture import PictureError
from regiontok.released import ready_tokens
from regiontok.released.families import FAMILIES
from regiontok.released.family import check_model_type
from regiontok.released.loading import from_vlm
from regiontok.released.ready_tokens import with_placeholders
from regiontok.released.vlm import ReleasedVLM
from samples.llava_family import KINDS, PATCH, SIDE
from samples.llava_family import tiny_llava_family as released
from samples.pictures import blurred_photo
from samples.segmenters import BrightArea, NoMasks

PHOTOS = [blurred_photo(1, (50, 90)), blurred_photo(2, (70, 33)), blurred_photo(3, (64, 64))]
TEXTS = ["<s>What <image> is?", "<s>say", "<s>a <image> b <image>?"]


def untouched(kind: str, images, texts, side: str, attention: str = "sdpa"):
    """The released model's own inputs."""
    _, processor = released(kind, attention)
    return processor(
        images=images, text=list(texts), padding=True, padding_side=side, return_tensors="pt"
    )


@pytest.mark.slow
@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_empty_pipeline_is_the_untouched_model(kind: str, place: str) -> None:
    model, processor = released(kind)
    vlm = from_vlm(model, processor, pool_stage=place)
    for side in ("left", "right"):
        inputs = untouched(kind, PHOTOS, TEXTS, side)
        prompts = vlm.prepare(PHOTOS, TEXTS, side=side)
        assert torch.equal(prompts.input_ids, inputs["input_ids"])
        assert torch.equal(prompts.attention_mask, inputs["attention_mask"])
        with torch.no_grad():
            assert torch.equal(vlm(prompts).logits, model(**inputs).logits)
    inputs = untouched(kind, PHOTOS, TEXTS, "left")
    for beams in (1, 3):
        options = {"max_new_tokens": 4, "num_beams": beams, "do_sample": False}
        assert torch.equal(
            vlm.generate(images=PHOTOS, prompts=TEXTS, **options),
            model.generate(**inputs, **options),
        )


@pytest.mark.parametrize("attention", ["eager", "flash_attention_2"])
def test_other_attention_too(attention: str) -> None:
    if attention != "eager" and not (is_flash_attn_2_available() and torch.cuda.is_available()):
        pytest.skip("no flash attention here")
    model, processor = released("llava", attention)
    inputs = untouched("llava", PHOTOS, TEXTS, "left", attention)
    if attention != "eager":
        model = model.to("cuda", torch.bfloat16)
        inputs = inputs.to("cuda", torch.bfloat16)
    with torch.no_grad():
        assert torch.equal(
            from_vlm(model, processor)(images=PHOTOS, prompts=TEXTS).logits, model(**inputs).logits
        )


def test_half_precision_and_no_cache() -> None:
    model, processor = released("llava_next")
    half = copy.deepcopy(model).to(torch.bfloat16)
    inputs = untouched("llava_next", PHOTOS, TEXTS, "left")
    with torch.no_grad():
        ours = from_vlm(half, processor)(images=PHOTOS, prompts=TEXTS).logits
        assert torch.equal(ours, half(**inputs).logits)
    prompts = from_vlm(half, processor, regions="merge(0.5)").prepare(PHOTOS, TEXTS)
    assert {tokens.values.dtype for tokens in prompts.tokens} == {torch.bfloat16}
    vlm = from_vlm(model, processor, regions="merge(0.5)")
    cached, whole = (
        vlm.generate(
            images=PHOTOS,
            prompts=TEXTS,
            max_new_tokens=4,
            do_sample=False,
            suppress_tokens=[3],
            use_cache=use,
        )
        for use in (True, False)
    )
    assert torch.equal(cached, whole)


def test_onevision_gives_images_of_one_prompt_one_view_each_if_they_come_by_prompt() -> None:
    model, processor = released("llava_onevision")
    by_prompt = [[PHOTOS[0]], [], PHOTOS[1:]]
    inputs = untouched("llava_onevision", [[PHOTOS[0]], PHOTOS[1:]], TEXTS, "left")
    vlm = from_vlm(model, processor)
    prompts = vlm.prepare(by_prompt, TEXTS)
    assert inputs["batch_num_images"].tolist() == [1, 2]
    assert prompts.counts[1:] == [17, 17]  # 16 patches and a newline
    with torch.no_grad():
        assert torch.equal(vlm(prompts).logits, model(**inputs).logits)


@pytest.mark.slow
@pytest.mark.parametrize("cut", ["stitched", "tile"])
@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_with_regions_is_the_same_alone_and_in_a_batch(
    kind: str, place: str, cut: str
) -> None:
    model, processor = released(kind)
    vlm = from_vlm(model, processor, regions="merge(0.5)", pool_stage=place, cut=cut)
    full = from_vlm(model, processor).prepare(PHOTOS, TEXTS).counts
    mine = [[PHOTOS[0]], [], PHOTOS[1:]]
    flat = [[0], [], [1, 2]]
    with torch.no_grad():
        for side in ("left", "right"):
            prompts = vlm.prepare(PHOTOS, TEXTS, side=side)
            # whose own grid is shrunk before half of it is merged away
            if (kind, cut) != ("llava_onevision", "tile"):
                assert all(0 < few < many for few, many in zip(prompts.counts, full, strict=True))
            batch = vlm(prompts).logits
            for row, text in enumerate(TEXTS):
                if kind == "llava_onevision" and row == 2:
                    alone = vlm.prepare(
                        [
                            blurred_photo
                            for of_prompt in [PHOTOS[1:]]
                            for blurred_photo in of_prompt
                        ],
                        [text],
                    )
                else:
                    alone = vlm.prepare(mine[row] or None, [text])
                assert alone.counts == [prompts.counts[i] for i in flat[row]]
                there = prompts.attention_mask[row].bool()
                torch.testing.assert_close(
                    batch[row, there], vlm(alone).logits[0], atol=3e-5, rtol=1e-4
                )


def test_before_and_after_the_projector_differ_but_for_single_patches() -> None:
    model, processor = released("llava")
    values = {
        (place, regions): from_vlm(model, processor, regions=regions, pool_stage=place)
        .prepare(PHOTOS[0], "<image>")
        .tokens[0]
        .values
        for place in ("before", "after")
        for regions in ("", "windows(16)", "windows(4)")
    }
    torch.testing.assert_close(
        values["before", "windows(16)"], values["before", ""], atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(
        values["after", "windows(16)"], values["after", ""], atol=1e-5, rtol=1e-4
    )
    assert values["before", "windows(4)"].shape == (4, 32)
    assert (
        float((values["before", "windows(4)"] - values["after", "windows(4)"]).abs().max()) > 1e-3
    )


def test_regions_are_projected_means_of_the_models_own_features() -> None:
    model, processor = released("llava")
    inputs = untouched("llava", PHOTOS[0], ["<image>"], "left")
    with torch.no_grad():
        hidden = model.model.vision_tower(
            inputs["pixel_values"], output_hidden_states=True
        ).hidden_states[-2][0, 1:]
        # four windows of 2 x 2 patches
        cells = hidden.view(2, 2, 2, 2, -1).transpose(1, 2).flatten(0, 1).flatten(1, 2)
        expected = model.model.multi_modal_projector(cells.mean(1))
    prompts = from_vlm(model, processor, regions="windows(4, shape='grid')").prepare(
        PHOTOS[0], "<image>"
    )
    torch.testing.assert_close(prompts.tokens[0].values, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "cut"),
    [
        ("llava", "stitched"),
        ("llava_padded", "stitched"),
        ("llava_next", "stitched"),
        ("llava_next", "tile"),
        ("llava_onevision", "stitched"),
        ("llava_onevision", "tile"),
    ],
)
@pytest.mark.parametrize("size", [(48, 90), (90, 48), (61, 64), (200, 60)])
def test_a_bright_square_lands_on_the_patches_that_saw_it(
    kind: str, cut: str, size: tuple[int, int], monkeypatch
) -> None:
    """The tower is replaced by the mean brightness of each patch.

    It must equal what the mask covers of that patch.
    """
    model, processor = released(kind)
    monkeypatch.setattr(processor.image_processor, "resample", Image.Resampling.BOX)
    vlm = from_vlm(model, processor, regions="merge(0.5)", segmenter=BrightArea(), cut=cut)
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[size[0] // 4 : size[0] // 2, size[1] // 3 : size[1] // 3 + 20] = 255
    mask = torch.from_numpy(pixels[None, :, :, 0] > 128)
    mean, std = (
        torch.tensor(value)[:, None, None]
        for value in (processor.image_processor.image_mean, processor.image_processor.image_std)
    )
    inputs = untouched(kind, Image.fromarray(pixels), ["<image>"], "left")
    values = inputs["pixel_values"].reshape(-1, 3, SIDE, SIDE) * std + mean
    bright = torch.nn.functional.avg_pool2d(values[:, :1], PATCH)[:, 0]  # [views g g]

    def features(_inputs):
        rows = bright.flatten(1)[..., None].expand(-1, -1, 32).contiguous()
        projected = torch.zeros(_counts(vlm, inputs), 32)
        return rows, rows, [projected]

    monkeypatch.setattr(vlm.family, "_features", features)
    (seen,) = vlm.family.encode(inputs, [size], cut)
    grey = int(mean[0] * 255) / 255 if kind == "llava_padded" else 0.0  # the colour of padding
    for place, view in enumerate(seen.views):
        frame, brightness = view.grid.frame, view.grid.features[..., 0]
        expected = frame.to_grid(mask)[0] + grey * (1 - frame.content)
        # resizing with a box filter blurs by a pixel of eight; a grid that was shrunk bilinearly
        # reads about a patch further
        shrunk = place == 1 and kind == "llava_onevision" and cut == "stitched"
        assert float((brightness - expected).abs().max()) < (0.55 if shrunk else 0.13)
        if float(frame.to_grid(mask).max()) > 0.3:
            axes = torch.stack(
                torch.meshgrid(*(torch.arange(n).float() for n in frame.grid), indexing="ij")
            )
            centres = [
                (axes * grid.clamp(min=0)).sum((1, 2)) / grid.clamp(min=0).sum()
                for grid in (brightness, expected)
            ]
            torch.testing.assert_close(*centres, atol=0.1, rtol=0)


def _counts(vlm: ReleasedVLM, inputs) -> int:
    return int((inputs["input_ids"] == vlm.image_token_id).sum())


def test_segments_of_a_square_become_one_token_and_an_image_without_regions_none() -> None:
    model, processor = released("llava")
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[16:32, 32:64] = 255
    vlm = from_vlm(model, processor, regions="segments", segmenter=BrightArea())
    prompts = vlm.prepare(
        [pixels, np.zeros((40, 40, 3), np.uint8)], ["<s>x<image>y", "<s>x<image>y"]
    )
    assert prompts.counts == [1, 0]
    # second row of patches, third and fourth column
    assert prompts.tokens[0].regions[0].patch.tolist() == [6, 7]
    assert prompts.tokens[0].positions.tolist() == [[1.0, 2.5]]
    assert vlm.processor.decode(prompts.input_ids[1]).replace("<pad>", "") == "<s>xy"
    empty = from_vlm(model, processor, regions="segments", segmenter=NoMasks())
    assert len(empty.answer([pixels], ["<s>x<image>y"], max_new_tokens=2)) == 1


def test_a_cls_token_that_the_model_reads_is_in_no_region() -> None:
    model, processor = released("llava_full")
    untouched_tokens = from_vlm(model, processor).prepare(PHOTOS[0], "<image>").tokens[0]
    tokens = (
        from_vlm(model, processor, regions="windows(16)").prepare(PHOTOS[0], "<image>").tokens[0]
    )
    assert (len(untouched_tokens), len(tokens)) == (17, 16)
    torch.testing.assert_close(tokens.values, untouched_tokens.values[1:], atol=1e-5, rtol=1e-4)


def test_patches_of_a_region_with_select() -> None:
    model, processor = released("llava")
    vlm = from_vlm(
        model,
        processor,
        regions="segments",
        segmenter=BrightArea(),
        pool="select",
        pool_stage="after",
    )
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[16:32, 32:64] = 255
    tokens = vlm.prepare(pixels, "<image>").tokens[0]
    untouched_tokens = from_vlm(model, processor).prepare(pixels, "<image>").tokens[0]
    torch.testing.assert_close(tokens.values, untouched_tokens.values[[6, 7]])
    assert tokens.positions.tolist() == [[1, 2], [1, 3]]


def test_the_cut_of_tiles() -> None:
    model, processor = released("llava_next")
    stitched, tiles = (
        from_vlm(model, processor, regions="windows(4)", cut=cut)
        .prepare(PHOTOS[2], "<image>")
        .tokens[0]
        for cut in ("stitched", "tile")
    )
    assert stitched.grids == ((4, 4), (8, 8))
    assert tiles.grids == ((4, 4),) * 5
    assert (len(stitched), len(tiles)) == (8, 20)


@pytest.mark.parametrize("size", [(2, 90), (90, 2), (1, 64), (64, 1), (1, 300), (300, 1)])
@pytest.mark.parametrize("kind", ["llava_next", "llava_onevision"])
def test_a_strip_thinner_than_a_patch(kind: str, size: tuple[int, int]) -> None:
    """Both models cut its tiles off as padding; regions are those of the whole view."""
    image = blurred_photo(1, size)
    model, processor = released(kind)
    inputs = untouched(kind, [image], TEXTS[:1], "left")
    with torch.no_grad():
        own = model(**inputs).logits
        assert torch.equal(from_vlm(model, processor)(images=image, prompts=TEXTS[0]).logits, own)
    for cut in ("stitched", "tile"):
        vlm = from_vlm(model, processor, regions="windows(4)", cut=cut)
        tokens = vlm.prepare(image, TEXTS[0]).tokens[0]
        assert tokens.grids[0] == (4, 4)
        assert 4 <= len(tokens) < 4 * 8
        assert bool(tokens.values.isfinite().all())


def test_both_counts_are_named() -> None:
    model, processor = released("llava")
    vlm = from_vlm(model, processor)
    with pytest.raises(
        ValueError, match=r"hold 2 <image> \(by prompt: \[2\]\), but 1 images were given"
    ):
        vlm.prepare(PHOTOS[0], "<image><image>")
    with pytest.raises(
        ValueError, match=r"hold 0 <image> \(by prompt: \[0\]\), but 2 images were given"
    ):
        vlm.prepare(PHOTOS[:2], "hello")
    with pytest.raises(ValueError, match=r"hold 1 <image> .* but 0 images were given"):
        vlm.prepare(None, "<image>")
    with pytest.raises(
        ValueError, match=r"hold \[1, 1\] <image>, but \[2, 0\] images were given, prompt by prompt"
    ):
        vlm.prepare([PHOTOS[:2], []], ["<image>", "<image>"])
    with pytest.raises(PictureError):
        vlm.prepare(b"no image", "<image>")


def test_a_checkpoint_in_a_folder(tmp_path) -> None:
    model, processor = released("llava")
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    vlm = from_vlm(str(tmp_path), regions="merge(0.7)")
    assert (
        vlm.prepare(PHOTOS[0], "<image>").counts
        == from_vlm(model, processor, regions="merge(0.7)").prepare(PHOTOS[0], "<image>").counts
    )
    (tmp_path / "model.safetensors").rename(tmp_path / "kept")
    torch.save({"a": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="pickled weights only"):
        from_vlm(str(tmp_path))
    (tmp_path / "pytorch_model.bin").unlink()
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="damaged"):
        from_vlm(str(tmp_path))
    with pytest.raises(ValueError, match="no such folder"):
        from_vlm(str(tmp_path / "none"))


def test_what_is_refused(monkeypatch) -> None:
    model, processor = released("llava")
    with pytest.raises(ValueError, match="give its processor"):
        from_vlm(model)
    with pytest.raises(ValueError, match="pool_stage must be 'before' or 'after', not 'befor'"):
        from_vlm(model, processor, pool_stage="befor")
    with pytest.raises(ValueError, match="has weights to learn"):
        from_vlm(model, processor, pool="attend(heads=4)")
    with pytest.raises(ValueError, match="needs pixel masks"):
        from_vlm(model, processor, regions="segments")
    with pytest.raises(ValueError, match="give either"):
        from_vlm(model, processor).generate()
    with pytest.raises(ValueError, match="takes no mm_encoder_outputs"):
        from_vlm(model.model.language_model, processor)
    with pytest.raises(ValueError, match="'vipllava' is not one of gemma3, llava, llava_next"):
        check_model_type("vipllava", FAMILIES)
    without_cls = from_vlm(*released("llava_onevision"), regions="visionzip(4)")
    with pytest.raises(ValueError, match="chooses by the attention of CLS"):
        without_cls.prepare(PHOTOS[0], "<image>")
    right = from_vlm(model, processor).prepare(PHOTOS, TEXTS, side="right")
    with pytest.raises(ValueError, match="padding here: prepare"):
        from_vlm(model, processor).generate(right)
    with pytest.raises(ValueError, match="a clip has no placeholder"):
        from_vlm(model, processor).prepare(Clip.of([np.zeros((8, 8, 3), np.uint8)] * 2), "<image>")
    monkeypatch.setattr(ready_tokens.transformers, "__version__", "5.17.1")
    with pytest.raises(ValueError, match="ignores ready-made visual tokens in silence"):
        from_vlm(model, processor)


@pytest.mark.parametrize("kind", ["llava", "llava_full"])
def test_the_attention_of_cls_is_that_of_the_block_whose_output_is_read(kind) -> None:
    model, processor = released(kind, "eager")
    vlm = from_vlm(model, processor, regions="visionzip(4)")
    pixels = processor.image_processor(PHOTOS[:2], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        images = vlm.family.encode(
            {"pixel_values": pixels}, [p.size[::-1] for p in PHOTOS[:2]], "stitched"
        )
        weights = model.model.vision_tower(pixels, output_attentions=True).attentions[-2]
    assert vlm.prepare(PHOTOS[0], "<image>").counts == [4]
    for image, attention in zip(images, weights[:, :, 0, 1:].mean(1), strict=True):
        found = image.views[0].grid.cls_attention
        torch.testing.assert_close(found.flatten(), attention)


def test_one_run_of_placeholders_is_expanded() -> None:
    with pytest.raises(ValueError, match="expected one run"):
        with_placeholders("<r>xx<r>xx", "x", 2)
    with pytest.raises(ValueError, match="expected one run"):
        with_placeholders("none", "x", 2)


@pytest.mark.parametrize("kind", ["llava_next", "llava_onevision"])
def test_the_models_own_tokens_lie_where_the_family_says(kind: str) -> None:
    """Each token is what the projector gave for its patch of its view; a newline has no place."""
    vlm = from_vlm(*released(kind))
    prompts = vlm.prepare([[photo] for photo in PHOTOS], ["<image>"] * len(PHOTOS))
    inputs = vlm.processor.image_processor(PHOTOS, return_tensors="pt")
    sizes = [photo.size[::-1] for photo in PHOTOS]
    for image in vlm.family.encode(inputs, sizes, "stitched"):
        outputs = [view.projector_outputs[0].flatten(0, 1) for view in image.views]
        for token, (view, patch) in zip(
            image.model_tokens[0], image.token_places.tolist(), strict=True
        ):
            if patch >= 0:
                torch.testing.assert_close(token, outputs[view][patch], atol=1e-5, rtol=1e-4)
    newlines = [int((image.places[:, 1] < 0).sum()) for image in prompts.tokens]
    assert newlines == [image.grids[1][0] for image in prompts.tokens]
