"""Regions said in words: embeddings that are words exactly, gradients, and the loss of naming."""

from __future__ import annotations

import pytest
import torch

from regiontok.connect.words import Words
from regiontok.settings import registry, spec

GROUPS = "small large, red green blue"
IDS = [11, 12, 10, 21, 22, 23, 10]  # small large none, red green blue none
WIDTH, OUT = 6, 4


def built(*, soft: bool = False):
    torch.manual_seed(0)
    connector = Words(GROUPS, soft=soft)
    module = connector.build(WIDTH, OUT)
    embeddings = torch.randn(7, OUT)
    connector.take_words(module, IDS, embeddings)
    return connector, module, embeddings


def test_tokens_are_the_words_that_the_head_says():
    connector, module, embeddings = built()
    values = torch.randn(5, WIDTH)
    first, second = module.head(values).split([3, 4], 1)
    said = torch.stack([first.argmax(1), 3 + second.argmax(1)], 1).flatten()
    assert torch.equal(module(values), embeddings[said])
    assert connector.rows == 2
    assert module(values[:0]).shape == (0, OUT)


def test_soft_tokens_are_mixtures_and_gradients_are_the_same():
    _, hard, embeddings = built()
    _, soft, _ = built(soft=True)
    values = torch.randn(5, WIDTH)
    shares = soft.head(values)[:, :3].softmax(1)
    torch.testing.assert_close(soft(values)[::2], shares @ embeddings[:3])
    goal = torch.randn(10, OUT)
    for module in (hard, soft):
        (module(values) * goal).sum().backward()
    assert hard.head.weight.grad.abs().sum() > 0
    torch.testing.assert_close(hard.head.weight.grad, soft.head.weight.grad)


def test_the_loss_of_naming_asks_each_group_for_its_word():
    connector, module, _ = built()
    with torch.no_grad():
        module.head.weight.zero_()
        # large, and no colour
        module.head.bias.copy_(torch.tensor([0.0, 50, 0, 0, 0, 0, 50]))
    values = torch.zeros(1, WIDTH)
    for words, loss in (([12, 12], 0), ([12, 99], 0), ([11, 99], 25), ([23, 11], 50)):
        named = connector.naming_loss(module, values, torch.tensor([words]))
        assert float(named) == pytest.approx(loss, abs=1e-3)


def test_a_head_learns_to_name():
    connector, module, embeddings = built()
    values, words = torch.eye(WIDTH)[:3], torch.tensor([[11, 21], [12, 23], [10, 10]])
    optimiser = torch.optim.Adam(module.parameters(), lr=0.1)
    for _ in range(60):
        optimiser.zero_grad()
        connector.naming_loss(module, values, words).backward()
        optimiser.step()
    said = torch.tensor([0, 3, 1, 5, 2, 6])
    assert torch.equal(module(values), embeddings[said])


def test_words_are_saved_with_the_head():
    _, module, embeddings = built()
    again = Words(GROUPS).build(WIDTH, OUT)
    assert not torch.equal(again.embeddings, embeddings)
    again.load_state_dict(module.state_dict())
    assert torch.equal(again.embeddings, embeddings)
    assert again.ids.tolist() == IDS


def test_other_connectors_name_nothing():
    linear = registry.build("connector", "linear")
    module = linear.build(WIDTH, OUT)
    assert linear.rows == 1
    assert linear.words == ()
    assert not linear.names_regions
    linear.take_words(module, [], torch.zeros(0, OUT))
    with pytest.raises(ValueError, match="Linear does not name regions"):
        linear.naming_loss(module, torch.zeros(1, WIDTH), torch.zeros(1, 1).long())


@pytest.mark.parametrize("groups", ["", "red,", "red red", "red none"])
def test_groups_that_are_none(groups):
    with pytest.raises(spec.SpecError, match="a group of words has one word or more"):
        registry.build("connector", f"words({groups!r})")
