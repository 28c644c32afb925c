"""What a checkpoint puts out where numbers were published for it.

CLIP, DINOv2 and SigLIP2 go through regiontok's own encoders (decoding, framing, prefix tokens,
grid), whose features the checkpoint's own heads then take to the published output. SAM 2.1 goes
through the segmenter's own reading and image encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from regiontok.core.picture import Picture
from regiontok.methods import Encoder
from regiontok.segment.prompted.promptable import Promptable
from regiontok.system.need import need
from regiontok.system.pretrained import load_pretrained, quiet_transformers
from regiontok.tokenizer.regionizer import build_encoder

# checkpoint folder, pictures, prompts, device -> outputs by name
Runner = Callable[[Path, Sequence[Picture], Mapping[str, Any], str], dict[str, Tensor]]
ELLIPSE_SIZES = ((224, 224), (1024, 1024), (224, 1024))  # (H, W) of the SigLIP2 test's pictures


def run_features(
    folder: Path, pictures: Sequence[Picture], prompts: Mapping[str, Any], device: str
) -> dict[str, Tensor]:
    """The corner of the token sequence, prefix tokens first."""
    (grid,) = _encoder(folder, device).encode(pictures[:1])
    tokens = grid.features.flatten(0, 1)
    if grid.prefix is not None:
        tokens = torch.cat([grid.prefix, tokens])
    return {"CLS and 2 patches, 3 channels": tokens[:3, :3]}


def run_clip(
    folder: Path, pictures: Sequence[Picture], prompts: Mapping[str, Any], device: str
) -> dict[str, Tensor]:
    """CLS through the final norm and the projection, against the texts."""
    model = _model("CLIPModel", folder, device)
    grids = _encoder(folder, device).encode(pictures)
    cls = torch.stack([grid.prefix[0] for grid in grids if grid.prefix is not None])
    images = model.visual_projection(model.vision_model.post_layernorm(cls))
    cosine = _unit(images) @ _text_features(model, folder, prompts["texts"], padding=True).T
    return {"logits per image": cosine * model.logit_scale.exp()}


def run_siglip2(
    folder: Path, pictures: Sequence[Picture], prompts: Mapping[str, Any], device: str
) -> dict[str, Tensor]:
    """Patches of pictures of three shapes through attention pooling, against the texts."""
    model = _model("Siglip2Model", folder, device)
    drawn = [Picture.of(draw_ellipse(*size)) for size in ELLIPSE_SIZES]
    grids = _encoder(folder, device).encode(pictures or drawn)
    images = torch.cat(
        [model.vision_model.head(grid.features.flatten(0, 1)[None], None) for grid in grids]
    )
    cosine = _text_features(model, folder, prompts["texts"]) @ _unit(images).T
    return {"logits per text": cosine * model.logit_scale.exp() + model.logit_bias}


def run_sam2(
    folder: Path, pictures: Sequence[Picture], prompts: Mapping[str, Any], device: str
) -> dict[str, Tensor]:
    """Masks from points or boxes; the most confident first."""
    model = Promptable.load(folder, str(folder), torch.float32, device)
    encoded = model.encode(pictures)
    # canvas pixels for one pixel of the photo, (x, y)
    scales = [
        torch.tensor([place.inside[axis] / place.size[axis] for axis in (1, 0)])
        for place in encoded.placements
    ]
    if "boxes" in prompts:
        boxes = [
            torch.tensor(box) * scale.repeat(2)
            for box, scale in zip(prompts["boxes"], scales, strict=True)
        ]
        inputs = {"input_boxes": torch.stack(boxes).to(device)}
    else:
        points = torch.stack([torch.tensor(prompts["points"]) * scale for scale in scales])
        inputs = {"input_points": points[:, None].to(device)}
    output = model.module(**inputs, multimask_output=prompts["multimask"], **encoded.embeddings)
    if "boxes" in prompts:
        return {"IoU estimates": output.iou_scores.squeeze(-1)}
    scores = output.iou_scores[0, 0]
    order = scores.argsort(descending=True)
    return {
        "IoU estimates": scores[order],
        "best mask's logits": output.pred_masks[0, 0, order[0], :3, :3],
    }


RUNNERS: dict[str, Runner] = {
    "features": run_features,
    "clip": run_clip,
    "siglip2": run_siglip2,
    "sam2": run_sam2,
}


def draw_ellipse(height: int, width: int) -> Image.Image:
    """A blue disc with a green rim on red, as the SigLIP2 test draws it."""
    image = Image.new("RGB", (width, height), "red")
    x, y = width // 2, height // 2
    radius = min(x, y) // 8 * 7
    box = (x - radius, y - radius, x + radius, y + radius)
    ImageDraw.Draw(image).ellipse(box, fill="blue", outline="green", width=width // 20)
    return image


def _encoder(folder: Path, device: str) -> Encoder:
    return build_encoder(str(folder)).on(device)


def _model(class_name: str, folder: Path, device: str) -> Any:
    model_class = getattr(need("transformers", extra="hub"), class_name)
    model = load_pretrained(model_class, folder, str(folder), dtype=torch.float32)
    return model.to(device).eval()


def _text_features(model: Any, folder: Path, texts: Sequence[str], **options: Any) -> Tensor:
    """Unit vectors of the texts; `options` go to the processor."""
    with quiet_transformers():
        processor = need("transformers", extra="hub").AutoProcessor.from_pretrained(
            str(folder), local_files_only=True
        )
    inputs = processor(text=list(texts), return_tensors="pt", **options).to(model.device)
    features = model.get_text_features(**inputs)
    return _unit(getattr(features, "pooler_output", features))


def _unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=-1, keepdim=True)
