"""PaliGemma as a family of released models, written as another package would write it.

It is all that CONTRIBUTING asks for: the views of each image, and the model's own projector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from regiontok.core.frame import Frame, Pair
from regiontok.released.family import Cut, EncodedImage, Family, View, recorded_calls


class PaliGemma(Family):
    """One view, stretched to a square; the projector is one linear layer."""

    def __init__(self, model: Any, processor: Any) -> None:
        super().__init__(model, processor)
        vision = model.config.vision_config
        self.canvas, self.patch = (vision.image_size,) * 2, (vision.patch_size,) * 2
        self.projector = model.model.multi_modal_projector

    def encode(
        self, inputs: Mapping[str, Any], sizes: Sequence[Pair], cut: Cut
    ) -> list[EncodedImage]:
        """Each image with its one view."""
        with recorded_calls(self.projector) as calls:
            tokens = self.model.get_image_features(**inputs).pooler_output
        ((projector_inputs, projector_outputs),) = calls
        images = []
        for image, size in enumerate(sizes):
            frame = Frame.stretch(size, self.canvas, self.patch)
            patches = projector_inputs[image].unflatten(0, frame.grid)
            projected = projector_outputs[image].unflatten(0, frame.grid)
            images.append(EncodedImage((View.of(frame, patches, projected),), (tokens[image],)))
        return images

    def project(self, rows: Tensor, level: int) -> Tensor:
        """Rows through the model's own projector."""
        return self.projector(rows)
