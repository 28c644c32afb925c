"""Evaluation while a language model trains, on records that are held out from training.

Two numbers: the loss, and how many greedy answers are the record's own words.

After: nothing; common practice.
Differs: nothing known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from regiontok.data.blocks import SHARED
from regiontok.data.collate import Collator, Example
from regiontok.model.splice import IGNORE


@torch.no_grad()
def evaluate_vlm(
    model: nn.Module,
    examples: Sequence[Example],
    *,
    collate: Collator,
    tokenizer: Any,
    per_pass: int,
    answers: int,
) -> dict[str, float]:
    """The loss on held-out examples, and the share of them that are answered word for word.

    Args:
        model: a `RegionVLM`; it is left in the mode it came in.
        examples: the held-out examples; one that could not be read is not among them.
        collate: the collator of training.
        tokenizer: the language model's tokenizer.
        per_pass: examples of one pass.
        answers: examples that are answered, the first ones; 0 generates nothing.

    Returns:
        `loss`, a mean over supervised tokens, and `examples`, how many there are; with answers also
        `exact_match`, the share of last answers that are right, in [0, 1], and `answers`, how many
        there are.
    """
    was_training = model.training
    model.eval()
    try:
        metrics = {
            "loss": _loss(model, examples, collate, per_pass),
            "examples": float(len(examples)),
        }
        # an answer of a row that is cut may be lost, or lack its end
        whole = [
            example
            for example in examples
            if not example.is_cut and any(label != IGNORE for label in example.labels)
        ]
        if questions := whole[:answers]:
            right = sum(
                _count_right(model, questions[start : start + per_pass], collate, tokenizer)
                for start in range(0, len(questions), per_pass)
            )
            metrics["exact_match"] = right / len(questions)
            metrics["answers"] = float(len(questions))
        return metrics
    finally:
        model.train(was_training)


def last_answer(example: Example) -> tuple[list[int], list[int]]:
    """The ids before the last answer, and the answer's ids.

    >>> last_answer(Example([1, 5, 6, 2, 9], [IGNORE, IGNORE, 6, 2, IGNORE]))
    ([1, 5], [6, 2])
    """
    stop = 1 + max(index for index, label in enumerate(example.labels) if label != IGNORE)
    start = stop
    while start and example.labels[start - 1] != IGNORE:
        start -= 1
    seen = list(range(start))
    if example.blocks:  # the last question sees no other
        last = example.blocks[stop - 1]
        seen = [place for place in seen if example.blocks[place] in (SHARED, last)]
    return [example.input_ids[place] for place in seen], example.input_ids[start:stop]


def _loss(model: nn.Module, examples: Sequence[Example], collate: Collator, per_pass: int) -> float:
    """Mean loss of the supervised tokens."""
    total, tokens = 0.0, 0
    for start in range(0, len(examples), per_pass):
        batch = _on_device_of(model, collate(examples[start : start + per_pass]))
        count = int((batch["labels"][:, 1:] != IGNORE).sum())
        if count:
            total += float(model(**batch, use_cache=False).loss) * count
            tokens += count
    return total / max(tokens, 1)


def _count_right(
    model: nn.Module, examples: Sequence[Example], collate: Collator, tokenizer: Any
) -> int:
    """How many examples of one pass the model answers in the record's own words."""
    prompts_and_answers = [last_answer(example) for example in examples]
    prompts = [
        Example(ids, [IGNORE] * len(ids), example.pictures)
        for (ids, _), example in zip(prompts_and_answers, examples, strict=True)
    ]
    batch = _on_device_of(model, collate(prompts))
    generate: Callable[..., torch.Tensor] = model.generate  # type: ignore[assignment]
    ids = generate(
        batch["input_ids"],
        batch["attention_mask"],
        batch["pictures"],
        max_new_tokens=max(len(answer) for _, answer in prompts_and_answers),
        do_sample=False,
    )
    replies = ids[:, batch["input_ids"].shape[1] :].tolist()
    return sum(
        _words(tokenizer, reply) == _words(tokenizer, answer)
        for reply, (_, answer) in zip(replies, prompts_and_answers, strict=True)
    )


def _words(tokenizer: Any, ids: list[int]) -> str:
    """The text of the ids up to the end token."""
    end = tokenizer.eos_token_id
    ids = ids[: ids.index(end)] if end in ids else ids
    return tokenizer.decode(ids, skip_special_tokens=True).strip()


def _on_device_of(model: nn.Module, batch: dict[str, Any]) -> dict[str, Any]:
    """The batch with its tensors on the model's device."""
    device = next(model.parameters()).device
    return {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in batch.items()
    }
