"""LLaVA-1.5 and those like it: one view of fixed size.

After: nothing (the study trains all of its models); the geometry is that of transformers' image
processors.
Differs: nothing known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from regiontok.core.cls_attention import attention_of_first, watched_block
from regiontok.core.frame import Frame, Pair
from regiontok.core.preprocess import Preprocess
from regiontok.released.family import Cut, EncodedImage, Family, View, recorded_calls
from regiontok.released.server_form import ServerForm

if TYPE_CHECKING:
    from jaxtyping import Float


class Llava(Family):
    """LLaVA-1.5 and those like it: one view of fixed size.

    Raises:
        ValueError: If the model has a Pixtral tower, or the processor makes images of another size
            than the tower takes.
    """

    server_form: ClassVar[ServerForm] = ServerForm(as_lm=True)

    def __init__(self, model: Any, processor: Any) -> None:
        super().__init__(model, processor)
        vision = model.config.vision_config
        if vision.model_type == "pixtral":
            raise ValueError(
                "LLaVA with a Pixtral tower lays its patches at the image's own size, which is "
                "not supported here"
            )
        self.image_processor = processor.image_processor
        self.side, self.patch = int(vision.image_size), int(vision.patch_size)
        self.patches_per_side = self.side // self.patch
        self._check_processor()

    def _check_processor(self) -> None:
        """Refuse a processor that does not fit the tower."""
        grid = self.frame((100, 100)).grid
        if grid != (self.patches_per_side,) * 2:
            raise ValueError(
                f"the image processor gives a grid of {grid} patches, the tower takes "
                f"{self.side} px at {self.patch}"
            )

    def frame(self, size: Pair) -> Frame:
        """How the processor lays an image of (height, width) pixels under the tower's grid."""
        processor = self.image_processor
        if not getattr(processor, "do_pad", None):
            return Preprocess.of(processor, type(processor).__name__).frame(
                size, (self.patch,) * 2, framing=None, size=None
            )
        # the size of a square is its shortest edge, or its height
        edge = max(int(length) for length in dict(processor.size).values() if length)
        crop = int(dict(processor.crop_size)["height"]) if processor.do_center_crop else edge
        return padded_square(size, edge, crop, self.patch)

    def project(self, rows: Float[Tensor, "k d"], level: int) -> Float[Tensor, "k e"]:
        """Rows through the model's own projector."""
        projected: Tensor = self.model.model.multi_modal_projector(rows)
        return projected

    def encode(
        self, inputs: Mapping[str, Any], sizes: Sequence[Pair], cut: Cut
    ) -> list[EncodedImage]:
        """Each image with its one view, and the attention of CLS where the tower has one."""
        with self._watched() as projected:
            projector_inputs, projector_outputs, model_tokens = self._features(inputs)
        attention: Sequence[Tensor | None] = [None] * len(sizes)
        if projected:
            heads = self.model.config.vision_config.num_attention_heads
            rows = attention_of_first(**projected, heads=heads)[:, 1:]
            attention = list(rows.unflatten(1, (self.patches_per_side,) * 2))
        return [
            EncodedImage(
                (
                    View.of(
                        self.frame(size),
                        self._on_grid(projector_inputs[image]),
                        self._on_grid(projector_outputs[image]),
                        attention[image],
                    ),
                ),
                (model_tokens[image],),
            )
            for image, size in enumerate(sizes)
        ]

    def _watched(self) -> AbstractContextManager[dict[str, Tensor]]:
        """Where CLIP's CLS attends in the block whose output the projector reads.

        Nothing is watched in a tower without CLS, or where several layers are read.
        """
        layer, vision = self.model.config.vision_feature_layer, self.model.config.vision_config
        if vision.model_type != "clip_vision_model" or not isinstance(layer, int):
            return nullcontext({})
        blocks_passed = layer if layer >= 0 else vision.num_hidden_layers + 1 + layer
        if not blocks_passed:
            return nullcontext({})
        return watched_block(self.model.model.vision_tower, blocks_passed - 1)

    def _features(self, inputs: Mapping[str, Any]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """What the projector reads and gives, and each image's own tokens, by one run of the model.

        The first two are `[views n d]` and `[views n e]`.
        """
        with recorded_calls(self.model.model.multi_modal_projector) as calls:
            outputs = self.model.get_image_features(**inputs, return_dict=True)
        ((projector_inputs, projector_outputs),) = calls
        return projector_inputs, projector_outputs, list(outputs.pooler_output)

    def _on_grid(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "g g d"]:
        """One view's rows on its grid, without a CLS token in front (select strategy "full")."""
        side = self.patches_per_side
        extra = len(rows) - side * side
        if extra not in (0, 1):
            raise ValueError(
                f"the tower gives {len(rows)} tokens a view, expected {side} x {side} patches with "
                "or without one CLS token"
            )
        grid: Tensor = rows[extra:].unflatten(0, (side, side))
        return grid


def padded_square(size: Pair, edge: int, crop: int, patch: int) -> Frame:
    """An image padded to a square, resized to `edge`, and cropped to `crop` from the centre.

    Units are so small that the padding, which rarely is a whole number of resized pixels, is a
    whole number of them.

    >>> padded_square((100, 200), 336, 336, 14).content.sum(1)[[5, 6, 17, 18]].tolist()
    [0.0, 24.0, 24.0, 0.0]
    """
    longest = max(size)
    trim = (edge - crop) // 2 * longest
    return Frame(
        image=size,
        crop=(0.0, 0.0, float(size[0]), float(size[1])),
        resized=(size[0] * edge, size[1] * edge),
        offset=(
            (longest - size[0]) // 2 * edge - trim,
            (longest - size[1]) // 2 * edge - trim,
        ),
        canvas=(crop * longest, crop * longest),
        patch=(patch * longest, patch * longest),
    )
