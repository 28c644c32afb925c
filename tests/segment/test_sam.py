"""Sam: tiny random checkpoints of every family.

They are held against transformers' own mask-generation pipeline on the same weights.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from skimage import data as photos

from regiontok.core.picture import Picture
from regiontok.segment.prompted.everything import Candidates, CanvasPlacement, passing
from regiontok.segment.prompted.granularity import SEARCHES, Level, Search
from regiontok.segment.sam import Sam
from regiontok.settings.registry import build, render
from regiontok.settings.spec import SpecError
from regiontok.system import pretrained
from regiontok.system.need import MissingPackage
from samples.pictures import coffee

hub = pytest.importorskip("transformers")

BODY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
PROMPTS = {"image_size": 128, "patch_size": 16, "hidden_size": 32, "mask_input_channels": 4}
DECODER = {"hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 32}
NECK = {"fpn_hidden_size": 32, "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]]}
VIT = BODY | {
    "image_size": 128,
    "window_size": 4,
    "global_attn_indexes": [1],
    "output_channels": 32,
    "num_pos_feats": 16,
    "mlp_dim": 32,
}
HIERA = {
    "model_type": "sam2_hiera_det_model",
    "hidden_size": 8,
    "image_size": [128, 128],
    "blocks_per_stage": [1, 2, 2, 1],
    "embed_dim_per_stage": [8, 16, 32, 64],
    "num_attention_heads_per_stage": [1, 1, 2, 2],
    "window_size_per_stage": [4, 4, 4, 4],
    "global_attention_blocks": [4],
    "window_positional_embedding_background_size": [4, 4],
}
SAM3_VIT = BODY | {
    "model_type": "sam3_vit_model",
    "intermediate_size": 32,
    "image_size": 112,
    "pretrain_image_size": 112,
    "window_size": 4,
    "global_attn_indexes": [1],
}
PARTS = {"prompt_encoder_config": PROMPTS, "mask_decoder_config": DECODER}
HIERA_NECK = NECK | {"backbone_config": HIERA, "backbone_channel_list": [64, 32, 16, 8]}


def edgetam() -> Any:
    levels = {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]}
    backbone = hub.TimmWrapperConfig(architecture="repvit_m1", num_labels=2, model_args=levels)
    neck = NECK | {"backbone_channel_list": [384, 192, 96, 48], "backbone_config": backbone}
    return hub.EdgeTamModel(hub.EdgeTamConfig(vision_config=neck, **PARTS))


def sam3() -> Any:
    vision = NECK | {"model_type": "sam3_vision_model", "backbone_config": SAM3_VIT}
    prompts = PROMPTS | {"image_size": 112, "patch_size": 14}
    return hub.Sam3TrackerModel(
        hub.Sam3TrackerConfig(
            vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=DECODER
        )
    )


def padding() -> Any:
    side = {"height": 128, "width": 128}
    low = {"mask_size": {"longest_edge": 32}, "mask_pad_size": {"height": 32, "width": 32}}
    return hub.SamImageProcessor(size={"longest_edge": 128}, pad_size=side, **low)


def stretching() -> Any:
    return hub.Sam2ImageProcessor(
        size={"height": 128, "width": 128}, mask_size={"height": 32, "width": 32}
    )


MADE = {
    "sam": (lambda: hub.SamModel(hub.SamConfig(vision_config=VIT, **PARTS)), padding),
    "sam_hq": (
        lambda: hub.SamHQModel(
            hub.SamHQConfig(
                vision_config=VIT,
                prompt_encoder_config=PROMPTS,
                mask_decoder_config=DECODER | {"vit_dim": 32},
            )
        ),
        padding,
    ),
    "sam2": (lambda: hub.Sam2Model(hub.Sam2Config(vision_config=HIERA_NECK, **PARTS)), stretching),
    "edgetam": (edgetam, stretching),
    "sam3_tracker": (sam3, lambda: hub.Sam3ImageProcessor(size={"height": 112, "width": 112})),
}
STRETCHED = ["sam2", "edgetam", "sam3_tracker"]
FAMILIES = pytest.mark.parametrize("name", list(MADE))
LEVEL = {"points": 12, "iou": 0.3, "stability": 0.6}
astronaut = np.ascontiguousarray(photos.astronaut()[60:260, 120:320])
SQUARE = Picture.of(astronaut, "astronaut")
SHAPES = {"3:2": (96, 144), "2:3": (144, 96), "4:1": (48, 192), "1:1": (96, 96)}


def near_the_prompt(module: Any, _: Any, inputs: dict[str, Any], output: Any) -> Any:
    """Add a cone around the prompt to the logits.

    A random decoder's masks cover everything, whatever the prompt.
    """
    h, w = output.pred_masks.shape[-2:]
    # [b p x/y]
    points = (
        inputs["input_points"][:, :, 0].float() / module.config.prompt_encoder_config.image_size
    )
    y, x = torch.meshgrid((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing="ij")
    away = ((x - points[..., 0, None, None]) ** 2 + (y - points[..., 1, None, None]) ** 2).sqrt()
    reach = torch.tensor([0.05, 0.1, 0.2])[:, None, None]
    output.pred_masks = output.pred_masks + 8 * (1 - away[:, :, None] / reach)
    return output


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sams")
    for name, (make, processor) in MADE.items():
        seeds = torch.Generator().manual_seed(0)
        torch.manual_seed(0)
        module = make()
        # zeros and ones of the initialisation would hide a forgotten part
        for (
            where,
            weights,
        ) in module.named_parameters():
            if weights.ndim > 1:
                weights.data.normal_(0, weights[0].numel() ** -0.5, generator=seeds)
            else:
                weights.data.normal_(
                    float("norm" in where and where.endswith("weight")), 0.1, generator=seeds
                )
        hyper = module.mask_decoder.output_hypernetworks_mlps
        with torch.no_grad():
            size = processor().size
            side = size.get("height") or size["longest_edge"]
            some = module.eval()(
                pixel_values=torch.zeros(1, 3, side, side),
                input_points=torch.full((1, 1, 1, 2), 40.0),
            )
            # as loud as the cones, so that the picture and the weights decide as much as the prompt
            for mlp in hyper:
                for weights in mlp.proj_out.parameters():
                    weights /= some.pred_masks.std() / 2
        module.save_pretrained(root / name)
        processor().save_pretrained(root / name)
    return {name: root / name for name in MADE}


@pytest.fixture(scope="module")
def local(checkpoints: dict[str, Path]) -> dict[str, Any]:
    """The models as Sam holds them, with the cones; every Sam of the same folder shares them."""
    models = {name: Sam(str(folder))._model for name, folder in checkpoints.items()}
    for model in models.values():
        model.module.register_forward_hook(near_the_prompt, with_kwargs=True)
    return models


@pytest.fixture(scope="module")
def pipelines(checkpoints: dict[str, Path]) -> dict[str, Any]:
    by_name = {
        name: hub.pipeline("mask-generation", model=str(folder), device="cpu")
        for name, folder in checkpoints.items()
    }
    for pipe in by_name.values():
        pipe.model.register_forward_hook(near_the_prompt, with_kwargs=True)
    return by_name


def theirs(
    pipe: Any, photo: Picture, *, points: int, iou: float, stability: float
) -> SimpleNamespace:
    output = pipe(
        photo.pil, points_per_crop=points, pred_iou_thresh=iou, stability_score_thresh=stability
    )
    masks = (
        torch.stack(list(output["masks"]))
        if len(output["masks"])
        else torch.zeros(0, *photo.size, dtype=torch.bool)
    )
    return SimpleNamespace(masks=masks, scores=np.asarray(output["scores"], np.float64))


def overlap(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """IoU of each mask of `a` with the mask of `b` in the same place."""
    return (a & b).sum((1, 2)) / (a | b).sum((1, 2)).clamp(min=1)


def sam(folder: Path, granularity: str = "fast", **fields: Any) -> Sam:
    return Sam(str(folder), granularity, **(LEVEL | fields if granularity == "fast" else fields))  # type: ignore[arg-type]


def prompts_given(module: Any, run: Any) -> list[torch.Tensor]:
    """The prompts that a model is given while `run` runs, one tensor a call."""
    seen = []
    hook = module.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["input_points"]), with_kwargs=True
    )
    try:
        run()
    finally:
        hook.remove()
    return seen


# ---- against transformers -----------------------------------------------------------------------


@pytest.mark.slow
@FAMILIES
def test_exact_is_the_pipeline_on_square_pictures(name, checkpoints, local, pipelines):
    (masks,) = sam(checkpoints[name], exact=True)([SQUARE])
    other = theirs(pipelines[name], SQUARE, **LEVEL)
    everything = sam(checkpoints[name], iou=0.0, stability=0.0)([SQUARE])[0]
    assert 20 < len(masks) == len(other.masks) < len(everything)
    np.testing.assert_allclose(masks.scores, other.scores, atol=1e-5)
    assert overlap(masks.dense(), other.masks).min() > 0.999


@pytest.mark.parametrize("name", ["sam", "sam2"])
def test_exact_on_a_picture_smaller_than_the_canvas_with_prompts_that_fill_no_batch(
    name, checkpoints, local, pipelines
):
    photo = coffee(*SHAPES["1:1"])
    level = {"points": 7, "iou": 0.0, "stability": 0.4}
    (masks,) = sam(checkpoints[name], exact=True, **level)([photo])
    other = theirs(pipelines[name], photo, **level)
    assert 5 < len(masks) == len(other.masks)
    assert overlap(masks.dense(), other.masks).min() > 0.999


@pytest.mark.slow
@FAMILIES
def test_the_fast_path_finds_most_of_what_the_exact_one_finds(name, checkpoints, local):
    exact, fast = (sam(checkpoints[name], exact=exact)([SQUARE])[0] for exact in (True, False))
    a, b = exact.dense().flatten(1).float(), fast.dense().flatten(1).float()
    both = a @ b.T
    best = (both / (a.sum(1)[:, None] + b.sum(1) - both)).amax(1)
    # 0.72 to 0.86; a mask that both keep is the same to the pixel, so the rest were judged
    # differently
    assert best.mean() > 0.6
    assert (best > 0.999).float().mean() > 0.5


def test_stability_and_boxes_are_transformers():
    from transformers.models.sam2.image_processing_sam2 import (
        _batched_mask_to_box,
        _compute_stability_score,
    )

    logits = torch.randn(5, 3, 20, 30, generator=torch.Generator().manual_seed(0)) * 3 - 2
    logits[0, 0] = -9  # empty
    logits[0, 1] = 9  # full
    place = CanvasPlacement((20, 30), (64, 64), 64, padded=False)
    scores = torch.rand(5, 3, generator=torch.Generator().manual_seed(1))
    candidates = passing(logits, scores, Level(1, 0.4, 0.42), place, exact=True)
    stability = _compute_stability_score(logits, 0, 1)
    keep = (scores > 0.4) & (stability > 0.42)
    assert 0 < len(candidates) == keep.sum() < (scores > 0.4).sum()
    assert torch.equal(candidates.logits, logits[keep])
    assert torch.equal(candidates.scores, scores[keep])
    assert torch.equal(candidates.boxes, _batched_mask_to_box(logits > 0)[keep].float())
    everything = passing(logits, scores, Level(1, 0.0, 0.0), place, exact=True)
    assert torch.equal(everything.boxes, _batched_mask_to_box(logits > 0).flatten(0, 1).float())
    # here low resolution is the picture's
    low = passing(logits, scores, Level(1, 0.4, 0.42), place, exact=False)
    assert torch.equal(low.logits, logits[keep].half())
    assert torch.equal(
        low.boxes - candidates.boxes, torch.tensor([0.0, 0, 1, 1]).expand(len(low), 4)
    )


def test_of_two_boxes_that_nearly_agree_the_better_one_stays():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 6], [20, 20, 30, 30]])
    remaining = Candidates(
        torch.tensor([0.5, 0.9, 0.7, 0.1]), boxes, torch.arange(4.0)[:, None, None]
    ).distinct()
    assert remaining.logits.flatten().tolist() == [1, 2, 3]  # best first; 6/9 is below 0.7


# ---- where prompts lie --------------------------------------------------------------------------


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 40), st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_cell_of_the_picture_has_its_prompt(height, width, side, padded):
    inside = (
        (64, max(1, round(64 * width / height)))
        if height >= width
        else (max(1, round(64 * height / width)), 64)
    )
    place = CanvasPlacement((height, width), inside if padded else (64, 64), 64, padded)
    cells = place.prompts(side) / torch.tensor(place.inside[::-1]) * side
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    torch.testing.assert_close(
        cells, torch.stack([x, y], dim=-1).reshape(-1, 2) + 0.5, atol=1e-3, rtol=0
    )


@pytest.mark.slow
@pytest.mark.parametrize("shape", list(SHAPES))
@FAMILIES
def test_prompts_cover_a_picture_of_any_shape_in_its_own_places(name, shape, checkpoints, local):
    """A prompt's place on the model's canvas is the middle of its cell of the picture."""
    (h, w), model = SHAPES[shape], local[name]
    (points,) = prompts_given(
        model.module,
        lambda: sam(checkpoints[name], points=4, points_per_batch=16, iou=1.0)([coffee(h, w)]),
    )
    assert points.shape == (1, 16, 1, 2)
    for cell, (x, y) in enumerate(points[0, :, 0].tolist()):
        dot = np.zeros((h, w, 3), np.uint8)
        row, column = (cell // 4 + 0.5) * h / 4, (cell % 4 + 0.5) * w / 4
        dot[int(row - 1) : int(row + 1), int(column - 1) : int(column + 1)] = (
            255  # around a corner of four pixels
        )
        lit, dark = (
            model.processor(images=[Picture.of(pixels).pil], return_tensors="pt")
            for pixels in (dot, np.zeros_like(dot))
        )
        light = (lit["pixel_values"] - dark["pixel_values"])[0].sum(0)
        sides = [(torch.arange(side) + 0.5) for side in light.shape]
        middle = (
            (light.sum(0) * sides[1]).sum() / light.sum(),
            (light.sum(1) * sides[0]).sum() / light.sum(),
        )
        np.testing.assert_allclose((x, y), middle, atol=0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "axis", "share"), [("3:2", 1, 2 / 3), ("2:3", 0, 2 / 3), ("4:1", 1, 1 / 4)]
)
@pytest.mark.parametrize("name", STRETCHED)
def test_the_pipeline_leaves_part_of_such_pictures_without_prompts_and_we_do_not(
    name, shape, axis, share, checkpoints, local, pipelines
):
    photo = coffee(*SHAPES[shape])
    canvas = local[name].module.config.prompt_encoder_config.image_size
    ours = torch.cat(
        prompts_given(local[name].module, lambda: sam(checkpoints[name])([photo])), dim=1
    )
    other = torch.cat(
        prompts_given(pipelines[name].model, lambda: theirs(pipelines[name], photo, **LEVEL)), dim=1
    )
    assert other[..., axis].max() < share * canvas
    assert ours[..., axis].max() > (1 - 1 / 12) * canvas
    assert ours[..., 1 - axis].max() > (1 - 1 / 12) * canvas


@pytest.mark.slow
@pytest.mark.parametrize("shape", list(SHAPES))
@pytest.mark.parametrize("name", ["sam", "sam2"])
def test_masks_of_any_shape_reach_every_part(name, shape, checkpoints, local):
    photo = coffee(*SHAPES[shape])
    (masks,) = sam(checkpoints[name], iou=0.0, stability=0.0)([photo])
    assert masks.size == photo.size
    some = masks.dense().any(0)
    parts = [area for rows in some.tensor_split(4, 0) for area in rows.tensor_split(4, 1)]
    assert all(area.any() for area in parts)


# ---- the search among granularities -------------------------------------------------------------


@pytest.mark.parametrize(
    ("search", "counts_by_level", "tried", "chosen"),
    [
        ("study", {1: 80}, [1], 1),
        ("study", {1: 160}, [1], 1),
        ("study", {1: 161, 0: 100}, [1, 0], 0),
        ("study", {1: 400, 0: 161}, [1, 0], 0),  # the end, whatever it has
        ("study", {1: 79, 2: 160}, [1, 2], 2),
        ("study", {1: 10, 2: 20}, [1, 2], 2),
        ("study", {1: 0, 2: 0}, [1, 2], 2),
        ("study", {1: 60, 2: 400}, [1, 2], 1),  # would turn back: 80/60 is less than 400/160
        ("study", {1: 60, 2: 170}, [1, 2], 2),
        ("study", {1: 40, 2: 320}, [1, 2], 1),  # both are off by 2: the coarser
        ("study", {1: 0, 2: 9000}, [1, 2], 2),
        ("study", {1: 200, 0: 70}, [1, 0], 0),
        ("study2", {1: 70}, [1], 1),
        ("study2", {1: 63}, [1], 1),  # too few, and nothing finer
        ("study2", {1: 161, 0: 65}, [1, 0], 0),
        ("fast", {0: 0}, [0], 0),
    ],
)
def test_the_search(search, counts_by_level, tried, chosen):
    counts: dict[int, int] = {}
    level: int | None = SEARCHES[search].start
    while level is not None:
        counts[level] = counts_by_level[level]
        level = SEARCHES[search].after(counts)
    assert list(counts) == tried
    assert SEARCHES[search].chosen(counts) == chosen


def test_the_papers_settings():
    assert [tuple(level) for level in SEARCHES["study"].levels] == [
        (48, 0.6, 0.92),
        (64, 0.5, 0.9),
        (96, 0.4, 0.85),
    ]
    assert (SEARCHES["study"].start, SEARCHES["study"].bounds) == (1, (80, 160))
    assert (SEARCHES["study2"].levels, SEARCHES["study2"].bounds) == (
        SEARCHES["study"].levels[:2],
        (64, 160),
    )
    assert [tuple(level) for level in SEARCHES["fast"].levels] == [(24, 0.5, 0.9)]


def test_a_picture_is_encoded_once_and_each_picture_searches_for_itself(
    checkpoints, local, monkeypatch
):
    levels = (Level(4, 0.3, 0.6), Level(6, 0.3, 0.6), Level(12, 0.3, 0.6))
    monkeypatch.setitem(SEARCHES, "study", Search(levels, start=1, bounds=(21, 49)))
    photos = [SQUARE, coffee(*SHAPES["4:1"]), coffee(*SHAPES["2:3"])]
    folder, module = checkpoints["sam2"], local["sam2"].module
    fixed = [
        [len(sam(folder, points=level.points)([photo])[0]) for level in levels] for photo in photos
    ]
    encode, seen = type(module).get_image_embeddings, []
    monkeypatch.setattr(
        type(module),
        "get_image_embeddings",
        lambda self, pixels: seen.append(len(pixels)) or encode(self, pixels),
    )
    together = sam(folder, "study", batch=3)(photos)
    assert seen == [3]
    alone = [sam(folder, "study")([photo])[0] for photo in photos]
    assert [len(masks) for masks in together] == [len(masks) for masks in alone]
    # turned back, content, coarser
    assert [len(masks) for masks in alone] == [fixed[0][1], fixed[1][1], fixed[2][0]]
    assert all(
        overlap(masks.dense(), masks_alone.dense()).min() > 0.99
        for masks, masks_alone in zip(together, alone, strict=True)
    )


# ---- batches, sizes, types ----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sam", "sam_hq", "sam2"])
def test_batches_of_pictures_and_of_prompts_change_nothing(name, checkpoints, local):
    photos = [SQUARE, coffee(*SHAPES["3:2"]), coffee(*SHAPES["4:1"])]
    usual = {"points": 6, "iou": 0.0, "stability": 0.5}
    alone = [sam(checkpoints[name], **usual)([photo])[0] for photo in photos]
    for fields in ({"batch": 2}, {"batch": 3, "points_per_batch": 10}):
        for masks, masks_alone in zip(
            sam(checkpoints[name], **usual, **fields)(photos), alone, strict=True
        ):
            assert len(masks) == len(masks_alone) > 5
            np.testing.assert_allclose(masks.scores, masks_alone.scores, atol=1e-4)
            assert overlap(masks.dense(), masks_alone.dense()).min() > 0.99
    assert sam(checkpoints[name])([]) == []


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", ["sam", "sam2"])
def test_no_masks_are_an_answer(name, exact, checkpoints, local):
    (masks,) = sam(checkpoints[name], iou=1.0, exact=exact)([coffee(30, 40)])
    assert (len(masks), masks.size, masks.scores.tolist(), masks.dense().shape) == (
        0,
        (30, 40),
        [],
        (0, 30, 40),
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (300, 3)])
@pytest.mark.parametrize("name", ["sam", "sam2"])
def test_pictures_of_odd_sizes(name, size, checkpoints, local):
    (masks,) = sam(checkpoints[name], points=3, iou=0.0, stability=0.0)(
        [Picture.of(np.full((*size, 3), 90, np.uint8))]
    )
    assert masks.size == size
    assert len(masks) >= 1


def test_large_pictures_are_done_in_pieces(checkpoints, local, monkeypatch):
    (whole,) = sam(checkpoints["sam2"], exact=True)([SQUARE])
    monkeypatch.setattr("regiontok.segment.prompted.everything.PIECE_VALUES", 3 * 200 * 200)
    (pieces,) = sam(checkpoints["sam2"], exact=True)([SQUARE])
    assert whole.counts == pieces.counts


def test_half_precision_keeps_prompts_whole(checkpoints, local):
    folder = checkpoints["sam2"]
    half = sam(folder, dtype="bfloat16")
    module = half._model.module
    assert module.prompt_encoder.shared_embedding.positional_embedding.dtype == torch.float32
    assert next(module.vision_encoder.parameters()).dtype == torch.bfloat16
    encoded, whole = (model.encode([SQUARE]) for model in (half._model, local["sam2"]))
    prompts = whole.placements[0].prompts(6)[None]
    hook = module.register_forward_hook(near_the_prompt, with_kwargs=True)
    (logits, scores), (other, others) = (
        half._model.decode(encoded, prompts),
        local["sam2"].decode(whole, prompts),
    )
    hook.remove()
    assert logits.dtype == scores.dtype == torch.float32
    assert overlap((logits > 0).flatten(0, 2), (other > 0).flatten(0, 2)).mean() > 0.9
    torch.testing.assert_close(scores, others, atol=0.05, rtol=0)


@pytest.mark.slow
@FAMILIES
def test_half_precision_from_picture_to_masks(name, checkpoints, local):
    half = sam(checkpoints[name], dtype="bfloat16")
    hook = half._model.module.register_forward_hook(near_the_prompt, with_kwargs=True)
    (masks,), (whole,) = half([SQUARE]), sam(checkpoints[name])([SQUARE])
    hook.remove()
    assert 0.8 < len(masks) / len(whole) < 1.25
    a, b = masks.dense().flatten(1).float(), whole.dense().flatten(1).float()
    iou = (a @ b.T) / (a.sum(1)[:, None] + b.sum(1) - a @ b.T)
    assert iou.amax(1).mean() > 0.9


@pytest.mark.slow
@pytest.mark.skipif(
    not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))),
    reason="torch.compile wants a C++ compiler",
)
def test_compiled_gives_the_same_masks(checkpoints, local):
    photos = [SQUARE, coffee(*SHAPES["3:2"])]
    compiled = sam(checkpoints["sam2"], compile=True)
    module = compiled._model.module
    assert (module is local["sam2"].module, module.vision_encoder._compiled_call_impl is None) == (
        False,
        False,
    )
    hook = module.register_forward_hook(near_the_prompt, with_kwargs=True)
    compiled_masks = compiled(photos)
    hook.remove()
    for masks, plain_masks in zip(compiled_masks, sam(checkpoints["sam2"])(photos), strict=True):
        assert len(masks) == len(plain_masks) > 20
        np.testing.assert_allclose(masks.scores, plain_masks.scores, atol=1e-5)
        assert overlap(masks.dense(), plain_masks.dense()).min() > 0.999


# ---- loading ------------------------------------------------------------------------------------


@pytest.fixture
def copied(checkpoints, tmp_path) -> Path:
    return Path(shutil.copytree(checkpoints["sam2"], tmp_path / "copy"))


def test_a_video_checkpoint_is_read_as_its_image_model(copied, checkpoints):
    """facebook/sam2.1-hiera-large itself says sam2_video."""
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"model_type": "sam2_video"}))
    assert type(sam(copied)._model.module).__name__ == "Sam2Model"
    image_state, video_state = (
        sam(copied)._model.module.state_dict(),
        sam(checkpoints["sam2"])._model.module.state_dict(),
    )
    assert image_state.keys() == video_state.keys()
    assert all(torch.equal(image_state[name], video_state[name]) for name in image_state)


def test_checkpoints_that_make_no_masks_are_one_clear_error(copied):
    (copied / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(
        ValueError,
        match=r"model_type 'clip' cannot make masks from points; edgetam, .*sam2, .* can",
    ):
        sam(copied)([SQUARE])
    (copied / "config.json").write_text('{"model_type": "sam3"}')
    with pytest.raises(
        ValueError, match=r"'sam3' \(SAM 3's detector is prompted by words; its tracker makes masks"
    ):
        sam(copied)([SQUARE])
    (copied / "config.json").unlink()
    with pytest.raises(
        ValueError,
        match=r"has no config\.json: it is no folder that transformers' save_pretrained wrote",
    ):
        sam(copied)([SQUARE])


def test_missing_weights_are_never_random(copied):
    weights = load_file(copied / "model.safetensors")
    del weights["mask_decoder.iou_token.weight"]
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ValueError,
        match=r"1 weights of Sam2Model are not in the checkpoint .*: mask_decoder.iou_token.weight",
    ):
        sam(copied)([SQUARE])


def test_damaged_folders(copied):
    (copied / "preprocessor_config.json").unlink()
    with pytest.raises(
        ValueError, match=r"has no preprocessor_config\.json, which says how pixels are resized"
    ):
        sam(copied)([SQUARE])
    whole = (copied / "model.safetensors").read_bytes()
    (copied / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"damaged, or of other shapes than config\.json says"):
        sam(copied)([SQUARE])
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin.* not read"):
        sam(copied)([SQUARE])


def test_names_that_are_nowhere_and_a_missing_package(monkeypatch, checkpoints):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        ValueError, match="'nobody/no-such-sam' is neither a folder nor a model that the hub"
    ) as caught:
        Sam("nobody/no-such-sam")([SQUARE])
    assert "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        MissingPackage, match=r"which is not installed: pip install 'regiontok\[hub\]'"
    ):
        Sam(str(checkpoints["edgetam"]))([SQUARE])


def test_arguments():
    assert build("segmenter", "sam") == Sam()
    with pytest.raises(SpecError, match="granularity must be one of 'study'"):
        build("segmenter", "sam(granularity='tiny')")
    with pytest.raises(ValueError, match=r"granularity must be one of study, .*, got 'tiny'"):
        Sam(granularity="tiny")  # type: ignore[arg-type]
    with pytest.raises(
        ValueError,
        match="'study' searches among settings of its own, so points, iou cannot be given",
    ):
        Sam(points=8, iou=0.5)
    with pytest.raises(
        ValueError,
        match="batch, points_per_batch and points must be at least 1, got 0, 64 and None",
    ):
        Sam(batch=0)
    with pytest.raises(ValueError, match="stability must lie between 0 and 1, got 90"):
        Sam(granularity="fast", stability=90)


def test_identity_follows_the_weights_and_loads_no_model(checkpoints, copied):
    first = sam(checkpoints["sam2"])
    assert first.identity == sam(copied, exact=True, batch=4).identity
    assert "_model" not in vars(first)
    weights = load_file(copied / "model.safetensors")
    weights["no_memory_embedding"] += 1
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    assert sam(copied).identity != first.identity


@pytest.mark.slow
def test_one_model_in_memory_for_all_settings(checkpoints):
    first, second = sam(checkpoints["sam2"]), sam(checkpoints["sam2"], "study", exact=True)
    assert first._model is second._model
    assert first._model is not sam(checkpoints["sam2"], dtype="bfloat16")._model
    compiled = sam(checkpoints["sam2"], compile=True)  # compiles nothing before it is called
    assert first._model is not compiled._model
    assert (render(compiled, full=True), compiled.identity) == (
        render(first, full=True),
        first.identity,
    )
    assert len([key for key in pretrained._LOADED if key[0] == "sam"]) >= 1
