"""A mask-generation checkpoint of transformers: pictures to embeddings, point prompts to masks."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regiontok.core.picture import Picture
from regiontok.segment.prompted.everything import CanvasPlacement
from regiontok.system.checkpoint import read_json
from regiontok.system.devices import resolve_device
from regiontok.system.need import need
from regiontok.system.pretrained import load_pretrained, quiet_transformers

if TYPE_CHECKING:
    from jaxtyping import Float

# what the mask decoder calls the embeddings; the second are SAM-HQ's, which alone returns a tuple
EMBEDDINGS = ("image_embeddings", "intermediate_embeddings")


@dataclass(frozen=True, eq=False)
class EncodedPictures:
    """Pictures that the image encoder has seen.

    Attributes:
        embeddings: what the mask decoder needs of the pictures, by its argument's name.
        placements: where each picture lies on the canvas.
    """

    embeddings: dict[str, Any]
    placements: tuple[CanvasPlacement, ...]

    def take(self, rows: Sequence[int]) -> EncodedPictures:
        """Some of the pictures."""
        placements = tuple(self.placements[row] for row in rows)
        return EncodedPictures(_rows(self.embeddings, list(rows)), placements)


@dataclass(frozen=True, eq=False)
class Promptable:
    """A model that makes masks from points, and its image processor."""

    module: Any
    processor: Any
    device: str

    @classmethod
    def load(
        cls, folder: Path, model: str, dtype: torch.dtype, device: str, *, compiled: bool = False
    ) -> Promptable:
        """Read a checkpoint.

        Args:
            folder: where it lies.
            model: what messages call it.
            dtype: type of the weights; prompts stay in float32.
            device: where the model runs.
            compiled: whether torch.compile makes kernels of its own for encoder and decoder, at
                their first calls.

        Raises:
            ValueError: If it cannot be read, lacks weights, or is of a family that makes no masks
                from points.
        """
        check_makes_masks(folder, model)
        auto = need("transformers", extra="hub").AutoModelForMaskGeneration
        module = load_pretrained(auto, folder, model, dtype=torch.float32)
        if dtype != torch.float32:
            # Prompts stay in float32: in bfloat16 a point of a 1024-pixel canvas would be off by up
            # to 4 pixels. The decoder casts them.
            positions = deepcopy(module.prompt_encoder.shared_embedding)
            module = module.to(dtype)
            module.prompt_encoder.shared_embedding = positions
        module = module.to(resolve_device(device)).eval().requires_grad_(False)
        if compiled:
            # Apart, as the prompt encoder between them takes no time. The granularities' prompts
            # fill batches of 64, so that shapes stay.
            module.vision_encoder.compile()
            module.mask_decoder.compile()
        return cls(module, sam_processor(folder), device)

    def encode(self, pictures: Sequence[Picture]) -> EncodedPictures:
        """Run the image encoder, once for all prompts."""
        inputs = self.processor(images=[picture.pil for picture in pictures], return_tensors="pt")
        dtype = next(self.module.mask_decoder.parameters()).dtype
        pixels = inputs["pixel_values"].to(self.device, dtype)
        side = pixels.shape[-1]
        padded = "reshaped_input_sizes" in inputs
        insides = (
            inputs["reshaped_input_sizes"].tolist() if padded else [(side, side)] * len(pictures)
        )
        placements = tuple(
            CanvasPlacement(picture.size, tuple(inside), side, padded=padded)
            for picture, inside in zip(pictures, insides, strict=True)
        )
        outputs = self.module.get_image_embeddings(pixels)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return EncodedPictures(dict(zip(EMBEDDINGS, outputs, strict=False)), placements)

    def decode(
        self, encoded: EncodedPictures, prompts: Float[Tensor, "b p 2"]
    ) -> tuple[Float[Tensor, "b p o h w"], Float[Tensor, "b p o"]]:
        """The masks of each prompt as logits, and the model's estimates of their IoU; float32."""
        output = self.module(
            input_points=prompts[:, :, None].to(self.device),
            multimask_output=True,
            **encoded.embeddings,
        )
        return output.pred_masks.float(), output.iou_scores.float()


def check_makes_masks(folder: Path, model: str) -> None:
    """Raise ValueError unless the folder is a checkpoint of a family that masks points."""
    need("transformers", extra="hub")
    names = need("transformers.models.auto.modeling_auto", extra="hub")
    families = names.MODEL_FOR_MASK_GENERATION_MAPPING_NAMES
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(
            f"{folder} has no config.json: it is no folder that transformers' save_pretrained wrote"
        )
    model_type = read_json(path).get("model_type")
    if model_type not in families:
        detector = (
            " (SAM 3's detector is prompted by words; its tracker makes masks from points)"
            if model_type == "sam3"
            else ""
        )
        raise ValueError(
            f"{model}: model_type {model_type!r}{detector} cannot make masks from points; "
            f"{', '.join(sorted(families))} can"
        )


def sam_processor(folder: Path) -> Any:
    """The checkpoint's own image processor, the one transformers' pipeline takes.

    Raises:
        ValueError: If the folder has none.
    """
    auto = need("transformers", extra="hub").AutoImageProcessor
    try:
        with quiet_transformers():
            return auto.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    except OSError:
        raise ValueError(
            f"{folder} has no preprocessor_config.json, which says how pixels are resized and "
            "normalised: copy it there from where the weights come from, or save an image "
            "processor into the folder"
        ) from None


def _rows(value: Any, rows: list[int]) -> Any:
    """Some rows of every tensor in a nest.

    SAM 2 and its kin have three maps a picture, SAM-HQ also one for every block without windows.
    """
    if isinstance(value, dict):
        return {name: _rows(inner, rows) for name, inner in value.items()}
    return value[rows] if isinstance(value, Tensor) else [_rows(inner, rows) for inner in value]
