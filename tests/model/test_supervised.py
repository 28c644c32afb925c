"""Supervised logits alone: the same loss and gradients, and fewer logits."""

from __future__ import annotations

import pytest
import torch

from regiontok.model.supervised import keeps_supervised
from regiontok.settings.recipe import TokenizerSettings
from samples.models import mini_vlm, needs_masked_logits, ready_to_answer

VISUAL = TokenizerSettings(encoder="filters(size=112)", regions="windows(4)", norm="rms")
IDS = torch.tensor([[1, 40, 41, 42, 43, 44], [1, 50, 51, 52, 0, 0]])
LABELS = torch.tensor([[-100, -100, 41, -100, -100, 44], [-100, -100, -100, 52, -100, -100]])


@needs_masked_logits
def test_loss_and_gradients_are_those_of_all_logits():
    model = ready_to_answer(mini_vlm(VISUAL)).train()
    gradients = []
    for supervised_only in (False, True):
        model.zero_grad()
        output = model(IDS, IDS.ne(0), labels=LABELS, supervised_only=supervised_only)
        assert output.logits.shape[:-1] == ((3,) if supervised_only else (2, 6))
        output.loss.backward()
        grads = [value.grad.clone() for value in model.parameters() if value.grad is not None]
        gradients.append((output.loss.detach(), *grads))
    assert len(gradients[0]) == len(gradients[1]) > 3
    for whole, part in zip(*gradients, strict=True):
        assert torch.allclose(whole, part, rtol=1e-5, atol=1e-6)


@needs_masked_logits
def test_nothing_supervised_is_a_loss_of_nothing():
    model = mini_vlm(VISUAL).train()
    nothing = torch.full_like(LABELS, -100)
    options = {"labels": nothing, "num_items_in_batch": torch.tensor(1), "supervised_only": True}
    loss = model(IDS, IDS.ne(0), **options).loss
    assert float(loss.detach()) == 0
    loss.backward()


@needs_masked_logits
def test_a_language_model_that_cannot_is_found(monkeypatch):
    model = mini_vlm(VISUAL)
    assert keeps_supervised(model)
    forward = type(model.language_model).forward

    def without(self, *args, logits_to_keep=0, shift_labels=None, **kwargs):
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(model.language_model), "forward", without)
    assert not keeps_supervised(model)

    def refusing(self, *args, shift_labels=None, **kwargs):
        if shift_labels is not None:
            raise TypeError("unexpected keyword argument 'shift_labels'")
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(model.language_model), "forward", refusing)
    assert not keeps_supervised(model)
    assert not model.training


@pytest.mark.parametrize("supervised_only", [False, True])
def test_without_labels_all_logits_are_there(supervised_only):
    model = mini_vlm(VISUAL)
    assert model(IDS, supervised_only=supervised_only).logits.shape[1] == 6
