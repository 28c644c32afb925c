"""Segmentation-aware RoPE against the paper's words, token by token.

It is tried in training, prefill, decoding, packed and padded rows.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from regiontok.core.picture import Picture
from regiontok.core.tokens import CLS, DELIMITER, REGION, WHOLE, Tokens
from regiontok.model.positions import position_table, segment_positions
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import Lora, Stage, TokenizerSettings, resolve
from regiontok.train.build import build_model
from regiontok.train.parts import set_trainable
from samples.models import padded, tiny_sizes

hub = pytest.importorskip("transformers")

IMAGE = 3
WIDTH = 32
BODY = tiny_sizes(initializer_range=0.2)  # so that positions change what is answered
FAMILIES = {
    "llama": lambda: hub.LlamaForCausalLM(hub.LlamaConfig(**BODY)),
    "qwen2": lambda: hub.Qwen2ForCausalLM(hub.Qwen2Config(**BODY)),
    "qwen3": lambda: hub.Qwen3ForCausalLM(hub.Qwen3Config(**BODY, head_dim=8)),
}
VISUAL = TokenizerSettings(encoder="filters(size=112)", regions="merge(k=3)", pool="select")
# an image is its masks: rows of each; "w" whole-image rows, "c" CLS, "d" a delimiter
IMAGES: list[list[Any]] = [[3, 1, 4], ["c", "w", "w", 2, "d", 3, "d"], [5], []]
# a row is text ids and images
ROWS: list[list[Any]] = [
    [1, 40, 41, IMAGES[0], 42],
    [1, IMAGES[1], 50, IMAGES[2], 51, 52],
    [1, 60, 61],
    [1, 44, IMAGES[2], IMAGES[2]],  # two images side by side, and nothing behind the last
]
EXACT: dict[str, Any] = {"do_sample": False, "min_new_tokens": 6, "max_new_tokens": 6}


def tiny_vlm(
    family: str = "llama", positions: str = "segment", visual: TokenizerSettings = VISUAL
) -> RegionVLM:
    torch.manual_seed(0)
    return RegionVLM.from_parts(
        FAMILIES[family](), visual, image_token_id=IMAGE, positions=positions
    ).eval()


def images(rows: list[list[Any]]) -> list[list[Any]]:
    return [item for row in rows for item in row if isinstance(item, list)]


def tokens_of(rows: list[list[Any]], width: int = WIDTH) -> Tokens:
    """Drawn rows for every image.

    An image's rows depend on its masks only, so that a row alone has those it has in a batch.
    """
    kinds = {"c": CLS, "w": WHOLE, "d": DELIMITER}
    ids: list[tuple[int, int, int]] = []
    values = [torch.zeros(0, width)]
    for image, parts in enumerate(images(rows)):
        region = -1
        for mask in parts:
            region += isinstance(mask, int)
            count, kind = (mask, REGION) if isinstance(mask, int) else (1, kinds[mask])
            ids += [(image, region if kind in (REGION, DELIMITER) else -1, kind)] * count
        count = sum(mask if isinstance(mask, int) else 1 for mask in parts)
        values.append(torch.randn(count, width, generator=torch.Generator().manual_seed(7)))
    image, region, kind = torch.tensor(ids, dtype=torch.int64).view(-1, 3).unbind(1)
    none = torch.zeros_like(image)
    return Tokens(torch.cat(values), image, none, region, none - 1, kind, images=len(images(rows)))


def ids_of(rows: list[list[Any]], side: str) -> tuple[Tensor, Tensor]:
    return padded(
        [[IMAGE if isinstance(item, list) else item for item in row] for row in rows], side
    )


def by_the_paper(row: list[Any]) -> list[int]:
    """Section 5.4.3, literally.

    p becomes s if s <= p <= e for some interval (s, e) of a mask, and stays p otherwise.
    """
    length, intervals = 0, []
    for item in row:
        for mask in item if isinstance(item, list) else [None]:
            count = mask if isinstance(mask, int) else 1
            if isinstance(mask, int):
                intervals.append((length, length + count - 1))
            length += count
    return [next((s for s, e in intervals if s <= p <= e), p) for p in range(length)]


def test_by_hand():
    assert by_the_paper(ROWS[0]) == [0, 1, 2, 3, 3, 3, 6, 7, 7, 7, 7, 11]
    assert by_the_paper(ROWS[3]) == [0, 1, 2, 2, 2, 2, 2, 7, 7, 7, 7, 7]


@pytest.mark.parametrize("side", ["left", "right"])
def test_positions_are_the_paper_s_in_every_row_of_a_batch(side):
    model, tokens = tiny_vlm(), tokens_of(ROWS)
    spliced = model.spliced(*ids_of(ROWS, side), tokens, side=side)
    table = position_table(spliced)
    for row, items in enumerate(ROWS):
        expected = by_the_paper(items)
        assert spliced.shared_positions[row, spliced.mask[row]].tolist() == expected
        assert table[row].tolist() == expected + list(range(len(expected), table.shape[1]))


def test_of_packed_rows_each_sample_has_its_own():
    row = [item for items in ROWS for item in items]
    segments = torch.tensor([[sample for sample, items in enumerate(ROWS) for _ in items]])
    spliced = tiny_vlm().spliced(
        ids_of([row], "right")[0], None, tokens_of(ROWS), segments=segments
    )
    assert spliced.shared_positions[0].tolist() == [
        p for items in ROWS for p in by_the_paper(items)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_logits_are_those_of_the_paper_s_phases(family, side, monkeypatch):
    """The language model alone, with the paper's phases put into its rotary embedding.

    Its own positions are plain; each phase is computed from the collapsed position.
    """
    model, tokens = tiny_vlm(family), tokens_of(ROWS)
    ids, mask = ids_of(ROWS, side)
    logits = model(ids, mask, tokens).logits
    rotary = model.language_model.model.rotary_emb
    inner = rotary.forward
    for row, items in enumerate(ROWS):
        spliced = model.spliced(ids[row : row + 1], mask[row : row + 1], tokens_of([items]))
        phases = torch.tensor([by_the_paper(items)])
        monkeypatch.setattr(
            rotary, "forward", lambda x, position_ids, phases=phases: inner(x, phases)
        )
        alone = model.language_model(inputs_embeds=spliced.embeds, use_cache=False).logits
        monkeypatch.undo()
        assert torch.allclose(logits[row, : alone.shape[1]], alone[0], rtol=0, atol=2e-5)
    plain = tiny_vlm(family, "plain")(ids, mask, tokens).logits
    assert bool(((plain - logits).abs().amax((1, 2))[:2] > 0.1).all()), (
        "positions should change what comes out"
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_without_masks_it_is_the_plain_model_to_the_bit(family):
    # patches by themselves, whole images, no image
    rows = [[1, 40, ["c", 1, 1, 1, 1], 41], [1, ["w", "w"], 50, [1]], [1, 60]]
    ids, mask = ids_of(rows, "left")
    segment, plain = tiny_vlm(family), tiny_vlm(family, "plain")
    tokens = tokens_of(rows)
    assert torch.equal(
        segment.spliced(ids, mask, tokens).shared_positions,
        plain.spliced(ids, mask, tokens).positions,
    )
    assert torch.equal(segment(ids, mask, tokens).logits, plain(ids, mask, tokens).logits)
    assert torch.equal(
        segment.generate(ids, mask, tokens, **EXACT), plain.generate(ids, mask, tokens, **EXACT)
    )


def decoded(model: RegionVLM, items: list[Any], steps: int) -> list[int]:
    """Greedy decoding without a cache, every position written down from the paper's words."""
    row, new = list(items), []
    for _ in range(steps):
        spliced = model.spliced(ids_of([row], "right")[0], None, tokens_of([row]))
        positions = torch.tensor([by_the_paper(row)])
        logits = model.language_model(
            inputs_embeds=spliced.embeds,
            attention_mask=torch.ones_like(positions),
            position_ids=positions,
            use_cache=False,
        ).logits[0, -1]
        logits[[2, IMAGE]] = -torch.inf  # no end before its time, and never a placeholder
        new.append(int(logits.argmax()))
        row.append(new[-1])
    return new


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_every_decode_step_goes_on_at_the_length_of_the_row(family, side):
    model = tiny_vlm(family)
    ids, mask = ids_of(ROWS, side)
    answers = model.generate(ids, mask, tokens_of(ROWS), **EXACT)
    plain = tiny_vlm(family, "plain").generate(ids, mask, tokens_of(ROWS), **EXACT)
    expected = [decoded(model, items, 6) for items in ROWS]
    assert answers[:, -6:].tolist() == expected
    assert plain[:, -6:].tolist() != expected
    alone = [model.generate(*ids_of([items], side), tokens_of([items]), **EXACT) for items in ROWS]
    assert [answer[0, -6:].tolist() for answer in alone] == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_beams_of_a_row_alone_are_those_of_the_row_in_a_batch(family):
    model = tiny_vlm(family)
    options: dict[str, Any] = {**EXACT, "num_beams": 3, "num_return_sequences": 2}
    together = model.generate(*ids_of(ROWS, "left"), tokens_of(ROWS), **options)[:, -6:]
    for row, items in enumerate(ROWS):
        alone = model.generate(*ids_of([items], "left"), tokens_of([items]), **options)[:, -6:]
        assert torch.equal(together[2 * row : 2 * row + 2], alone)


def gradients(model: RegionVLM, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
    model.zero_grad()
    model.train()(*args, **kwargs).loss.backward()
    return {
        name: value.grad.clone()
        for name, value in model.named_parameters()
        if value.grad is not None
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointed_training_has_the_same_gradients(family):
    """A mask always goes along.

    Without any mask and cache, transformers takes repeated positions for the seams of packed rows.
    """
    model = tiny_vlm(family)
    for rows in (ROWS[:2], ROWS[:1]):  # with padding, and without
        ids, mask = ids_of(rows, "right")
        tokens, labels = tokens_of(rows), ids.masked_fill((ids == IMAGE) | (mask == 0), -100)
        model.gradient_checkpointing_disable()
        plain = gradients(model, ids, mask, tokens, labels=labels)
        model.gradient_checkpointing_enable({"use_reentrant": False})
        again = gradients(model, ids, mask, tokens, labels=labels)
        alone = gradients(model, ids, None, tokens, labels=labels) if len(rows) == 1 else again
        assert plain.keys() == again.keys() == alone.keys()
        for name, value in plain.items():
            assert torch.allclose(value, again[name], rtol=0, atol=1e-6), name
            assert torch.allclose(value, alone[name], rtol=0, atol=1e-6), name


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_samples_are_what_they_are_alone(attention):
    model = tiny_vlm().train()
    model.set_attn_implementation(attention)
    row = [item for items in ROWS for item in items]
    segments = torch.tensor([[sample for sample, items in enumerate(ROWS) for _ in items]])
    packed = model(ids_of([row], "right")[0], None, tokens_of(ROWS), segments=segments).logits[0]
    start = 0
    for items in ROWS:
        alone = model(*ids_of([items], "right"), tokens_of([items])).logits[0]
        assert torch.allclose(packed[start : start + len(alone)], alone, rtol=0, atol=2e-5)
        start += len(alone)
    assert start == len(packed)


def test_with_pictures_saved_and_loaded(tmp_path):
    model = tiny_vlm()
    coarse = np.random.default_rng(1).integers(0, 255, (3, 3, 3), dtype=np.uint8)
    picture = Picture.of(np.array(Picture.of(coarse).pil.resize((60, 40), 0)))
    ids = torch.tensor([[1, 40, IMAGE, 41]])
    spliced = model.spliced(ids, None, [picture])
    assert spliced.shared_positions.unique().numel() == 3 + 3  # text, and one position a mask
    answer = model.generate(ids, None, [picture], **EXACT)
    model.save_pretrained(tmp_path)
    loaded = RegionVLM.from_pretrained(tmp_path)
    assert loaded.config.positions == "segment"
    assert torch.equal(loaded.generate(ids, None, [picture], **EXACT), answer)
    assert torch.equal(
        loaded.spliced(ids, None, [picture], regions="").shared_positions[0], torch.arange(67)
    )


def test_with_lora_around_the_language_model():
    pytest.importorskip("peft")
    model = tiny_vlm()
    ids, mask = ids_of(ROWS, "left")
    expected = model.generate(ids, mask, tokens_of(ROWS), **EXACT)
    stage = Stage(
        name="two", data=[], train=["language_model"], lora=Lora(rank=2, alpha=4), precision="fp32"
    )
    wrapped = set_trainable(model, stage).eval()  # adapters start at nothing
    assert type(wrapped.language_model).__name__.startswith("Peft")
    assert torch.equal(wrapped.generate(ids, mask, tokens_of(ROWS), **EXACT), expected)


def test_threads_that_answer_at_once_do_not_meet():
    model = tiny_vlm()
    expected = [
        model.generate(*ids_of([items], "left"), tokens_of([items]), **EXACT) for items in ROWS
    ]
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(
                lambda items: model.generate(*ids_of([items], "left"), tokens_of([items]), **EXACT),
                ROWS * 2,
            )
        )
    assert all(torch.equal(a, b) for a, b in zip(answers, expected * 2, strict=True))
    assert len(model.language_model.get_decoder()._forward_pre_hooks) == 1


def test_a_recipe_says_it():
    table = {
        "what": "x",
        "tokenizer": VISUAL.model_dump(),
        "model": {"language_model": "mini(width=24, layers=1, heads=2)"},
    }
    stage = {"stage": [{"name": "one", "data": [{"records": "miniworld(4)"}]}]}
    recipe = resolve({**table, **stage}, name="x", overrides=["model.positions=segment"])
    assert build_model(recipe).model.config.positions == "segment"
    with pytest.raises(
        ValueError, match=r"model\.positions: Input should be 'plain' or 'segment', got 'segments'"
    ):
        resolve(table, name="x", overrides=["model.positions=segments"])


def test_what_it_cannot_be_is_refused(monkeypatch):
    body = hub.GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2)
    with pytest.raises(ValueError, match="GPT2LMHeadModel has none; take 'plain'"):
        RegionVLM.from_parts(
            hub.GPT2LMHeadModel(body), VISUAL, image_token_id=IMAGE, positions="segment"
        )
    with pytest.raises(ValueError, match="positions must be 'plain' or 'segment', not 'rope'"):
        tiny_vlm(positions="rope")
    model, first, behind = tiny_vlm(), [[[3, 2], 40]], [[1, [3, 2], 40]]
    monkeypatch.setattr(
        model.language_model.config, "_attn_implementation_internal", "flash_attention_2"
    )
    with pytest.raises(
        ValueError,
        match="row 0 begins with a mask, whose repeated position 0 flash attention takes",
    ):
        model.spliced(*ids_of(first, "right"), tokens_of(first))
    assert model.spliced(*ids_of(behind, "right"), tokens_of(behind)).shared_positions.tolist() == [
        [0, 1, 1, 1, 4, 4, 6]
    ]


def test_no_token_leaves_plain_positions():
    spliced = SimpleNamespace(positions=torch.arange(3)[None])
    assert segment_positions(spliced, None) is spliced.positions
