"""The language model of a `RegionVLM` written as a LLaVA-1.5 checkpoint, so that a server which
knows LLaVA answers from exported tokens.

After: transformers' and vLLM's `LlavaForConditionalGeneration`.
Differs: its vision tower and projector are blank. They are there because the form wants them;
nothing may look through them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from regiontok.model.vlm import RegionVLM
from regiontok.system.errors import first_line
from regiontok.system.files import replacing

# 24 x 24 patches: the budget for images that a server takes from the form is LLaVA-1.5's 576 tokens
BLANK: dict[str, Any] = {
    "image_size": 336,
    "patch_size": 14,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "projection_dim": 64,
}


def write_llava(name: str, out: Path, *, dtype: str = "bfloat16") -> int:
    """Write the checkpoint and its tokenizer; gives the id of the placeholder `<image>`.

    A placeholder outside the vocabulary gets a row of its own (servers look every id up before they
    put image tokens in its place); its logit is the mean of the others, so that it is never the
    greedy answer.

    Args:
        name: folder of a `RegionVLM` with its tokenizer.
        out: folder; it is there whole or not at all.
        dtype: of the weights.

    Raises:
        ValueError: no RegionVLM there, no tokenizer beside it, or a language model without `model`
            and `lm_head`.
    """
    model = RegionVLM.from_pretrained(name, dtype=dtype)
    language_model, image = model.language_model, int(model.config.image_token_id)
    if not all(
        isinstance(getattr(language_model, part, None), nn.Module) for part in ("model", "lm_head")
    ):
        raise ValueError(
            f"a {type(language_model).__name__} has no `model` and `lm_head` to put into a LLaVA"
        )
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{name} has no tokenizer that can be read ({first_line(error)}): save one there"
        ) from None
    processor = _processor(tokenizer, image)
    _widen(language_model, image + 1)
    text = language_model.config
    text.architectures = [type(language_model).__name__]  # how a server finds the class
    config = LlavaConfig(
        text_config=text,
        vision_config=CLIPVisionConfig(**BLANK),
        image_token_index=image,
        image_seq_length=576,
        tie_word_embeddings=bool(text.tie_word_embeddings),
    )
    with torch.device("meta"):
        shell: Any = LlavaForConditionalGeneration(config)
    shell.model.language_model, shell.lm_head = language_model.model, language_model.lm_head
    for part in (shell.model.vision_tower, shell.model.multi_modal_projector):
        part.to_empty(device="cpu").to(language_model.dtype)
        for weight in part.parameters():
            nn.init.zeros_(weight)
    shell.generation_config = language_model.generation_config
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as part:
        shell.save_pretrained(part)
        processor.save_pretrained(part)
    return image


def _widen(language_model: Any, rows: int) -> None:
    """Rows for ids up to the placeholder's, each the mean of those that were there."""
    had = language_model.get_input_embeddings().num_embeddings
    if rows <= had:
        return
    language_model.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        for table in {
            id(m.weight): m.weight
            for m in (language_model.get_input_embeddings(), language_model.lm_head)
        }.values():
            table[had:] = table[:had].float().mean(0).to(table.dtype)


def _processor(tokenizer: Any, image: int) -> Any:
    """LLaVA's processor around the tokenizer, which must know the placeholder."""
    word = tokenizer.convert_ids_to_tokens(image)
    if (
        word is None or getattr(tokenizer, "image_token", word) != word
    ):  # its own word would win in the processor
        own = getattr(tokenizer, "image_token", None)
        raise ValueError(
            f"the placeholder's id {image} is {word!r} to the tokenizer, whose image token is {own!r}: it is another model's tokenizer"
        )
    square = {"height": 336, "width": 336}
    pixels = CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size=square)
    return LlavaProcessor(
        pixels,
        tokenizer,
        14,
        vision_feature_select_strategy="default",
        image_token=word,
        num_additional_image_tokens=1,
    )
