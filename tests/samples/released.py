"""Tiny released models, whose weights are random."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from regiontok.model.mini import TEMPLATE, mini_tokenizer
from samples.models import byte_tokenizer

hub = pytest.importorskip("transformers", minversion="5.18")


def tiny_llava(width: int = 32, heads: int = 4) -> tuple[Any, Any]:
    """A LLaVA-1.5 that sees 4 x 4 patches, and its processor with a chat template."""
    sizes = {
        "hidden_size": width,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": heads,
    }
    config = hub.LlavaConfig(
        vision_config=hub.CLIPVisionConfig(**sizes, image_size=32, patch_size=8),
        text_config=hub.LlamaConfig(
            vocab_size=260, pad_token_id=0, bos_token_id=1, eos_token_id=2, **sizes
        ),
        image_token_index=3,
        vision_feature_layer=-2,
    )
    torch.manual_seed(0)
    model = hub.LlavaForConditionalGeneration(config).eval()
    model.generation_config.pad_token_id = 0
    square = {"height": 32, "width": 32}
    images = hub.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=square)
    processor = hub.LlavaProcessor(
        images,
        mini_tokenizer(),
        8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    return model, processor


def tiny_qwen(width: int = 32) -> tuple[Any, Any]:
    """A Qwen2.5-VL whose visual tokens see 8 x 8 pixels, and its processor with a template."""
    sections = [width // 16, width * 3 // 32, width * 3 // 32]
    special = (
        "<pad>",
        "</s>",
        "<|image_pad|>",
        "<|video_pad|>",
        "<|vision_start|>",
        "<|vision_end|>",
    )
    text = {
        "vocab_size": 256 + len(special),
        "hidden_size": width,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 1,
        "rope_parameters": {"rope_type": "default", "mrope_section": sections, "rope_theta": 1e2},
    }
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "out_hidden_size": width,
        "intermediate_size": 24,
        "num_heads": 2,
        "patch_size": 4,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": 16,
        "fullatt_block_indexes": [0],
    }
    names = ("image_token", "video_token", "vision_start_token", "vision_end_token")
    ids = {f"{name}_id": number for number, name in enumerate(names, start=2)}
    torch.manual_seed(0)
    model = hub.Qwen2_5_VLForConditionalGeneration(
        hub.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
    ).eval()
    model.generation_config.pad_token_id = 0
    images = hub.Qwen2VLImageProcessor(
        patch_size=4, merge_size=2, size={"shortest_edge": 16 * 16, "longest_edge": 64 * 64}
    )
    tokenizer = byte_tokenizer(special, names)
    template = (
        "{% for message in messages %}{% for part in message['content'] %}"
        "{{ part.get('text', '<|vision_start|><|image_pad|><|vision_end|>') }}"
        "{% endfor %}{% endfor %} Answer: "
    )
    videos = hub.Qwen2VLVideoProcessor(patch_size=4, merge_size=2)
    return model, hub.Qwen2_5_VLProcessor(images, tokenizer, videos, chat_template=template)
