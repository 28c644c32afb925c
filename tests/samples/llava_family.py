"""Tiny random LLaVA, LLaVA-NeXT and LLaVA-OneVision, and their processors."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
import torch

pytest.importorskip("transformers", minversion="5.18")

from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    LlavaProcessor,
    SiglipVisionConfig,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import (
    LlavaNextImageProcessorPil,
)
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

from regiontok.model.mini import mini_tokenizer
from samples.models import ready_to_answer

SIDE, PATCH = 32, 8
PINS = [[32, 64], [64, 32], [64, 64], [96, 32], [32, 96]]
LAYERS = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}
TOWER = {**LAYERS, "image_size": SIDE, "patch_size": PATCH}
SQUARE = {"height": SIDE, "width": SIDE}
KINDS = ("llava", "llava_padded", "llava_full", "llava_next", "llava_onevision")


def _parts(kind: str) -> tuple[Any, Any, Any, dict[str, Any]]:
    tokenizer = mini_tokenizer()
    crop = {"size": {"shortest_edge": SIDE}, "crop_size": SQUARE}
    if kind == "llava_next":
        images = LlavaNextImageProcessorPil(**crop, image_grid_pinpoints=PINS)
        processor = LlavaNextProcessor(
            images,
            tokenizer,
            PATCH,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
        )
        return (
            LlavaNextConfig,
            LlavaNextForConditionalGeneration,
            processor,
            {"image_grid_pinpoints": PINS},
        )
    if kind == "llava_onevision":
        images = LlavaOnevisionImageProcessorPil(size=SQUARE, image_grid_pinpoints=PINS)
        # of 64 stitched patches 16 are kept: larger grids are shrunk
        more = {"vision_aspect_ratio": "anyres_max_1"}
        processor = LlavaOnevisionProcessor(
            images,
            tokenizer,
            LlavaOnevisionVideoProcessor(),
            num_image_tokens=(SIDE // PATCH) ** 2,
            vision_feature_select_strategy="full",
            **more,
        )
        extra = {
            "image_grid_pinpoints": PINS,
            "vision_feature_select_strategy": "full",
            "video_token_index": 255,
            **more,
        }
        return LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration, processor, extra
    images = (
        LlavaImageProcessorPil(**crop, do_pad=True)
        if kind == "llava_padded"
        else CLIPImageProcessorPil(**crop)
    )
    strategy = "full" if kind == "llava_full" else "default"
    processor = LlavaProcessor(
        images,
        tokenizer,
        PATCH,
        vision_feature_select_strategy=strategy,
        num_additional_image_tokens=1,
    )
    return (
        LlavaConfig,
        LlavaForConditionalGeneration,
        processor,
        {"vision_feature_select_strategy": strategy},
    )


@lru_cache(maxsize=8)
def tiny_llava_family(
    kind: str, attention: str = "sdpa", head_dim: int | None = None
) -> tuple[Any, Any]:
    """A tiny random model of a kind, and its processor."""
    config, cls, processor, extra = _parts(kind)
    text = LlamaConfig(
        vocab_size=260,
        max_position_embeddings=1024,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        **LAYERS,
        num_key_value_heads=2,
        head_dim=head_dim,
    )
    vision = SiglipVisionConfig(**TOWER) if kind == "llava_onevision" else CLIPVisionConfig(**TOWER)
    torch.manual_seed(0)
    model = cls(
        config(
            vision_config=vision,
            text_config=text,
            image_token_index=3,
            vision_feature_layer=-2,
            **extra,
        )
    )
    return ready_to_answer(model, attention), processor
