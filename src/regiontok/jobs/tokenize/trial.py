"""What a dry run of `regiontok tokenize` tries: whether regions can be made as specs ask for them.

A budget that a picture cannot meet, such as ``merge(k=144)`` of 60 segments, sets that picture
aside. Before a long run a few pictures say of how many that is true.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from regiontok.core.picture import Picture, PictureError
from regiontok.data.collect import NamedPath
from regiontok.jobs.tokenize.tokenizer_set import TokenizerSet

TRIED = 8  # pictures that a dry run tries


@dataclass(frozen=True, kw_only=True)
class SpecTrial:
    """What became of a few pictures under one region spec.

    Attributes:
        spec: the spec as it is shown.
        tried: how many pictures were tried; those that cannot be decoded do not count.
        failed: of how many of them no regions could be made.
        fewest: smallest number of tokens of the others; None if there are none.
        most: largest number of tokens of the others; None if there are none.
        error: why, of the first picture that failed.
    """

    spec: str
    tried: int
    failed: int
    fewest: int | None
    most: int | None
    error: str = ""

    @property
    def share(self) -> float:
        """Share of the pictures of which no regions could be made."""
        return self.failed / self.tried if self.tried else 0.0

    def as_dict(self) -> dict[str, Any]:
        """The trial as plain values for JSON."""
        return {**asdict(self), "share": round(self.share, 4)}


def try_budgets(
    tokenizers: TokenizerSet, images: Sequence[NamedPath], count: int = TRIED
) -> list[SpecTrial]:
    """Try the specs that ask for an exact number of regions on a few of the images.

    Args:
        tokenizers: one for each region spec.
        images: where the images lie.
        count: how many of them are tried, evenly spaced over all.

    Returns:
        A trial for each spec with a budget; none if no spec has one.
    """
    with_budget = [
        tokenizer
        for tokenizer in tokenizers.tokenizers
        if any(step.exact_count is not None for step in tokenizer.regionizer.steps)
    ]
    if not with_budget or not images:
        return []
    tokens: list[list[int]] = [[] for _ in with_budget]
    errors: list[list[str]] = [[] for _ in with_budget]
    for index in np.unique(np.linspace(0, len(images) - 1, count).round().astype(int)).tolist():
        try:
            picture = Picture.of(images[index].path)
        except PictureError:
            continue  # the run itself sets it aside
        masks = any(tokenizer.regionizer.reads_masks for tokenizer in with_budget)
        with torch.no_grad():
            grids = with_budget[0].regionizer.see([picture], masks=masks)
            for place, tokenizer in enumerate(with_budget):
                try:
                    tokens[place].append(len(tokenizer.run(picture, grids=grids).tokens))
                except ValueError as error:
                    errors[place].append(str(error))
    return [
        SpecTrial(
            spec=tokenizer.regionizer.spec,
            tried=len(counts) + len(failures),
            failed=len(failures),
            fewest=min(counts, default=None),
            most=max(counts, default=None),
            error=failures[0] if failures else "",
        )
        for tokenizer, counts, failures in zip(with_budget, tokens, errors, strict=True)
    ]
