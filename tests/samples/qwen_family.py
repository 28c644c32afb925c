"""Tiny random Qwen2-VL, Qwen2.5-VL and Qwen3-VL, and their processors."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
import torch

from samples.models import byte_tokenizer, ready_to_answer

transformers = pytest.importorskip("transformers", minversion="5.18")

KINDS = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
CLASSES = {
    "qwen2_vl": (
        "Qwen2VLConfig",
        "Qwen2VLForConditionalGeneration",
        "Qwen2VLProcessor",
        "Qwen2VLVideoProcessor",
    ),
    "qwen2_5_vl": (
        "Qwen2_5_VLConfig",
        "Qwen2_5_VLForConditionalGeneration",
        "Qwen2_5_VLProcessor",
        "Qwen2VLVideoProcessor",
    ),
    "qwen3_vl": (
        "Qwen3VLConfig",
        "Qwen3VLForConditionalGeneration",
        "Qwen3VLProcessor",
        "Qwen3VLVideoProcessor",
    ),
}
PATCH = 4  # pixels; a merged cell is 8 x 8
SPECIAL = ("<pad>", "</s>", "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
TEXT = {
    "vocab_size": 256 + len(SPECIAL),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
    "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 100.0},
}
TOWER = {
    "depth": 3,
    "patch_size": PATCH,
    "num_heads": 2,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
TOWERS = {
    "qwen2_vl": {"embed_dim": 16, "hidden_size": 32, "mlp_ratio": 2},
    # windows of 2 x 2 cells: grids of 4 x 7 cells come back in another order than they went in
    "qwen2_5_vl": {
        "hidden_size": 16,
        "out_hidden_size": 32,
        "intermediate_size": 24,
        "window_size": 16,
        "fullatt_block_indexes": [1],
    },
    "qwen3_vl": {
        "hidden_size": 16,
        "out_hidden_size": 32,
        "intermediate_size": 24,
        "num_position_embeddings": 64,
    }
    | {"deepstack_visual_indexes": [0, 1]},
}
IDS = {
    "image_token_id": 2,
    "video_token_id": 3,
    "vision_start_token_id": 4,
    "vision_end_token_id": 5,
}


@lru_cache(maxsize=6)
def tiny_qwen_family(kind: str, attention: str = "sdpa") -> tuple[Any, Any]:
    """A tiny random model of a kind, and its processor."""
    config, model, processor, video = (getattr(transformers, name) for name in CLASSES[kind])
    torch.manual_seed(0)
    sizes = {"text_config": TEXT, "vision_config": TOWER | TOWERS[kind], **IDS}
    tiny = model(config(**sizes, tie_word_embeddings=False))
    images = transformers.Qwen2VLImageProcessor(
        patch_size=PATCH, merge_size=2, size={"shortest_edge": 16 * 16, "longest_edge": 64 * 64}
    )
    names = ("image_token", "video_token", "vision_start_token", "vision_end_token")
    return ready_to_answer(tiny, attention), processor(
        images, byte_tokenizer(SPECIAL, names), video()
    )
