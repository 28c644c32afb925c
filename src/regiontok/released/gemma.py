"""Gemma 3: one square view; a token is a cell of patches that the projector averages.

After: the family's code in transformers.
Differs: nothing known. Pan and scan, which adds crops of elongated images, is off in transformers
and refused here. Tokens of one image attend to one another in both directions, as the model has it
for its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regiontok.core.frame import Frame, Pair
from regiontok.released.family import (
    Cut,
    EncodedImage,
    Family,
    View,
    recorded_calls,
    split_by_prompt,
)

if TYPE_CHECKING:
    from jaxtyping import Float
    from PIL import Image


class Gemma3(Family):
    """One view, stretched to a square; a "patch" is a cell of 4 x 4 patches of the tower.

    Raises:
        ValueError: If the processor makes images of another size than the tower takes.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        super().__init__(model, processor)
        vision = model.config.vision_config
        size, side = dict(processor.image_processor.size), int(vision.image_size)
        if (size.get("height"), size.get("width")) != (side, side):
            raise ValueError(
                f"expected an image processor of {side} x {side} px, as the tower takes; got size "
                f"{size}"
            )
        self._projector = model.model.multi_modal_projector
        self._canvas = side, side
        self._cell = (self._projector.kernel_size * int(vision.patch_size),) * 2

    @property
    def image_token(self) -> str:
        """The soft token; in a prompt that is not expanded another token stands for the image."""
        return str(self.processor.tokenizer.image_token)

    def arrange_images(
        self, images: list[Image.Image], counts: Sequence[int], by_prompt: bool
    ) -> list[Any]:
        """A list of images a prompt, which this processor always wants."""
        return split_by_prompt(images, counts)

    def encode(
        self, inputs: Mapping[str, Any], sizes: Sequence[Pair], cut: Cut
    ) -> list[EncodedImage]:
        """Each image with its one view."""
        pixels = inputs["pixel_values"]
        if len(pixels) != len(sizes):
            raise ValueError(
                f"the processor made {len(pixels)} crops of {len(sizes)} images: switch pan and "
                "scan off (do_pan_and_scan=False)"
            )
        # averaged patches reach the norm, which is where the projector begins to project
        with torch.no_grad(), recorded_calls(self._projector.mm_soft_emb_norm) as calls:
            outputs = self.model.get_image_features(pixels, return_dict=True)
        ((cells, _),) = calls
        images = []
        for size, rows, tokens in zip(sizes, cells, outputs.pooler_output, strict=True):
            frame = Frame.stretch(size, self._canvas, self._cell)
            view = View.of(frame, rows.unflatten(0, frame.grid), tokens.unflatten(0, frame.grid))
            images.append(EncodedImage((view,), (tokens,)))
        return images

    def project(self, rows: Float[Tensor, "k d"], level: int) -> Float[Tensor, "k e"]:
        """Averaged rows through the rest of the model's own projector."""
        normed = self._projector.mm_soft_emb_norm(rows)
        return torch.matmul(normed, self._projector.mm_input_projection_weight).type_as(rows)
