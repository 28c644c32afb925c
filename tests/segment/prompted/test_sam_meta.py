"""Sam against Meta's own `sam2` package, on one tiny random model, where a picture is not square.

transformers' pipeline leaves part of such pictures without prompts, so there is nothing in it to
compare with; Meta's `SAM2AutomaticMaskGenerator` covers them. To run this (its memory part is not
used, so no CUDA extension is needed):

    SAM2_BUILD_CUDA=0 pip install --no-build-isolation sam2==1.1.0
    pytest -m slow tests/segment/prompted/test_sam_meta.py

PyPI's sam2 1.1.0 was not uploaded by Meta, but its `sam2/` is that of
github.com/facebookresearch/sam2 at 2b90b9f, byte for byte.

What is found to differ: transformers resizes pixels to whole levels of 256 and Meta's package does
not; a mask whose stability is the threshold itself stays with Meta's and goes with transformers'
pipeline, and with ours. Given the same pixels, prompts and logits are the same, and so is the set
that `exact=True` keeps. By default Meta's generator fills no holes and cuts no crops, and nor do
we.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.segment.sam import Sam
from samples.pictures import coffee

pytestmark = pytest.mark.slow
hub = pytest.importorskip("transformers")
pytest.importorskip(
    "sam2", reason="Meta's package is compared with where it is installed: see the top of this file"
)

CANVAS, WIDTH = 128, 32
STAGES, TRUNK, WINDOWS = (1, 2, 2, 1), 8, (4, 4, 4, 4)
SHAPES = {"3:2": (128, 192), "2:3": (192, 128), "4:1": (64, 256)}
SHAPED = pytest.mark.parametrize("shape", list(SHAPES))
# Where the memory of a video would be used, and nothing else of Meta's model, transformers' image
# model has no weights.
OF_VIDEOS = {"maskmem_tpos_enc", "no_mem_pos_enc"}


def picture(shape: str) -> Picture:
    h, w = SHAPES[shape]
    return coffee(h, w, top=60, left=120)


# ---- one model, twice ---------------------------------------------------------------------------


def huggingface() -> Any:
    """A SAM 2 of transformers with the sizes that Meta's classes have built in.

    They are 8 heads and 2048 and 256 hidden units in the decoder, and 16 channels for masks.
    """
    trunk = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": TRUNK,
        "image_size": [CANVAS, CANVAS],
        "blocks_per_stage": list(STAGES),
        "embed_dim_per_stage": [TRUNK * 2**stage for stage in range(4)],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "window_size_per_stage": list(WINDOWS),
        "global_attention_blocks": [4],
        "window_positional_embedding_background_size": [4, 4],
    }
    neck = {
        "backbone_config": trunk,
        "backbone_channel_list": [TRUNK * 2**stage for stage in (3, 2, 1, 0)],
        "backbone_feature_sizes": [[CANVAS // side] * 2 for side in (4, 8, 16)],
        "fpn_hidden_size": WIDTH,
    }
    prompts = {"image_size": CANVAS, "hidden_size": WIDTH, "mask_input_channels": 16}
    decoder = {
        "hidden_size": WIDTH,
        "mlp_dim": 2048,
        "num_attention_heads": 8,
        "iou_head_hidden_dim": 256,
    }
    config = hub.Sam2Config(
        vision_config=neck, prompt_encoder_config=prompts, mask_decoder_config=decoder
    )
    torch.manual_seed(0)
    module = hub.Sam2Model(config).eval()
    # zeros and ones of the initialisation would hide a forgotten part
    for (
        where,
        weights,
    ) in module.named_parameters():
        if weights.ndim > 1:
            weights.data.normal_(0, weights[0].numel() ** -0.5)
        else:
            weights.data.normal_(float("norm" in where and where.endswith("weight")), 0.1)
    # positions of the canvas and of prompts: one matrix in Meta's model, and twice the same in
    # transformers' conversions
    module.shared_image_embedding.load_state_dict(
        module.prompt_encoder.shared_embedding.state_dict()
    )
    with torch.no_grad():
        some = module(
            pixel_values=torch.zeros(1, 3, CANVAS, CANVAS),
            input_points=torch.full((1, 1, 1, 2), 40.0),
        )
        for mlp in module.mask_decoder.output_hypernetworks_mlps:  # as loud as the cones
            for weights in mlp.proj_out.parameters():
                weights /= some.pred_masks.std() / 2
    return module


def meta() -> nn.Module:
    """SAM 2.1's image model by Meta's classes, put together as `sam2.1_hiera_t.yaml` says."""
    from sam2.modeling.backbones.hieradet import Hiera
    from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
    from sam2.modeling.position_encoding import PositionEmbeddingSine
    from sam2.modeling.sam2_base import SAM2Base

    trunk = Hiera(
        embed_dim=TRUNK,
        num_heads=1,
        stages=STAGES,
        window_spec=WINDOWS,
        global_att_blocks=(4,),
        window_pos_embed_bkg_spatial_size=(4, 4),
    )
    neck = FpnNeck(
        position_encoding=PositionEmbeddingSine(num_pos_feats=WIDTH, normalize=True),
        d_model=WIDTH,
        backbone_channel_list=[TRUNK * 2**stage for stage in (3, 2, 1, 0)],
        fpn_top_down_levels=[2, 3],
        fpn_interp_model="nearest",
    )
    return SAM2Base(
        ImageEncoder(trunk, neck, scalp=1),
        memory_attention=None,
        memory_encoder=None,
        image_size=CANVAS,
        directly_add_no_mem_embed=True,
        use_high_res_features_in_sam=True,
        multimask_output_in_sam=True,
        iou_prediction_use_sigmoid=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
    ).eval()


# From transformers' names to Meta's: the way of transformers' own conversion script, backwards.
RENAMED = [
    (r"^vision_encoder\.backbone\.", "image_encoder.trunk."),
    (r"^vision_encoder\.neck\.convs\.(\d)\.", r"image_encoder.neck.convs.\1.conv."),
    (r"^no_memory_embedding$", "no_mem_embed"),
    (r"^(prompt_encoder|mask_decoder)\.", r"sam_\1."),
    (r"shared_embedding\.positional_embedding", "pe_layer.positional_encoding_gaussian_matrix"),
    (r"mask_embed\.conv([123])", lambda match: f"mask_downscaling.{3 * int(match[1]) - 3}"),
    (r"mask_embed\.layer_norm([12])", lambda match: f"mask_downscaling.{3 * int(match[1]) - 2}"),
    (r"upscale_conv([12])", lambda match: f"output_upscaling.{3 * int(match[1]) - 3}"),
    (r"upscale_layer_norm", "output_upscaling.1"),
    (r"patch_embed\.projection", "patch_embed.proj"),
    (r"layer_norm", "norm"),
    (r"\.o_proj\.", ".out_proj."),
    (r"(_head|_mlps\.\d)\.layers\.0\.", r"\1.layers.1."),  # three layers
    (r"(_head|_mlps\.\d)\.proj_out\.", r"\1.layers.2."),
    (r"\.mlp\.proj_out\.", ".mlp.layers.1."),  # two layers
    (r"\.proj_in\.", ".layers.0."),
]


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights under Meta's names.

    Point embeddings stand one by one, and the positions of the canvas once.
    """
    tensors = {}
    for name, value in weights.items():
        for pattern, other in RENAMED:
            name = re.sub(pattern, other, name)
        tensors[name] = value
    del tensors["shared_image_embedding.positional_embedding"]  # the prompt encoder's, once more
    points = tensors.pop("sam_prompt_encoder.point_embed.weight")
    return tensors | {
        f"sam_prompt_encoder.point_embeddings.{index}.weight": row[None]
        for index, row in enumerate(points)
    }


def cones(logits: Tensor, points: Tensor) -> Tensor:
    """Logits `[p o h w]` with a cone added around each prompt `[p x/y]`, in canvas pixels.

    A random decoder's masks cover everything.
    """
    line = (torch.arange(logits.shape[-1]) + 0.5) / logits.shape[-1]
    y, x = torch.meshgrid(line, line, indexing="ij")
    away = (
        (x - points[:, 0, None, None] / CANVAS) ** 2 + (y - points[:, 1, None, None] / CANVAS) ** 2
    ).sqrt()
    return logits + 8 * (1 - away[:, None] / torch.tensor([0.05, 0.1, 0.2])[:, None, None])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sam2")
    huggingface().save_pretrained(root)
    side = {"height": CANVAS, "width": CANVAS}
    hub.Sam2ImageProcessor(
        size=side, mask_size={"height": CANVAS // 4, "width": CANVAS // 4}
    ).save_pretrained(root)
    return root


@pytest.fixture(scope="module")
def ours(folder: Path) -> Any:
    """The model that every Sam of the folder shares, with the cones."""
    model = Sam(str(folder))._model

    def hook(_: Any, __: Any, inputs: dict[str, Any], output: Any) -> Any:
        output.pred_masks = torch.stack(
            [
                cones(logits, points[:, 0])
                for logits, points in zip(output.pred_masks, inputs["input_points"], strict=True)
            ]
        )
        return output

    model.module.register_forward_hook(hook, with_kwargs=True)
    return model


@pytest.fixture(scope="module")
def theirs(ours: Any) -> nn.Module:
    """The same weights in Meta's classes, with the same cones."""
    model = meta()
    missing, unexpected = model.load_state_dict(renamed(ours.module.state_dict()), strict=False)
    assert (set(missing), unexpected) == (OF_VIDEOS, [])
    asked: list[Tensor] = []
    model.sam_prompt_encoder.register_forward_pre_hook(
        lambda _, __, inputs: asked.append(inputs["points"][0][:, 0]), with_kwargs=True
    )
    model.sam_mask_decoder.register_forward_hook(
        lambda _, __, output: (cones(output[0], asked.pop()), *output[1:])
    )
    return model


def generator(theirs: nn.Module, **settings: Any) -> Any:
    from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator

    meta = SAM2AutomaticMaskGenerator(theirs, **settings)
    # written down for 1024 pixels there
    meta.predictor._bb_feat_sizes = [(CANVAS // side,) * 2 for side in (4, 8, 16)]
    return meta


def same_pixels(meta: Any, ours: Any) -> None:
    """Make Meta's predictor see a picture as transformers' image processor resizes it."""
    meta.predictor._transforms.to_tensor = lambda photo: ours.processor(
        images=[photo], return_tensors="pt"
    )["pixel_values"][0]
    meta.predictor._transforms.transforms = nn.Identity()


# ---- what comes out -----------------------------------------------------------------------------


def logits_of_both(photo: Picture, meta: Any, ours: Any) -> tuple[Tensor, ...]:
    """Prompts, low-resolution logits and scores at 6 x 6 prompts: ours, then theirs."""
    with torch.no_grad():
        encoded = ours.encode([photo])
        prompts = encoded.placements[0].prompts(6)
        (logits,), (scores,) = ours.decode(encoded, prompts[None])
        meta.predictor.set_image(photo.pixels.copy())
        grid = torch.as_tensor(meta.point_grids[0] * photo.size[::-1], dtype=torch.float32)
        asked = meta.predictor._transforms.transform_coords(
            grid, normalize=True, orig_hw=photo.size
        )
        _, others, low = meta.predictor._predict(
            asked[:, None], torch.ones(36, 1, dtype=torch.int), return_logits=True
        )
    # Meta's predictor clamps what it returns, after thresholds
    return (prompts, logits.clamp(-32, 32), scores, asked, low, others)


@SHAPED
def test_the_same_pixels_give_the_same_prompts_logits_and_scores(shape, ours, theirs):
    meta = generator(theirs, points_per_side=6)
    same_pixels(meta, ours)
    prompts, logits, scores, asked, low, others = logits_of_both(picture(shape), meta, ours)
    torch.testing.assert_close(prompts, asked, atol=1e-4, rtol=0)  # canvas pixels
    assert (logits.std() > 3, scores.std() > 0.02) == (True, True)
    torch.testing.assert_close(logits, low, atol=1e-3, rtol=0)
    torch.testing.assert_close(scores, others, atol=1e-5, rtol=0)


@SHAPED
def test_its_own_pixels_are_off_by_up_to_a_level_and_so_logits_differ_a_little(shape, ours, theirs):
    meta, photo = generator(theirs, points_per_side=6), picture(shape)
    level = 1 / 255 / 0.225  # of the channel with the smallest deviation
    pixels = ours.processor(images=[photo.pil], return_tensors="pt")["pixel_values"][0]
    # half a level where one side changes, a whole one where both do: each pass rounds
    assert 0 < (pixels - meta.predictor._transforms(photo.pixels.copy())).abs().max() < 1.01 * level
    _, logits, scores, _, low, others = logits_of_both(photo, meta, ours)
    assert 1e-3 < (logits - low).abs().max() < 0.5
    torch.testing.assert_close(scores, others, atol=2e-3, rtol=0)


def best(some: Tensor, others: Tensor) -> Tensor:
    """For each mask its best IoU with one of the others."""
    a, b = some.flatten(1).float(), others.flatten(1).float()
    both = a @ b.T
    return (both / (a.sum(1)[:, None] + b.sum(1) - both)).amax(1)


def masks_of_meta(meta: Any, photo: Picture) -> tuple[Tensor, list[dict[str, Any]]]:
    """The masks of Meta's generator, dense, and all that it says of each."""
    records = meta.generate(photo.pixels.copy())
    return torch.stack([torch.from_numpy(record["segmentation"]) for record in records]), records


def everything(folder: Path, photo: Picture, stability: float, *, exact: bool) -> PixelMasks:
    return Sam(str(folder), "fast", points=12, iou=0.3, stability=stability, exact=exact)([photo])[
        0
    ]


@SHAPED
def test_the_same_pixels_give_the_same_kept_masks(shape, folder, ours, theirs):
    photo = picture(shape)
    meta = generator(theirs, points_per_side=12, pred_iou_thresh=0.3, stability_score_thresh=0.618)
    same_pixels(meta, ours)
    other, records = masks_of_meta(meta, photo)
    masks = everything(folder, photo, 0.618, exact=True)
    assert 100 < len(masks) == len(records) < len(everything(folder, photo, 0.0, exact=True))
    np.testing.assert_allclose(
        masks.scores, [record["predicted_iou"] for record in records], atol=1e-5
    )
    dense = masks.dense()
    assert ((dense & other).sum((1, 2)) / (dense | other).sum((1, 2))).min() > 0.999


@SHAPED
def test_a_mask_at_the_threshold_itself_is_all_that_meta_keeps_beside_ours(
    shape, folder, ours, theirs
):
    photo = picture(shape)
    meta = generator(theirs, points_per_side=12, pred_iou_thresh=0.3, stability_score_thresh=0.6)
    same_pixels(meta, ours)
    other, records = masks_of_meta(meta, photo)
    dense = everything(folder, photo, 0.6, exact=True).dense()
    assert best(dense, other).min() > 0.999
    extra = [
        records[index]["stability_score"]
        for index in (best(other, dense) <= 0.999).nonzero()[:, 0].tolist()
    ]
    assert (len(extra), extra) == (len(other) - len(dense), [float(np.float32(0.6))] * len(extra))


@SHAPED
def test_with_its_own_pixels_nearly_the_same_masks_are_kept(shape, folder, ours, theirs):
    photo = picture(shape)
    meta = generator(theirs, points_per_side=12, pred_iou_thresh=0.3, stability_score_thresh=0.618)
    other, _ = masks_of_meta(meta, photo)
    # stability measured on 32 x 32 is coarse
    for exact, mean, share in ((True, 0.98, 0.97), (False, 0.7, 0.6)):
        dense = everything(folder, photo, 0.618, exact=exact).dense()
        for some, others in ((dense, other), (other, dense)):
            ious = best(some, others)
            assert ious.mean() > mean
            assert (ious > 0.9).float().mean() > share
