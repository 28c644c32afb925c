"""Evaluation: a loss a supervised token, and answers that are the record's own words."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from regiontok.data.collate import Collator, Example
from regiontok.model.mini import mini_tokenizer
from regiontok.model.splice import IGNORE
from regiontok.train.evaluate import evaluate_vlm, last_answer

TOKENIZER = mini_tokenizer()


def example(question, *answers):
    ids = [1, *TOKENIZER(question).input_ids]
    labels = [IGNORE] * len(ids)
    for answer in answers:
        answer_ids = [*TOKENIZER(answer).input_ids, TOKENIZER.eos_token_id]
        newline = TOKENIZER("\n").input_ids
        ids = ids + answer_ids + newline
        labels = labels + answer_ids + [IGNORE] * len(newline)
    return Example(ids, labels)


class Parrot(nn.Module):
    """Says "red", whatever it is asked; its loss is the share of supervised places in a batch."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, input_ids, attention_mask, labels, pictures, use_cache):
        assert not self.training
        loss = (labels[:, 1:] != IGNORE).float().sum() / attention_mask.sum()
        return SimpleNamespace(loss=loss)

    def generate(self, ids, mask, pictures, max_new_tokens, do_sample):
        assert not do_sample
        reply = [*TOKENIZER("red").input_ids, TOKENIZER.eos_token_id, *TOKENIZER("x").input_ids]
        reply = reply[:max_new_tokens]
        return torch.cat([ids, torch.tensor([reply]).expand(len(ids), -1)], 1)


def test_exact_match_is_the_share_of_right_answers():
    model = Parrot().train()
    rows = [
        example("a?", "red"),
        example("b?", "reddish"),
        example("c?", "blue", "red"),
        example("d?", "re"),
    ]
    metrics = evaluate_vlm(
        model, rows, collate=Collator(3), tokenizer=TOKENIZER, per_pass=3, answers=4
    )
    assert metrics["exact_match"] == 0.5
    assert (metrics["answers"], metrics["examples"]) == (4.0, 4.0)
    assert model.training


def test_the_loss_is_weighted_by_supervised_tokens():
    long, short = example("a?", "a long answer"), example("b?", "b")
    metrics = evaluate_vlm(
        Parrot(), [long, short], collate=Collator(3), tokenizer=TOKENIZER, per_pass=1, answers=0
    )
    counts = [14, 2]
    shares = [14 / len(long.input_ids), 2 / len(short.input_ids)]
    expected = sum(c * s for c, s in zip(counts, shares, strict=True)) / sum(counts)
    assert metrics["loss"] == pytest.approx(expected)
    assert "exact_match" not in metrics


def test_the_last_answer_is_asked_for_after_all_before_it():
    question, answer = last_answer(example("q", "one", "two"))
    assert TOKENIZER.decode(question) == "<s>qone</s>\n"
    assert TOKENIZER.decode(answer) == "two</s>"
