"""Tiny language models, towers and tokenizers with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from regiontok.model.mini import mini_language_model
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import TokenizerSettings

hub = pytest.importorskip("transformers")

IMAGE = 3  # the id of an image's place in the prompts
# the floor of the extra `train`
needs_masked_logits = pytest.mark.skipif(
    not hasattr(hub.modeling_utils, "slice_logits_to_keep"),
    reason="transformers computes the logits of masked places alone from 5.21 on",
)


def tiny_sizes(**changes: Any) -> dict[str, Any]:
    """The sizes of a language model of transformers: two layers, four heads over two of keys."""
    sizes = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return sizes | changes


_IDS = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
# One language model of a family each, whose shape, attention or matrices are unlike a Llama's.
OTHER_FAMILIES = {
    "bert": lambda: hub.BertLMHeadModel(
        hub.BertConfig(
            **_IDS,
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=4,
            intermediate_size=48,
        )
    ),
    "bloom": lambda: hub.BloomForCausalLM(
        hub.BloomConfig(**_IDS, hidden_size=32, n_layer=2, n_head=4)
    ),
    "ctrl": lambda: hub.CTRLLMHeadModel(
        hub.CTRLConfig(**_IDS, n_embd=32, dff=48, n_layer=1, n_head=4)
    ),
    "gpt2": lambda: hub.GPT2LMHeadModel(hub.GPT2Config(**_IDS, n_embd=32, n_layer=2, n_head=4)),
    "mamba": lambda: hub.MambaForCausalLM(
        hub.MambaConfig(**_IDS, hidden_size=32, num_hidden_layers=1, state_size=4)
    ),
    "mpt": lambda: hub.MptForCausalLM(hub.MptConfig(**_IDS, d_model=32, n_layers=1, n_heads=4)),
    "opt-350m": lambda: hub.OPTForCausalLM(
        hub.OPTConfig(
            **_IDS,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            ffn_dim=48,
            word_embed_proj_dim=16,
        )
    ),
    "rwkv": lambda: hub.RwkvForCausalLM(
        hub.RwkvConfig(
            **_IDS, hidden_size=32, num_hidden_layers=2, attention_hidden_size=32, context_length=64
        )
    ),
}


def other_vlm(family: str) -> RegionVLM:
    """Region tokens before a tiny language model of another family, which has random weights."""
    torch.manual_seed(0)
    visual = TokenizerSettings(encoder="filters(size=56)", regions="windows(2)", norm="rms")
    model = OTHER_FAMILIES[family]()
    return RegionVLM.from_parts(model, visual, image_token_id=IMAGE).eval()


def mini_vlm(visual: TokenizerSettings, **options: Any) -> RegionVLM:
    """These region tokens before the project's own mini language model."""
    language_model = mini_language_model(width=24, layers=2, heads=4)
    return RegionVLM.from_parts(language_model, visual, image_token_id=IMAGE, **options).eval()


def padded(rows: Sequence[Sequence[int]], side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of ids filled up with zeros on one side, and their attention mask.

    >>> padded([[5, 6], [7]], "left")[0].tolist()
    [[5, 6], [0, 7]]
    """
    longest = max(map(len, rows))
    pads = [[0] * (longest - len(row)) for row in rows]
    filled = [
        [*pad, *row] if side == "left" else [*row, *pad]
        for row, pad in zip(rows, pads, strict=True)
    ]
    ids = torch.tensor(filled)
    return ids, ids.ne(0).long()


def save_clip_tower(folder: Path, *, side: int, **sizes: Any) -> Path:
    """Save a CLIP vision tower with its image processor, as a user would have it."""
    torch.manual_seed(0)
    config = hub.CLIPVisionConfig(**sizes, image_size=side)
    hub.CLIPVisionModel(config).save_pretrained(folder)
    crop = {"height": side, "width": side}
    hub.CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=crop).save_pretrained(folder)
    return folder


def byte_tokenizer(special: Sequence[str], names: Sequence[str]) -> Any:
    """A tokenizer with one token a byte behind the special ones.

    Args:
        special: the special tokens, `<pad>` and `</s>` first.
        names: the attributes under which the tokenizer knows the others.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {word: index for index, word in enumerate((*special, *alphabet))}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    return hub.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        eos_token="</s>",
        extra_special_tokens=dict(zip(names, special[2:], strict=True)),
    )


def ready_to_answer(model: Any, attention: str = "sdpa") -> Any:
    """A released model of random weights whose answers depend on its images, and never end.

    At the weights' own spread of 0.02 no visual token would change an answer.
    """
    model.eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(4)
    model.set_attn_implementation(attention)
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = 0, None
    return model


def shake(model: torch.nn.Module) -> None:
    """Draw every weight anew: an initialisation's zeros and ones hide a forgotten token or norm."""
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.2)
