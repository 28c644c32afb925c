"""A mask-generation checkpoint of transformers: pictures -> embeddings, embeddings and point
prompts -> low-resolution masks."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regiontok.core.picture import Picture
from regiontok.segment.prompted.everything import Place
from regiontok.system.checkpoint import read_json
from regiontok.system.need import need
from regiontok.system.pretrained import load_pretrained, quiet_transformers

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class Encoded:
    """Pictures that the image encoder has seen: what the mask decoder needs of each, and where each
    lies on the canvas."""

    embeddings: dict[str, Any]
    places: tuple[Place, ...]

    def take(self, rows: Sequence[int]) -> Encoded:
        """Some of the pictures."""
        return Encoded(_rows(self.embeddings, list(rows)), tuple(self.places[row] for row in rows))


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
        """Read a checkpoint; `compiled` has torch.compile make kernels of its own for encoder and
        decoder at their first calls.

        Raises:
            ValueError: it cannot be read, lacks weights, or is of a family that makes no masks from
                points.
        """
        family(folder, model)
        auto = need("transformers", extra="hub").AutoModelForMaskGeneration
        module = load_pretrained(auto, folder, model, dtype=torch.float32)
        if dtype != torch.float32:
            # Prompts stay in float32: in bfloat16 a point of a 1024-pixel canvas would be off by up
            # to 4 pixels. The decoder casts them.
            where = deepcopy(module.prompt_encoder.shared_embedding)
            module = module.to(dtype)
            module.prompt_encoder.shared_embedding = where
        module = module.to(device).eval().requires_grad_(False)
        if compiled:
            # Apart, as the prompt encoder between them takes no time. The granularities' prompts
            # fill batches of 64, so that shapes stay.
            module.vision_encoder.compile()
            module.mask_decoder.compile()
        return cls(module, processor(folder), device)

    def encode(self, pictures: Sequence[Picture]) -> Encoded:
        """The image encoder, once for all prompts."""
        inputs = self.processor(images=[picture.pil for picture in pictures], return_tensors="pt")
        pixels = inputs["pixel_values"].to(
            self.device, next(self.module.mask_decoder.parameters()).dtype
        )
        side = pixels.shape[-1]
        insides = (
            inputs["reshaped_input_sizes"].tolist() if "reshaped_input_sizes" in inputs else None
        )
        places = [
            Place(
                picture.size,
                tuple(insides[i]) if insides else (side, side),
                side,
                padded=insides is not None,
            )
            for i, picture in enumerate(pictures)
        ]
        found = self.module.get_image_embeddings(pixels)
        names = (
            "image_embeddings",
            "intermediate_embeddings",
        )  # the second is SAM-HQ's, which alone returns a tuple
        return Encoded(
            dict(zip(names, found if isinstance(found, tuple) else (found,), strict=False)),
            tuple(places),
        )

    def decode(
        self, encoded: Encoded, prompts: Float[Tensor, "b p 2"]
    ) -> tuple[Float[Tensor, "b p o h w"], Float[Tensor, "b p o"]]:
        """The masks of each prompt as logits, and the model's estimate of their IoU, both in
        float32."""
        output = self.module(
            input_points=prompts[:, :, None].to(self.device),
            multimask_output=True,
            **encoded.embeddings,
        )
        return output.pred_masks.float(), output.iou_scores.float()


def family(folder: Path, model: str) -> str:
    """The checkpoint's `model_type`, if transformers makes masks from points with it.

    Raises:
        ValueError: it does not, or the folder is no checkpoint.
    """
    need("transformers", extra="hub")
    known = need(
        "transformers.models.auto.modeling_auto", extra="hub"
    ).MODEL_FOR_MASK_GENERATION_MAPPING_NAMES
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(
            f"{folder} has no config.json: it is no folder that transformers' save_pretrained wrote"
        )
    kind = read_json(path).get("model_type")
    if kind not in known:
        concepts = (
            " (SAM 3's detector is prompted by words; its tracker makes masks from points)"
            if kind == "sam3"
            else ""
        )
        raise ValueError(
            f"{model}: model_type {kind!r}{concepts} cannot make masks from points; {', '.join(sorted(known))} can"
        )
    return str(kind)


def processor(folder: Path) -> Any:
    """The checkpoint's own image processor, the one transformers' pipeline takes.

    Raises:
        ValueError: the folder has none.
    """
    auto = need("transformers", extra="hub").AutoImageProcessor
    try:
        with quiet_transformers():
            return auto.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    except OSError:
        raise ValueError(
            f"{folder} has no preprocessor_config.json, which says how pixels are resized and normalised: copy it there from "
            "where the weights come from, or save an image processor into the folder"
        ) from None


def _rows(value: Any, rows: list[int]) -> Any:
    """Some rows of every tensor in a nest: SAM 2 and its kin have three maps a picture, SAM-HQ also
    one a block without windows."""
    if isinstance(value, dict):
        return {name: _rows(inner, rows) for name, inner in value.items()}
    return value[rows] if isinstance(value, Tensor) else [_rows(inner, rows) for inner in value]
