"""Evaluation during training: the loss on what was held out, and how many greedy answers are the
record's own words.

After: nothing; common practice.
Differs: nothing known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from regiontok.data.collate import Collator, Example
from regiontok.model.splice import IGNORE


@torch.no_grad()
def evaluate(
    model: nn.Module,
    examples: Sequence[Example],
    collate: Collator,
    tokenizer: Any,
    *,
    each: int,
    answers: int,
) -> dict[str, float]:
    """`loss` a supervised token; `exact_match` of the first `answers` examples' last answers, in
    [0, 1]; how many there were.

    Args:
        model: a `RegionVLM`; left in the mode it came in.
        examples: held out; one that could not be read is not among them.
        collate: as in training.
        tokenizer: of the language model.
        each: examples of one pass.
        answers: 0 generates none.
    """
    before = model.training
    model.eval()
    try:
        found = {"loss": _loss(model, examples, collate, each), "examples": float(len(examples))}
        asked = [
            example for example in examples if any(label != IGNORE for label in example.labels)
        ][:answers]
        if asked:
            right = sum(
                _right(model, asked[at : at + each], collate, tokenizer)
                for at in range(0, len(asked), each)
            )
            found |= {"exact_match": right / len(asked), "answers": float(len(asked))}
        return found
    finally:
        model.train(before)


def last_answer(example: Example) -> tuple[list[int], list[int]]:
    """(the ids before the last answer, its ids).

    >>> last_answer(Example([1, 5, 6, 2, 9], [IGNORE, IGNORE, 6, 2, IGNORE]))
    ([1, 5], [6, 2])
    """
    stop = max(at for at, label in enumerate(example.labels) if label != IGNORE) + 1
    start = stop
    while start and example.labels[start - 1] != IGNORE:
        start -= 1
    return example.input_ids[:start], example.input_ids[start:stop]


def _loss(model: nn.Module, examples: Sequence[Example], collate: Collator, each: int) -> float:
    total, tokens = 0.0, 0
    for at in range(0, len(examples), each):
        batch = _on(collate(examples[at : at + each]), model)
        count = int((batch["labels"][:, 1:] != IGNORE).sum())
        if count:
            total += float(model(**batch, use_cache=False).loss) * count
            tokens += count
    return total / max(tokens, 1)


def _right(model: nn.Module, examples: Sequence[Example], collate: Collator, tokenizer: Any) -> int:
    parts = [last_answer(example) for example in examples]
    prompts = [
        Example(ids, [IGNORE] * len(ids), e.pictures)
        for (ids, _), e in zip(parts, examples, strict=True)
    ]
    batch = _on(collate(prompts), model)
    generate: Callable[..., torch.Tensor] = model.generate  # type: ignore[assignment]
    longest = max(len(answer) for _, answer in parts)
    ids = generate(
        batch["input_ids"],
        batch["attention_mask"],
        batch["pictures"],
        max_new_tokens=longest,
        do_sample=False,
    )
    said = ids[:, batch["input_ids"].shape[1] :].tolist()
    return sum(
        _words(tokenizer, new) == _words(tokenizer, old)
        for new, (_, old) in zip(said, parts, strict=True)
    )


def _words(tokenizer: Any, ids: list[int]) -> str:
    """Up to the end token."""
    end = tokenizer.eos_token_id
    return tokenizer.decode(
        ids[: ids.index(end)] if end in ids else ids, skip_special_tokens=True
    ).strip()


def _on(batch: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    device = next(model.parameters()).device
    return {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in batch.items()
    }
