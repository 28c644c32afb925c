"""A tiny released model, whose weights are random."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from regiontok.model.mini import TEMPLATE, mini_tokenizer

hub = pytest.importorskip("transformers", minversion="5.18")


def tiny_llava() -> tuple[Any, Any]:
    """A LLaVA-1.5 that sees 4 x 4 patches, and its processor with a chat template."""
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
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
