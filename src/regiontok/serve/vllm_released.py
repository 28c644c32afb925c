"""Released models in vLLM with any regions: their language models, which read ready-made tokens.

A server is started for one by `--hf-overrides '{"architectures": ["RegionLlava"]}'`. This module is
imported by vLLM alone, which then is there.

After: vLLM 0.32, vllm/model_executor/models/ (llava.py, llava_onevision.py, qwen2_5_vl.py).
Differs: vision tower and projector run where requests come in, as `from_vlm` runs them. RegionLlava
also takes exported tokens (`image_embeds`), of any number in one step, at which the stock classes
end the engine. RegionQwen lays a token at the centroid of its region, which vLLM's own positions,
whole numbers, cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from vllm.model_executor.layers.rotary_embedding import MRotaryEmbedding
from vllm.model_executor.models.interfaces import SupportsMRoPE
from vllm.model_executor.models.utils import WeightsMapper
from vllm.multimodal import MULTIMODAL_REGISTRY

from regiontok.released.qwen import ImageRoom, row_axes
from regiontok.serve.fixed_point import AxesRotary, decoded_positions, encoded_positions
from regiontok.serve.vllm_inputs import (
    POSITION_FIELDS,
    AxesProcessor,
    RegionDummies,
    RegionInfo,
    RegionProcessor,
)
from regiontok.serve.vllm_model import RowsModel


@MULTIMODAL_REGISTRY.register_processor(
    RegionProcessor, info=RegionInfo, dummy_inputs=RegionDummies
)
class RegionLlava(RowsModel):
    """LLaVA-1.5, LLaVA-OneVision and others of their layout."""

    hf_to_vllm_mapper = WeightsMapper(
        orig_to_new_prefix={
            "model.language_model.": "language_model.model.",
            "lm_head.": "language_model.lm_head.",
        }
    )


@MULTIMODAL_REGISTRY.register_processor(AxesProcessor, info=RegionInfo, dummy_inputs=RegionDummies)
class RegionQwen(RowsModel, SupportsMRoPE):  # type: ignore[misc]
    """Qwen2.5-VL."""

    architecture: ClassVar[str] = "Qwen2ForCausalLM"
    hf_to_vllm_mapper = WeightsMapper(
        orig_to_new_prefix={
            "model.language_model.": "language_model.model.",
            "model.visual.": "visual.",
            "lm_head.": "language_model.lm_head.",
            "model.": "language_model.model.",
        }
    )

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        replace_rotary(self.language_model)

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        """What stands for a picture in a chat template's text."""
        wrapped = "<|vision_start|><|image_pad|><|vision_end|>"
        return wrapped if modality.startswith("image") else None

    def get_mrope_input_positions(
        self, input_tokens: list[int], mm_features: Sequence[Any]
    ) -> tuple[Tensor, int]:
        """Positions `[3 s]` in the server's numbers, and how far the next is from counting tokens.

        Args:
            input_tokens: the prompt, one placeholder a token.
            mm_features: its pictures.
        """
        is_visual = torch.zeros(len(input_tokens), dtype=torch.bool)
        rooms = []
        for feature in sorted(mm_features, key=lambda each: each.mm_position.offset):
            offset, length = feature.mm_position.offset, feature.mm_position.length
            is_visual[offset : offset + length] = True
            rooms.append(_room(feature.data))
        axes, following = row_axes(is_visual, iter(rooms))
        numbers = axes.round().long()
        numbers[:, is_visual] = encoded_positions(axes[:, is_visual])
        return numbers, following - len(input_tokens)


def _room(data: Any) -> ImageRoom:
    """Where the tokens of one picture lie."""
    positions, extent = (data[name].data for name in POSITION_FIELDS)
    return ImageRoom(decoded_positions(positions), int(extent))


def replace_rotary(language_model: Any) -> None:
    """Let each layer's attention read positions between whole numbers.

    Args:
        language_model: a model of vLLM with positions on three axes.

    Raises:
        ValueError: If it has no such layer, or one whose frequencies are interleaved.
    """
    replaced: dict[int, AxesRotary] = {}  # vLLM gives all layers the same module
    for module in list(language_model.modules()):
        for name, child in list(module.named_children()):
            if not isinstance(child, MRotaryEmbedding):
                continue
            if id(child) not in replaced:
                replaced[id(child)] = _reading_fractions(child)
            setattr(module, name, replaced[id(child)])
    if not replaced:
        raise ValueError(f"a {type(language_model).__name__} has no positions on three axes")


def _reading_fractions(rotary: Any) -> AxesRotary:
    if rotary.mrope_interleaved or not rotary.is_neox_style:
        raise ValueError("rotary embeddings with interleaved axes or channels are not served here")
    return AxesRotary(
        rotary._compute_inv_freq(rotary.base),
        list(rotary.mrope_section),
        rotary.head_size,
        float(rotary.mscale),
    )
