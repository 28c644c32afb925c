"""A tiny random InternVL, and its processor."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
import torch

from samples.models import byte_tokenizer, ready_to_answer

transformers = pytest.importorskip("transformers", minversion="5.18")

EDGE, PATCH = 32, 4  # a tile is 4 x 4 cells of 8 pixels
SPECIAL = ("<pad>", "</s>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>")
LAYERS = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}


@lru_cache(maxsize=4)
def tiny_internvl(attention: str = "sdpa", layer: int = -1) -> tuple[Any, Any]:
    """A tiny random model, and its processor."""
    text = transformers.Qwen2Config(
        vocab_size=256 + len(SPECIAL),
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
        **LAYERS,
        num_key_value_heads=2,
    )
    vision = transformers.InternVLVisionConfig(
        **LAYERS, image_size=[EDGE, EDGE], patch_size=[PATCH, PATCH]
    )
    torch.manual_seed(0)
    config = transformers.InternVLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=4,
        vision_feature_layer=layer,
        tie_word_embeddings=False,
    )
    model = transformers.InternVLForConditionalGeneration(config)
    images = transformers.GotOcr2ImageProcessor(size={"height": EDGE, "width": EDGE}, max_patches=6)
    video = transformers.InternVLVideoProcessor(size={"height": EDGE, "width": EDGE})
    names = ("start_image_token", "end_image_token", "context_image_token", "video_token")
    tokenizer = byte_tokenizer(SPECIAL, names)
    processor = transformers.InternVLProcessor(images, tokenizer, video, image_seq_length=16)
    return ready_to_answer(model, attention), processor
