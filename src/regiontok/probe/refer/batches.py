"""Batches of referring expressions: which rows a batch has is a function of seed and number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.probe.draws import random_at, samples_of
from regiontok.probe.features import FrozenFeatures
from regiontok.probe.refer.grid_masks import Standard
from regiontok.probe.refer.mask_head import FramePlacement, Placed
from regiontok.probe.refer.model import ReferringBatch
from regiontok.probe.refer.referred import Referred, ReferringSet
from regiontok.probe.refer.talk import Talk
from regiontok.segment.prompted.everything import CanvasPlacement

KEPT_BYTES = 2**30  # of features in memory: 10,000 pictures of 144 patches and 384 channels
_WORDS = 3  # the purpose of the draws of words, among those of a seed


@dataclass(frozen=True)
class SamCanvas:
    """Pictures on SAM's canvas, by its own image processor.

    Attributes:
        processor: a `SamImageProcessor`.
    """

    processor: Any

    def __call__(self, pictures: Sequence[Picture]) -> tuple[Tensor, list[Placed]]:
        """`[b 3 S S]` the pixels, and how each picture lies on the canvas."""
        inputs = self.processor(images=[picture.pil for picture in pictures], return_tensors="pt")
        pixels: Tensor = inputs["pixel_values"]
        insides = inputs["reshaped_input_sizes"].tolist()
        placements: list[Placed] = [
            CanvasPlacement(picture.size, tuple(inside), pixels.shape[-1], padded=True)
            for picture, inside in zip(pictures, insides, strict=True)
        ]
        return pixels, placements


@dataclass(frozen=True)
class Batches:
    """Batches of a set, for training and for evaluation.

    Attributes:
        data: the set.
        talk: makes rows of expressions.
        canvas: lays pictures on SAM's canvas; None where its image encoder is left out.
        rows: rows of a batch.
        seed: seed of orders and words.
        together: expressions about one picture that share a row, at most.
    """

    data: ReferringSet
    talk: Talk
    canvas: SamCanvas | None
    rows: int
    seed: int
    together: int = 1

    @cached_property
    def groups(self) -> list[tuple[Referred, ...]]:
        """The expressions of each row, in the order of the set."""
        of_pictures = (
            list(samples)
            for _, samples in groupby(self.data.samples, key=lambda sample: sample.image.name)
        )
        return [
            tuple(samples[start : start + self.together])
            for samples in of_pictures
            for start in range(0, len(samples), self.together)
        ]

    def at(self, number: int) -> ReferringBatch:
        """Batch `number` of the training: each epoch takes all expressions once."""
        places = samples_of(number, self.rows, len(self.groups), self.seed)
        groups = [self.groups[place] for place in places]
        draws = random_at(self.seed, _WORDS, number).integers(
            self.talk.wording.count, size=sum(map(len, groups))
        )
        return self._batch(groups, draws.tolist())

    def in_order(self) -> Iterator[tuple[list[Referred], ReferringBatch]]:
        """All expressions, all in the first words: those of a batch, and the batch."""
        for start in range(0, len(self.groups), self.rows):
            groups = self.groups[start : start + self.rows]
            samples = [sample for group in groups for sample in group]
            yield samples, self._batch(groups, [0] * len(samples))

    def _batch(self, groups: Sequence[Sequence[Referred]], draws: Sequence[int]) -> ReferringBatch:
        samples = [sample for group in groups for sample in group]
        pictures = [group[0].picture() for group in groups]
        pixels: Tensor | None = None
        placements: list[Placed] = []
        if self.canvas is not None:
            pixels, placements = self.canvas(pictures)
        rows = self.talk([sample.text for sample in samples], draws, [len(g) for g in groups])
        masks = [sample.mask() for sample in samples]
        return ReferringBatch(pictures, rows, masks, placements, pixels)


class FrozenPictures:
    """`frozen(batch)` puts frozen features in the place of a batch's pictures.

    Args:
        features: the encoder.
        device: where the batch goes.
        places: whether masks are predicted on the grids, which then say how pictures lie.
        standard: pictures over whose patches features get mean 0 and deviation 1; without any
            they stay as they are.
        most: bytes of features that stay in memory, in float16.
    """

    def __init__(
        self,
        features: FrozenFeatures,
        device: torch.device,
        *,
        places: bool,
        standard: Sequence[Picture] = (),
        most: int = KEPT_BYTES,
    ) -> None:
        self._features, self._device = features, device
        self._most, self._places = most, places
        self._kept: dict[str, PatchGrid] = {}
        self._bytes = 0
        self._standard = Standard(features.grids(standard)) if standard else None

    def __call__(self, batch: ReferringBatch) -> ReferringBatch:
        """The batch on the device, with grids for pictures."""
        pictures = [one for one in batch.pictures if isinstance(one, Picture)]
        missing = {one.key: one for one in pictures if one.key not in self._kept}
        fresh: dict[str, PatchGrid] = {}
        if missing:
            grids = self._features.grids(list(missing.values()))
            if self._standard is not None:
                grids = list(map(self._standard, grids))
            fresh = dict(zip(missing, map(_halved, grids), strict=True))
        known = self._kept | fresh
        self._keep(fresh)
        grids = [known[one.key].but(features=known[one.key].features.float()) for one in pictures]
        placements = [FramePlacement(grid.frame) for grid in grids] if self._places else None
        moved = replace(batch, pictures=grids, placements=placements or batch.placements)
        return moved.to(self._device)

    def _keep(self, fresh: dict[str, PatchGrid]) -> None:
        """Keep grids in memory, as long as there is room."""
        for key, grid in fresh.items():
            size = grid.features.numel() * grid.features.element_size()
            if self._bytes + size <= self._most:
                self._kept[key] = grid
                self._bytes += size


def _halved(grid: PatchGrid) -> PatchGrid:
    """A grid whose features take half the memory; what pools read is what steps read."""
    return grid.but(features=grid.pooled.half(), values=None)
