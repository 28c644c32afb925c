"""A model whose regions are said in words of its own language model."""

from __future__ import annotations

import pytest
import torch

from regiontok.core.masks import PixelMasks
from regiontok.data.collate import Collator, Example
from regiontok.model.block_attention import attention_by_blocks
from regiontok.model.mini import mini_tokenizer
from regiontok.model.naming import ObjectWords
from regiontok.model.splice import IGNORE
from regiontok.model.vlm import RegionVLM
from regiontok.model.words import give_words
from regiontok.settings.recipe import TokenizerSettings
from samples.models import mini_vlm, needs_masked_logits, ready_to_answer
from samples.pictures import colour_blocks

GROUPS = "small large, red green"
WORDS = ("small", "large", "none", "red", "green", "none")
REGIONS = 3


@pytest.fixture
def model():
    visual = TokenizerSettings(encoder="filters(size=112)", regions=f"merge(k={REGIONS})")
    return ready_to_answer(mini_vlm(visual, connector=f"words({GROUPS!r})"))


def test_regions_are_several_tokens_out_of_the_language_model(model, tmp_path):
    tokenizer = mini_tokenizer()
    give_words(model, tokenizer)
    table = model.get_input_embeddings().weight
    expected = [table[tokenizer(f" {word}").input_ids].mean(0) for word in WORDS]
    module = model.head.connector
    torch.testing.assert_close(module.embeddings, torch.stack(expected))
    assert module.ids.tolist() == [tokenizer(" ").input_ids[0]] * len(WORDS)
    tokens = model.see([colour_blocks(0, (40, 60))])
    assert tokens.region.tolist() == [0, 0, 1, 1, 2, 2]
    for values, group in zip(tokens.values, ([0, 1, 2], [3, 4, 5]) * REGIONS, strict=True):
        assert any(torch.equal(values, module.embeddings[word]) for word in group)
    model.save_pretrained(tmp_path)
    again = RegionVLM.from_pretrained(tmp_path).see([colour_blocks(0, (40, 60))])
    assert torch.equal(again.values, tokens.values)


def test_other_connectors_are_left_alone():
    plain = mini_vlm(TokenizerSettings(encoder="filters(size=112)"))
    before = {name: value.clone() for name, value in plain.head.state_dict().items()}
    give_words(plain, mini_tokenizer())
    assert all(torch.equal(value, before[name]) for name, value in plain.head.state_dict().items())


@needs_masked_logits
def test_the_loss_of_naming_is_the_connector_s(model):
    """It goes with the answers' loss by blocks and without, and reaches the head alone."""
    model.train()
    connector = model.head.connector
    connector.ids.copy_(torch.tensor([40, 41, 50, 60, 61, 50]))
    objects = ObjectWords(
        PixelMasks.from_dense(torch.ones(1, 40, 60)), torch.tensor([[41, 60], [50, 50]])
    )
    row = Example(
        [1, 3, 20, 21, 22, 23],
        [IGNORE, IGNORE, IGNORE, 21, IGNORE, 23],
        (colour_blocks(0, (40, 60)),),
        blocks=(-1, -1, 0, 0, 1, 1),
        objects=(objects,),
    )
    batch = Collator(placeholder=3)([row])
    plain = {name: value for name, value in batch.items() if name != "objects"}
    with attention_by_blocks(model):
        answers = model(**plain, supervised_only=True).loss
        both = model(**batch, naming=0.5, supervised_only=True).loss
    whole = model(**batch, naming=0.5).loss
    items = model(**batch, naming=0.5, num_items_in_batch=torch.tensor(4)).loss
    torch.testing.assert_close(whole, both)
    torch.testing.assert_close(items, both / 2)
    loss = 2 * (both - answers)
    with torch.no_grad():
        connector.head.bias.copy_(torch.tensor([0.0, 60, 0, 60, 0, 0]))
        connector.head.weight.zero_()
        answers = model(**plain).loss
        named = model(**batch, naming=0.5).loss
    assert loss > 0.1
    assert float(named - answers) == pytest.approx(0, abs=1e-5)


def test_delimiters_cannot_stand_behind_several_tokens():
    visual = TokenizerSettings(
        encoder="filters(size=112)", pool="select", regions="merge(k=3)", place_tokens="delimiter"
    )
    with pytest.raises(ValueError, match="makes 2 tokens of one: delimiters and newlines"):
        mini_vlm(visual, connector=f"words({GROUPS!r})")
