"""The runners of `check --weights` give what transformers alone gives for the same checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from regiontok.jobs.check.runners import ELLIPSE_SIZES, draw_ellipse
from regiontok.jobs.check.slices import OutputSlice, SlicePhoto
from regiontok.jobs.check.weights import check_weights

hub = pytest.importorskip("transformers")

TEXTS = ("a photo of a cat", "blue circle")
POINT = {"points": ((200, 100),)}
BOXES = (
    ((10, 20, 200, 150), (100, 50, 400, 290)),
    ((5, 5, 100, 100), (50, 60, 200, 220)),
)
PHOTOS = {
    "deep/cat.png": SlicePhoto(("cat.png",), (300, 451)),
    "coffee.png": SlicePhoto(("no.jpg", "coffee.png"), (240, 240)),
}
# runner, photos, prompts
CASES: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "features": ("features", ["deep/cat.png"], {}),
    "clip": ("clip", ["deep/cat.png"], {"texts": TEXTS}),
    "siglip2": ("siglip2", [], {"texts": TEXTS}),
    "sam2 point": ("sam2", ["deep/cat.png"], {**POINT, "multimask": True}),
    "sam2 one mask": ("sam2", ["deep/cat.png"], {**POINT, "multimask": False}),
    "sam2 boxes": ("sam2", ["deep/cat.png", "coffee.png"], {"boxes": BOXES, "multimask": False}),
}


def outputs_of_transformers(
    runner: str, folder: Path, images: list[Image.Image], prompts: dict[str, Any]
) -> dict[str, torch.Tensor]:
    """The outputs as transformers alone makes them: its own processor, its own forward pass."""
    if runner == "sam2":
        return sam2_outputs(folder, images, prompts)
    processor = hub.AutoImageProcessor.from_pretrained(folder, backend="pil")
    pixels = processor(images, return_tensors="pt")
    if runner == "features":
        states = hub.Dinov2Model.from_pretrained(folder).eval()(**pixels).last_hidden_state
        return {"CLS and 2 patches, 3 channels": states[0, :3, :3]}
    padding = {"padding": True} if runner == "clip" else {}
    words = hub.AutoProcessor.from_pretrained(folder)(
        text=list(prompts["texts"]), return_tensors="pt", **padding
    )
    if runner == "clip":
        output = hub.CLIPModel.from_pretrained(folder).eval()(**pixels, **words)
        return {"logits per image": output.logits_per_image}
    output = hub.Siglip2Model.from_pretrained(folder).eval()(**pixels, **words)
    return {"logits per text": output.logits_per_text}


def sam2_outputs(
    folder: Path, images: list[Image.Image], prompts: dict[str, Any]
) -> dict[str, torch.Tensor]:
    if "boxes" in prompts:
        prompt_inputs = {"input_boxes": [list(map(list, boxes)) for boxes in prompts["boxes"]]}
    else:
        points = [[list(map(list, prompts["points"]))]]
        prompt_inputs = {"input_points": points, "input_labels": [[[1]]]}
    processor = hub.Sam2Processor.from_pretrained(folder)
    inputs = processor(images=images, **prompt_inputs, return_tensors="pt")
    model = hub.Sam2Model.from_pretrained(folder).eval()
    output = model(
        **{name: inputs[name] for name in ("pixel_values", *prompt_inputs)},
        multimask_output=prompts["multimask"],
    )
    if "boxes" in prompts:
        return {"IoU estimates": output.iou_scores[..., 0]}
    order = output.iou_scores[0, 0].argsort(descending=True)
    logits = output.pred_masks[0, 0, order[0], :3, :3]
    return {"IoU estimates": output.iou_scores[0, 0, order], "best mask's logits": logits}


@pytest.fixture(params=list(CASES))
def published(request, checkpoints, photos) -> OutputSlice:
    """A slice whose numbers transformers itself made from the tiny checkpoint."""
    runner, names, prompts = CASES[request.param]
    images = [Image.open(photos / name).convert("RGB") for name in names]
    images = images or [draw_ellipse(*size) for size in ELLIPSE_SIZES]
    with torch.no_grad():
        outputs = outputs_of_transformers(runner, checkpoints / "tiny" / runner, images, prompts)
    return OutputSlice(
        model=f"tiny/{runner}",
        runner=runner,
        expected={name: values.tolist() for name, values in outputs.items()},
        photos=tuple(PHOTOS[name] for name in names),
        prompts=prompts,
        atol=1e-4,
    )


@pytest.mark.slow
def test_a_checkpoint_holds_against_its_own_slice(published, checkpoints, photos):
    (verdict,) = check_weights([published], photos=photos, checkpoints=checkpoints)
    assert (verdict.state, verdict.why) == ("holds", "")
    assert verdict.off < 1e-4


@pytest.mark.slow
def test_another_checkpoint_fails_visibly(published, save_checkpoint, photos, tmp_path):
    save_checkpoint(published.runner, tmp_path / published.runner, 100)  # NAME without ORG
    noted = replace(published, note="noted")
    (verdict,) = check_weights([noted], photos=photos, checkpoints=tmp_path)
    assert (verdict.state, verdict.why) == ("fails", "noted")
    assert verdict.off > 1e-3
