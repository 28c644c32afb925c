"""A model that goes on from a cache reads what it reads in one pass, however it is called."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from regiontok.model.generation import SpecialIds, mask_of_padding
from regiontok.model.mini import mini_language_model
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import TokenizerSettings
from samples.models import ready_to_answer, tiny_sizes
from samples.pictures import colour_blocks

hub = pytest.importorskip("transformers")

IMAGE = 3
VISUAL = TokenizerSettings(encoder="filters(size=56)", regions="merge(0.6)", whole=True, seed=3)
SIZES = tiny_sizes(vocab_size=260)
FAMILIES = {
    "mini": lambda: mini_language_model(width=24, layers=2, heads=4),
    "llama": lambda: hub.LlamaForCausalLM(hub.LlamaConfig(**SIZES)),
    "gpt2": lambda: hub.GPT2LMHeadModel(
        hub.GPT2Config(vocab_size=260, n_embd=32, n_layer=2, n_head=4, n_positions=512)
    ),
    "windowed": lambda: hub.MistralForCausalLM(
        hub.MistralConfig(**SIZES, head_dim=8, sliding_window=6)
    ),
}
PICTURES = [colour_blocks(seed, (40, 60)) for seed in range(4)]
# what is read first, and then: the second row shows its other picture only then
FIRST = [[1, IMAGE, 40, 41], [1, 50, IMAGE, 51, 52, 53], [1, 60]]
THEN = [[42, 43], [IMAGE, 54, 55], [61]]
PICTURES_FIRST, PICTURES_THEN = [PICTURES[0], PICTURES[1]], [PICTURES[2]]
PICTURES_OF_ROW = [PICTURES[:1], PICTURES[1:3], []]


def tiny_vlm(family: str = "llama", **options: Any) -> RegionVLM:
    torch.manual_seed(0)
    language_model = ready_to_answer(FAMILIES[family]())
    return RegionVLM.from_parts(language_model, VISUAL, image_token_id=IMAGE, **options).eval()


def padded(rows: list[list[int]], side: str) -> tuple[Tensor, Tensor]:
    """Ids filled up with 9, which is no padding id, and their mask."""
    longest = max(map(len, rows))
    fill = [[9] * (longest - len(row)) for row in rows]
    ones = [[1] * len(row) for row in rows]
    pairs = zip(rows, ones, fill, strict=True)
    if side == "left":
        table = [(pad + row, [0] * len(pad) + one) for row, one, pad in pairs]
    else:
        table = [(row + pad, one + [0] * len(pad)) for row, one, pad in pairs]
    return torch.tensor([ids for ids, _ in table]), torch.tensor([mask for _, mask in table])


def last_logits(model: RegionVLM, rows: list[list[int]]) -> list[Tensor]:
    """The logits behind each row, read in one pass by itself."""
    return [
        model(torch.tensor([row]), None, pictures).logits[0, -1]
        for row, pictures in zip(rows, PICTURES_OF_ROW, strict=True)
    ]


def logits_behind(output: Any, mask: Tensor, model: RegionVLM, side: str) -> Tensor:
    """The logits behind each row's last token."""
    if side == "left":
        return output.logits[:, -1]
    last = mask.sum(1) - 1
    return output.logits[torch.arange(len(mask)), last]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("positions", ["plain", "segment"])
@torch.no_grad()
def test_token_by_token_as_in_one_pass(family, positions):
    if positions == "segment" and family == "gpt2":
        pytest.skip("GPT-2 has no rotary positions")
    model = tiny_vlm(family, positions=positions)
    row = [1, 50, IMAGE, 51, 20, 21, 22]
    whole = model(torch.tensor([row]), None, PICTURES[:1], use_cache=False).logits[0, -4:]
    output = model(torch.tensor([row[:4]]), None, PICTURES[:1], use_cache=True)
    steps = [output.logits[0, -1]]
    for token in row[4:]:
        cache = output.past_key_values
        output = model(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
        steps.append(output.logits[0, -1])
    assert torch.allclose(torch.stack(steps), whole, rtol=0, atol=2e-5)


MASKS = ["none", "new", "ids", "columns"]


@pytest.mark.slow
@pytest.mark.parametrize("ids_side", ["left", "right"])
@pytest.mark.parametrize("mask_of", MASKS)
@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_padded_rows_go_on_with_any_mask(ids_side, mask_of, side):
    model = tiny_vlm("gpt2")  # whose positions are absolute: a wrong one shows
    then = [row + [70] * (3 - len(row)) for row in THEN] if mask_of == "none" else THEN
    expected = last_logits(model, [[*a, *b] for a, b in zip(FIRST, then, strict=True)])
    first_ids, first_mask = padded(FIRST, ids_side)
    ids, new_mask = padded(then, ids_side)
    first = model(first_ids, first_mask, PICTURES_FIRST, use_cache=True, side=side)
    cache = first.past_key_values
    columns = model.spliced(first_ids, first_mask, PICTURES_FIRST, side=side).mask.long()
    mask = {
        "none": None,
        "new": new_mask,
        "ids": torch.cat([first_mask, new_mask], 1),
        "columns": torch.cat([columns, new_mask], 1),
    }[mask_of]
    output = model(ids, mask, PICTURES_THEN, past_key_values=cache, use_cache=True, side=side)
    lengths = model.spliced(ids, new_mask, PICTURES_THEN).mask
    behind = logits_behind(output, lengths, model, side)
    assert torch.allclose(behind, torch.stack(expected), rtol=0, atol=2e-5)


@torch.no_grad()
def test_text_padded_on_the_left_and_the_whole_mask_of_transformers():
    """The columns lie otherwise than the ids: a mask of ids must not be taken for theirs."""
    model = tiny_vlm()
    rows = [[1, 40, 41, 42], [1, 50]]
    ids, mask = padded(rows, "left")
    output = model(ids, mask, use_cache=True)
    whole = torch.cat([mask, torch.ones(2, 1, dtype=torch.int64)], 1)
    new = torch.tensor([[44], [55]])
    after = model(new, whole, past_key_values=output.past_key_values).logits[:, -1]
    for row, token, logits in zip(rows, (44, 55), after, strict=True):
        alone = model(torch.tensor([[*row, token]])).logits[0, -1]
        assert torch.allclose(logits, alone, rtol=0, atol=2e-5)


@torch.no_grad()
def test_a_cache_that_was_copied_cut_or_repeated():
    model = tiny_vlm("gpt2")
    first_ids, first_mask = padded(FIRST, "right")
    cache = model(first_ids, first_mask, PICTURES_FIRST, use_cache=True).past_key_values
    token = torch.full((3, 1), 70)
    expected = torch.stack(last_logits_of_first(model, 70))
    copied = copy.deepcopy(cache)
    after = model(token, past_key_values=copied).logits[:, -1]
    assert torch.allclose(after, expected, rtol=0, atol=2e-5)
    repeated = copy.deepcopy(cache)
    repeated.batch_repeat_interleave(2)
    after = model(token.repeat(2, 1), past_key_values=repeated).logits[:, -1]
    assert torch.allclose(after, expected.repeat_interleave(2, 0), rtol=0, atol=2e-5)
    model(token, past_key_values=copied)  # two new tokens, and both taken away again
    copied.crop(cache.get_seq_length() - copied.get_seq_length())
    after = model(token, torch.ones(3, 1), past_key_values=copied).logits[:, -1]
    assert torch.allclose(after, expected, rtol=0, atol=2e-5)


def last_logits_of_first(model: RegionVLM, token: int) -> list[Tensor]:
    pictures = [PICTURES[:1], PICTURES[1:2], []]
    return [
        model(torch.tensor([[*row, token]]), None, shown).logits[0, -1]
        for row, shown in zip(FIRST, pictures, strict=True)
    ]


@torch.no_grad()
def test_a_window_that_counts_columns_takes_rows_padded_on_the_left():
    model = tiny_vlm("windowed")
    ids, mask = padded(FIRST, "right")
    token = torch.full((3, 1), 70)
    cache = model(ids, mask, PICTURES_FIRST, use_cache=True).past_key_values
    with pytest.raises(ValueError, match=r"row 2 has padding between .* pass side='left'"):
        model(token, past_key_values=cache)
    cache = model(ids, mask, PICTURES_FIRST, use_cache=True, side="left").past_key_values
    after = model(token, past_key_values=cache, side="left").logits[:, -1]
    assert torch.allclose(after, torch.stack(last_logits_of_first(model, 70)), atol=2e-5)


@torch.no_grad()
def test_spliced_rows_are_read_as_the_ids_they_came_from():
    model = tiny_vlm("gpt2")
    ids, mask = padded(FIRST, "left")
    spliced = model.spliced(ids, mask, PICTURES_FIRST, side="left")
    expected = model(ids, mask, PICTURES_FIRST, side="left", use_cache=True)
    output = model(inputs_embeds=spliced.embeds, attention_mask=spliced.mask, use_cache=True)
    is_token = spliced.mask
    assert torch.allclose(output.logits[is_token], expected.logits[is_token], atol=2e-5)
    token = torch.full((3, 1), 70)
    embeds = model.get_input_embeddings()(token)
    after = model(inputs_embeds=embeds, past_key_values=output.past_key_values).logits[:, -1]
    assert torch.allclose(after, torch.stack(last_logits_of_first(model, 70)), atol=2e-5)


@torch.no_grad()
def test_calls_that_would_be_read_wrongly_are_refused():
    model = tiny_vlm()
    ids, mask = padded(FIRST, "right")
    cache = model(ids, mask, PICTURES_FIRST, use_cache=True).past_key_values
    token, columns = torch.full((3, 1), 70), cache.get_seq_length()
    with pytest.raises(ValueError, match=r"mask has 3 columns; with this cache it may have 1, 7"):
        model(token, torch.ones(3, 3), past_key_values=cache)
    with pytest.raises(ValueError, match="something else of the ids in the cache than the mask"):
        model(token, torch.ones(3, ids.shape[1] + 1), past_key_values=cache)
    own = model.language_model(ids.clamp(min=4), use_cache=True).past_key_values
    with pytest.raises(ValueError, match=r"not known which of the 6 columns .* a mask of all 7"):
        model(token, torch.ones(3, 1), past_key_values=own)
    model(token, torch.ones(3, 7), past_key_values=copy.deepcopy(own))
    with pytest.raises(ValueError, match="packed rows are read in one call"):
        model(token, segments=torch.zeros(3, 1), past_key_values=cache)
    embeds = model.get_input_embeddings()(token)
    for more in ({"pictures": PICTURES[:1]}, {"segments": torch.zeros(3, 1)}):
        with pytest.raises(ValueError, match="spliced already: pictures and segments go with"):
            model(inputs_embeds=embeds, **more)
    for both in ({}, {"input_ids": token, "inputs_embeds": embeds}):
        with pytest.raises(ValueError, match=r"give input_ids .* or inputs_embeds"):
            model(**both)
        with pytest.raises(ValueError, match=r"give input_ids .* or inputs_embeds"):
            model.generate(**both)
    long = model(torch.full((1, 510), 40), use_cache=True).past_key_values
    with pytest.raises(ValueError, match="row 0 has 3 text and 0 visual tokens, behind 510 in the"):
        model(torch.full((1, 3), 40), past_key_values=long)
    assert columns > ids.shape[1]


NEW = {"max_new_tokens": 4, "do_sample": False}


def test_generate_without_a_mask_sees_no_padding():
    model = tiny_vlm("gpt2")
    alone = [
        model.generate(torch.tensor([row]), torch.ones(1, len(row)), shown, **NEW)[0, -4:].tolist()
        for row, shown in zip(FIRST, [PICTURES[:1], PICTURES[1:2], []], strict=True)
    ]
    for side in ("left", "right"):
        ids, mask = padded(FIRST, side)
        ids = ids.masked_fill(mask == 0, 0)
        model.generation_config.pad_token_id, model.generation_config.bos_token_id = 0, 1
        answers = model.generate(ids, None, PICTURES_FIRST, **NEW)
        assert answers[:, -4:].tolist() == alone
        with pytest.raises(ValueError, match="the id 0 stands at an end of some prompts"):
            model.generate(ids, None, PICTURES_FIRST, **NEW, bos_token_id=0)
        masked = model.generate(ids, mask, PICTURES_FIRST, **NEW, bos_token_id=0)
        assert masked.equal(answers)


def test_a_begin_token_that_is_the_padding_too_is_text_where_every_row_has_it():
    both = SpecialIds(5, frozenset({5}))
    assert mask_of_padding(torch.tensor([[5, 7, 8], [5, 6, 7]]), both) is None
    assert mask_of_padding(torch.tensor([[7, 5, 8]]), both) is None
    assert mask_of_padding(torch.tensor([[5, 5]]), SpecialIds(None, frozenset())) is None
    for rows in ([[5, 7, 8], [6, 7, 8]], [[5, 5, 8]], [[7, 8, 5], [7, 8, 6]]):
        with pytest.raises(ValueError, match="give attention_mask"):
            mask_of_padding(torch.tensor(rows), both)
    config = hub.GenerationConfig(eos_token_id=[7, 8])
    assert SpecialIds.of({}, [None, config], None) == SpecialIds(7, frozenset({7, 8}))
    assert SpecialIds.of({"pad_token_id": 2}, [config], None).pad == 2


def test_generate_from_spliced_rows():
    model = tiny_vlm()
    ids, mask = padded(FIRST, "left")
    spliced = model.spliced(ids, mask, PICTURES_FIRST, side="left")
    rows = {"inputs_embeds": spliced.embeds, "attention_mask": spliced.mask.long()}
    expected = model.generate(ids, mask, PICTURES_FIRST, **NEW)[:, -4:]
    assert model.generate(**rows, **NEW).equal(expected)


@pytest.mark.parametrize("positions", ["plain", "segment"])
@pytest.mark.parametrize("filled_by", ["forward", "generate"])
def test_generate_goes_on_with_a_conversation(positions, filled_by):
    model = tiny_vlm(positions=positions)
    ids = torch.tensor([[1, 50, IMAGE, 51]])
    cache = hub.DynamicCache(config=model.language_model.config)
    if filled_by == "forward":
        with torch.no_grad():
            model(ids, None, PICTURES[:1], past_key_values=cache, use_cache=True)
    else:
        ids = model.generate(ids, None, PICTURES[:1], past_key_values=cache, **NEW)
    whole = torch.cat([ids, torch.tensor([[60, IMAGE, 61]])], 1)
    expected = model.generate(whole, None, PICTURES[:2], **NEW)
    before = cache.get_seq_length()
    answer = model.generate(whole, None, PICTURES[:2], past_key_values=cache, **NEW)
    assert answer.equal(expected)
    assert cache.get_seq_length() > before
    with pytest.raises(ValueError, match="give the whole conversation, what is cached and what is"):
        model.generate(ids, None, PICTURES[:1], past_key_values=cache, **NEW)


def test_generate_refuses_a_cache_whose_columns_are_others():
    model = tiny_vlm()
    ids, mask = padded(FIRST, "right")
    with torch.no_grad():
        cache = model(ids, mask, PICTURES_FIRST, use_cache=True).past_key_values
    more = torch.full((3, 2), 70)
    whole, whole_mask = torch.cat([ids, more], 1), torch.cat([mask, torch.ones(3, 2).long()], 1)
    with pytest.raises(ValueError, match="go on with one conversation at a time"):
        model.generate(whole, whole_mask, PICTURES_FIRST, past_key_values=cache, **NEW)
