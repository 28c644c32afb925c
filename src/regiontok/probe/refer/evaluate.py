"""Masks of a set of expressions, and how well they fit; and what a model that never looks gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from regiontok.probe.refer.batches import Batches
from regiontok.probe.refer.metrics import Interval, Overlap, scores
from regiontok.probe.refer.model import ReferringBatch, ReferringModel
from regiontok.probe.refer.referred import ReferringSet
from regiontok.probe.refer.sheet import Found

GRID = 64  # cells a side on which mean masks are kept
_THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)


@dataclass(frozen=True)
class Measured:
    """How well predicted masks fit.

    Attributes:
        scores: of all expressions, by name; see `metrics.scores`.
        by_kind: cIoU of each kind of generated expression.
        expressions: how many there are.
        pictures: about how many pictures.
    """

    scores: dict[str, Interval]
    by_kind: dict[str, float]
    expressions: int
    pictures: int


def measured(data: ReferringSet, overlaps: Sequence[Overlap]) -> Measured:
    """What the overlaps of all expressions of a set come to."""
    pictures = [sample.image.name for sample in data.samples]
    kinds = sorted({sample.kind for sample in data.samples} - {""})
    by_kind = {}
    for kind in kinds:
        rows = [row for row, sample in enumerate(data.samples) if sample.kind == kind]
        inside, union = (sum(overlaps[row][part] for row in rows) for part in (0, 1))
        by_kind[kind] = 100 * inside / union
    return Measured(scores(overlaps, pictures), by_kind, len(data), len(set(pictures)))


@torch.no_grad()
def found_masks(
    model: ReferringModel,
    batches: Batches,
    encode: Callable[[ReferringBatch], ReferringBatch],
    *,
    tick: Callable[[int], None] = lambda rows: None,
) -> Iterator[Found]:
    """The mask of each expression of a set, logits above 0, and its overlap with the true one.

    The answer with [SEG] is given, as in LISA's own evaluation: whether the model would write it
    is not asked.

    Args:
        model: the model; it is put into evaluation, and back.
        batches: of the set.
        encode: what is done with a batch before; see `Learner.encode`.
        tick: told how many rows are done.
    """
    was_training = model.training
    model.eval()
    try:
        for samples, batch in ((samples, encode(batch)) for samples, batch in batches.in_order()):
            logits, _ = model(batch)
            for sample, row, truth in zip(samples, logits, batch.masks, strict=True):
                yield Found(sample, (row > 0).cpu().numpy(), Overlap.of(row > 0, truth))
            tick(len(logits))
    finally:
        model.train(was_training)


def blind_overlaps(train: ReferringSet, test: ReferringSet) -> dict[str, list[Overlap]]:
    """How well masks fit that are the same for every expression.

    "whole picture" is that, "mean mask" the cells that masks of the training set cover most often,
    cut at the share of the highest that fits the training set best.
    """
    mean = torch.stack([_on_grid(sample.mask()) for sample in train.samples]).mean(0)
    best = max(_THRESHOLDS, key=lambda share: _ciou_of(train, mean > share * float(mean.max())))
    chosen = mean > best * float(mean.max())
    return {
        "whole picture": _fixed_overlaps(test, torch.ones(GRID, GRID, dtype=torch.bool)),
        "mean mask": _fixed_overlaps(test, chosen),
    }


def _ciou_of(data: ReferringSet, cells: Tensor) -> float:
    overlaps = _fixed_overlaps(data, cells)
    return sum(one.intersection for one in overlaps) / sum(one.union for one in overlaps)


def _fixed_overlaps(data: ReferringSet, cells: Tensor) -> list[Overlap]:
    """The overlap of the same cells, stretched over each picture, with each mask."""
    overlaps = []
    for sample in data.samples:
        stretched = interpolate(cells[None, None].float(), sample.size, mode="nearest")[0, 0]
        overlaps.append(Overlap.of(stretched > 0, sample.mask()))
    return overlaps


def _on_grid(mask: Tensor) -> Tensor:
    return interpolate(mask[None, None].float(), (GRID, GRID), mode="area")[0, 0]
