"""The language model of a `RegionVLM` written as a LLaVA-1.5 checkpoint.

A server which knows LLaVA then answers from exported tokens.

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
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from regiontok.model.vlm import RegionVLM
from regiontok.serve.checkpoint_folder import check_place, saved_tokenizer
from regiontok.serve.token_source import check_positions
from regiontok.system.files import replacing
from regiontok.system.shipped_models import local_folder

# 24 x 24 patches: the budget for images that a server takes from the form is LLaVA-1.5's 576 tokens
BLANK_TOWER: dict[str, Any] = {
    "image_size": 336,
    "patch_size": 14,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "projection_dim": 64,
}


def write_llava(name: str, out: str | Path, *, dtype: str = "bfloat16") -> int:
    """Write the checkpoint and its tokenizer; gives the id of the placeholder `<image>`.

    A placeholder outside the vocabulary gets a row of its own (servers look every id up before they
    put image tokens in its place); its logit is the mean of the others, so that it is never the
    greedy answer.

    Args:
        name: folder of a `RegionVLM` with its tokenizer, or the name of a shipped one.
        out: the folder to write; it is there whole or not at all.
        dtype: type of the weights.

    Raises:
        ValueError: If there is no RegionVLM, no tokenizer beside it, its language model has no
            `model` and `lm_head`, or the folder to write holds something else than a checkpoint.
        NotServed: If the rows of a mask share a position, see `check_positions`.
    """
    out = Path(out)
    check_place(out)
    folder = local_folder(name) or Path(name)
    check_positions(folder, name)
    model = RegionVLM.from_pretrained(folder, dtype=dtype)
    language_model, image_token_id = model.language_model, int(model.config.image_token_id)
    for module in ("model", "lm_head"):
        if not isinstance(getattr(language_model, module, None), nn.Module):
            raise ValueError(
                f"a {type(language_model).__name__} has no `model` and `lm_head` to put into a "
                "LLaVA"
            )
    processor = _llava_processor(saved_tokenizer(str(folder)), image_token_id)
    _widen(language_model, image_token_id + 1)
    llava = _around(language_model, image_token_id)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as part_folder:
        llava.save_pretrained(part_folder)
        processor.save_pretrained(part_folder)
    return image_token_id


def _around(language_model: Any, image_token_id: int) -> Any:
    """A LLaVA around the language model, with a blank tower and projector."""
    text_config = language_model.config
    text_config.architectures = [type(language_model).__name__]  # how a server finds the class
    config = LlavaConfig(
        text_config=text_config,
        vision_config=CLIPVisionConfig(**BLANK_TOWER),
        image_token_index=image_token_id,
        image_seq_length=576,
        tie_word_embeddings=bool(text_config.tie_word_embeddings),
    )
    with torch.device("meta"):
        llava: Any = LlavaForConditionalGeneration(config)
    llava.model.language_model, llava.lm_head = language_model.model, language_model.lm_head
    for blank in (llava.model.vision_tower, llava.model.multi_modal_projector):
        blank.to_empty(device="cpu").to(language_model.dtype)
        for weight in blank.parameters():
            nn.init.zeros_(weight)
    llava.generation_config = language_model.generation_config
    return llava


def _widen(language_model: Any, rows: int) -> None:
    """Add rows for ids up to the placeholder's, each the mean of those that were there."""
    previous = language_model.get_input_embeddings().num_embeddings
    if rows <= previous:
        return
    language_model.resize_token_embeddings(rows, mean_resizing=False)
    modules = (language_model.get_input_embeddings(), language_model.lm_head)
    tables = {id(module.weight): module.weight for module in modules}  # one, if they are tied
    with torch.no_grad():
        for table in tables.values():
            table[previous:] = table[:previous].float().mean(0).to(table.dtype)


def _llava_processor(tokenizer: Any, image_token_id: int) -> Any:
    """LLaVA's processor around the tokenizer, which must know the placeholder."""
    word = tokenizer.convert_ids_to_tokens(image_token_id)
    # the tokenizer's own image token would win in the processor
    if word is None or getattr(tokenizer, "image_token", word) != word:
        raise ValueError(
            f"the placeholder's id {image_token_id} is {word!r} to the tokenizer, whose image "
            f"token is {getattr(tokenizer, 'image_token', None)!r}: it is another model's tokenizer"
        )
    square = {"height": 336, "width": 336}
    return LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size=square),
        tokenizer,
        14,
        vision_feature_select_strategy="default",
        image_token=word,
        num_additional_image_tokens=1,
    )
