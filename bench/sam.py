"""SAM's everything-mode against transformers' own pipeline, on the same random weights and picture.

    python bench/sam.py --size toy
    python bench/sam.py --size small --points 16
    python bench/sam.py --size large --device cuda --dtype bfloat16 --compile   # SAM 2.1 large

Real weights are not needed for time, but a random decoder's masks cover everything, whatever the
prompt, and then nothing is suppressed or written as in earnest. So steep cones around the prompts
are added to its logits, in our runs and in the pipeline's. The threshold on the estimated IoU is
the median of the model's own estimates. "search" is granularity="study" at 1/4 of its prompts a
side, from one embedding. "encode" and "decode" are parts of "fast" alone: the encoder on pixels,
and all prompts from its embedding to logits. `--compile` is ours alone; "first" is then what the
first picture takes, compilation and all. The picture is square, so that the pipeline's prompts
cover it. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from skimage import data

from regiontok.core.picture import Picture
from regiontok.segment.prompted.granularity import SEARCHES, Search
from regiontok.segment.sam import Sam

LARGE = {
    "hidden_size": 144,
    "blocks_per_stage": [2, 6, 36, 4],
    "embed_dim_per_stage": [144, 288, 576, 1152],
    "num_attention_heads_per_stage": [2, 4, 8, 16],
    "window_size_per_stage": [8, 4, 16, 8],
    "global_attention_blocks": [23, 33, 43],
}
TOY = {
    "hidden_size": 8,
    "blocks_per_stage": [1, 2, 2, 1],
    "embed_dim_per_stage": [8, 16, 32, 64],
    "num_attention_heads_per_stage": [1, 1, 2, 2],
    "window_size_per_stage": [4, 4, 4, 4],
    "global_attention_blocks": [4],
}
# canvas, encoder ({}: Hiera tiny's), width of neck and decoder
SIZES: dict[str, tuple[int, dict[str, Any], int]] = {
    "toy": (128, TOY, 32),
    "small": (512, {}, 256),
    "large": (1024, LARGE, 256),
}


def checkpoint(folder: Path, size: str) -> None:
    """Save a SAM 2 of random weights."""
    canvas, encoder, width = SIZES[size]
    torch.manual_seed(0)
    backbone = {"model_type": "sam2_hiera_det_model", "image_size": [canvas, canvas], **encoder}
    neck = {
        "backbone_config": backbone,
        "backbone_channel_list": list(
            reversed(encoder.get("embed_dim_per_stage", [96, 192, 384, 768]))
        ),
        "backbone_feature_sizes": [[canvas // side, canvas // side] for side in (4, 8, 16)],
        "fpn_hidden_size": width,
    }
    config = transformers.Sam2Config(
        vision_config=neck,
        prompt_encoder_config={"image_size": canvas, "hidden_size": width},
        mask_decoder_config={"hidden_size": width, "iou_head_hidden_dim": width},
    )
    model = transformers.Sam2Model(config)
    for where, weights in model.named_parameters():
        if weights.ndim > 1:
            weights.data.normal_(0, weights[0].numel() ** -0.5)
        else:
            weights.data.normal_(float("norm" in where and where.endswith("weight")), 0.1)
    model.save_pretrained(folder)
    transformers.Sam2ImageProcessor(size={"height": canvas, "width": canvas}).save_pretrained(
        folder
    )


def cones(module: Any, _: Any, inputs: dict[str, Any], output: Any) -> Any:
    """Add a steep cone around each prompt to the logits, whose own spread is brought to 4."""
    logits = output.pred_masks
    h, w = logits.shape[-2:]
    points = (
        inputs["input_points"][:, :, 0].float() / module.config.prompt_encoder_config.image_size
    )
    line = (
        (torch.arange(h, device=logits.device) + 0.5) / h,
        (torch.arange(w, device=logits.device) + 0.5) / w,
    )
    y, x = torch.meshgrid(*line, indexing="ij")
    away = ((x - points[..., 0, None, None]) ** 2 + (y - points[..., 1, None, None]) ** 2).sqrt()
    reach = torch.tensor([0.03, 0.07, 0.15], device=logits.device)[:, None, None]
    output.pred_masks = logits * (4 / logits.std()) + 60 * (1 - away[:, :, None] / reach)
    # the pipeline hands the scores to torchvision's nms beside boxes in float32
    output.iou_scores = output.iou_scores.float()
    return output


def seconds(job: Callable[[], Any], runs: int, device: str) -> tuple[float, Any]:
    """The median time of a job and its last result, after a run that warms up.

    On a CPU, which others may share, it is the processor's time.
    """
    clock = time.process_time if device == "cpu" else time.perf_counter
    taken, result = [], None
    for _ in range(runs + 1):
        begin = clock()
        result = job()
        if device != "cpu":
            torch.cuda.synchronize()
        taken.append(clock() - begin)
    return statistics.median(taken[1:]), result


def agreement(some: torch.Tensor, others: torch.Tensor) -> tuple[float, float]:
    """How well some masks agree with others.

    Returns:
        The mean over masks of the best IoU with any of the others, and the share of masks where
        that is above 0.999.
    """
    a, b = some.flatten(1).float(), others.flatten(1).float()
    intersection = a @ b.T
    best = (intersection / (a.sum(1)[:, None] + b.sum(1) - intersection)).amax(1)
    return best.mean().item(), (best > 0.999).float().mean().item()


def main() -> None:
    words = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words.add_argument("--size", choices=list(SIZES), default="toy")
    words.add_argument("--points", type=int, default=24)
    words.add_argument("--stability", type=float, default=0.9)
    words.add_argument("--points-per-batch", type=int, default=64)
    words.add_argument("--device", default="cpu")
    words.add_argument(
        "--dtype",
        choices=["float32", "bfloat16"],
        default="float32",
        help="ours; the pipeline runs in the same",
    )
    words.add_argument(
        "--compile",
        action="store_true",
        help="ours through torch.compile; the pipeline stays as it is",
    )
    words.add_argument("--runs", type=int, default=3)
    options = words.parse_args()
    picture = Picture.of(np.ascontiguousarray(data.astronaut()), "astronaut")
    with tempfile.TemporaryDirectory() as folder:
        checkpoint(Path(folder), options.size)
        shared = {
            name: getattr(options, name)
            for name in ("device", "dtype", "points_per_batch", "compile")
        } | {"model": folder}
        first = Sam(**shared)
        model = first._model
        model.module.register_forward_hook(cones, with_kwargs=True)
        pipe = transformers.pipeline(
            "mask-generation",
            model=folder,
            device=options.device,
            dtype=getattr(torch, options.dtype),
        )
        pipe.model.register_forward_hook(cones, with_kwargs=True)
        begin = time.perf_counter()
        with torch.no_grad():
            encoded = model.encode([picture])
            few_prompts = encoded.placements[0].prompts(8)[None]
            iou = float(model.decode(encoded, few_prompts)[1].median().clamp(0, 1))
        first_picture = time.perf_counter() - begin
        level = {"points": options.points, "iou": iou, "stability": options.stability}
        study = SEARCHES["study"].levels
        coarse = tuple(step._replace(points=step.points // 4, iou=iou) for step in study)
        SEARCHES["study"] = Search(coarse, start=1, bounds=(80, 160))
        theirs = {
            "points_per_crop": options.points,
            "pred_iou_thresh": iou,
            "stability_score_thresh": options.stability,
        }
        theirs["points_per_batch"] = options.points_per_batch
        jobs: dict[str, Callable[[], Any]] = {
            "encode": lambda: model.module.get_image_embeddings(pixels),
            "decode": lambda: [
                model.decode(encoded, some[None])
                for some in prompts.split(options.points_per_batch)
            ],
            "fast": lambda: Sam(granularity="fast", **level, **shared)([picture])[0],
            "exact": lambda: Sam(granularity="fast", exact=True, **level, **shared)([picture])[0],
            "search": lambda: Sam(granularity="study", **shared)([picture])[0],
            "pipeline": lambda: pipe(picture.pil, **theirs),
        }
        pixels = model.processor(images=[picture.pil], return_tensors="pt")["pixel_values"].to(
            options.device, getattr(torch, options.dtype)
        )
        prompts = encoded.placements[0].prompts(options.points)
        figures: dict[str, Any] = {
            **vars(options),
            "iou": round(iou, 3),
            "machine": torch.cuda.get_device_name()
            if options.device != "cpu"
            else platform.machine(),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "first": first_picture,
        }
        results = {}
        for name, job in jobs.items():
            figures[name], results[name] = seconds(job, options.runs, options.device)
    dense = {name: results[name].dense() for name in ("fast", "exact", "search")}
    dense["pipeline"] = torch.stack(list(results["pipeline"]["masks"])).cpu()
    for name in jobs:
        count = f"{len(dense[name]):5d} masks" if name in dense else ""
        pace = figures["pipeline"] / figures[name]
        print(
            f"{name:9s} {1000 * figures[name]:10.1f} ms  {pace:6.1f} x the pipeline's pace  {count}"
        )
    pairs = [(ours, "pipeline") for ours in ("exact", "fast")]
    for mine, theirs in [*pairs, *(pair[::-1] for pair in pairs)]:
        figures[f"{mine} in {theirs}"] = mean, same = agreement(dense[mine], dense[theirs])
        print(f"{mine} in {theirs}: best IoU {mean:.4f} in the mean", end="")
        print(f", {same:.1%} of the masks to the pixel")
    figures["masks"] = {name: len(masks) for name, masks in dense.items()}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
