"""Attention by blocks: the loss, logits and gradients of the masked row, without its mask."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from regiontok.data.collate import Collator, Example
from regiontok.model.block_attention import (
    attention_by_blocks,
    by_blocks,
    computes_by_blocks,
)
from regiontok.model.block_layout import BlockLayout
from regiontok.model.splice import IGNORE
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import TokenizerSettings
from samples.models import mini_vlm, needs_masked_logits, other_vlm, ready_to_answer, tiny_sizes
from samples.pictures import colour_blocks

VISUAL = TokenizerSettings(encoder="filters(size=112)", regions="merge(0.5)", norm="rms")
COLLATE = Collator(placeholder=3)
PICTURES = [colour_blocks(seed, (40, 60)) for seed in range(3)]


def example(seed: int, lengths: tuple[int, ...]) -> Example:
    """Blocks of random ids behind a picture, each with one or two supervised ids before its end."""
    numbers = torch.Generator().manual_seed(seed)
    ids, labels, blocks = [1, 20, 3, 21], [IGNORE] * 4, [-1] * 4
    for block, length in enumerate(lengths):
        drawn = torch.randint(30, 200, (length,), generator=numbers).tolist()
        supervised = range(length - 2, length - block % 2)
        ids += drawn
        labels += [number if at in supervised else IGNORE for at, number in enumerate(drawn)]
        blocks += [block] * length
    return Example(ids, labels, (PICTURES[seed % 3],), blocks=tuple(blocks))


def batch() -> dict:
    """Rows of different lengths; one holds two samples, one a conversation without blocks."""
    rows = [
        (example(0, (5, 9, 4, 30, 7)), example(1, (3, 4))),
        (
            example(2, (40,)),
            Example([1, 50, 3, 51, 52], [IGNORE, IGNORE, IGNORE, 51, 52], PICTURES[:1]),
        ),
    ]
    return COLLATE(rows)


def results(model: RegionVLM, blockwise: bool) -> dict[str, torch.Tensor]:
    """Loss, supervised logits and gradients."""
    model.zero_grad()
    with attention_by_blocks(model) if blockwise else nullcontext():
        assert by_blocks(model.language_model) == blockwise
        output = model(**batch(), supervised_only=True)
        output.loss.backward()
    gradients = {
        name: value.grad.clone()
        for name, value in model.named_parameters()
        if value.grad is not None
    }
    return {"loss": output.loss.detach(), "logits": output.logits.detach()} | gradients


def same(model: RegionVLM) -> None:
    masked, blockwise = results(model, False), results(model, True)
    assert masked.keys() == blockwise.keys()
    assert float(masked["loss"]) > 0.1
    for name, value in masked.items():
        assert torch.allclose(value.flatten(), blockwise[name].flatten(), rtol=1e-3, atol=2e-5), (
            name
        )


@needs_masked_logits
def test_loss_logits_and_gradients_are_those_of_the_mask():
    same(ready_to_answer(mini_vlm(VISUAL)).train())


@needs_masked_logits
def test_keys_that_heads_share_and_recomputed_activations():
    hub = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = hub.Qwen2Config(**tiny_sizes(vocab_size=260) | {"num_key_value_heads": 1})
    model = RegionVLM.from_parts(hub.Qwen2ForCausalLM(config), VISUAL, image_token_id=3)
    same(model.train())
    model.gradient_checkpointing_enable({"use_reentrant": False})
    same(model.train())


def test_tokens_behind_the_last_supervised_one_are_not_read():
    model = mini_vlm(VISUAL)
    inputs = batch()
    names = ("input_ids", "attention_mask", "pictures")
    others = {name: inputs[name] for name in ("labels", "segments", "blocks")}
    spliced = model.spliced(*(inputs[name] for name in names), **others)
    layout = BlockLayout.of(spliced)
    # the last id of every block is predicted, or unsupervised; of two supervised ones no other goes
    unread = 5 + 2 + 1 + sum(block % 2 for lengths in (5, 2, 1) for block in range(lengths))
    assert len(layout.source) == int(spliced.mask.sum()) - unread
    assert layout.slots[layout.places].tolist() == list(range(len(layout.source)))
    assert layout.chunk == 39
    assert layout.sees_prefix is not None


@needs_masked_logits
def test_language_models_are_tried_first():
    model = mini_vlm(VISUAL)
    assert computes_by_blocks(model)
    assert model.language_model.config._attn_implementation == "sdpa"
    assert not computes_by_blocks(other_vlm("mpt"))
    with attention_by_blocks(model):
        ids = torch.tensor([[1, 40, 41, 42]])
        within = model(ids).logits
    assert torch.equal(within, model(ids).logits)


def test_rows_without_blocks_have_no_layout():
    model = mini_vlm(VISUAL)
    spliced = model.spliced(torch.tensor([[1, 40]]))
    with pytest.raises(ValueError, match="these rows have no blocks or no labels"):
        BlockLayout.of(spliced)
