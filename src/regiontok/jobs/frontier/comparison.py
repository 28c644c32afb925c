"""Every way to fewer tokens on one picture at the same budgets: what is kept, and what it costs.

How the ways (`sources.py`) are treated alike:

- Selections (`random`, `stride`) keep patches: one that was left out is given back as the nearest
  kept one on the grid, and the same cells are what their covering is measured on.
- A source that cannot hit k exactly reports the number it reached. SLIC is asked up to four times;
  the answer nearest the budget is taken, and its time alone is counted.
- Down-sampling encodes a smaller picture. Its cells stand for the patches they lie over, and its
  features are compared with those of the full picture.
- Regions that overlap (`prumerge`) have no covering.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from regiontok.core.grid import PatchGrid
from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.core.regions import Members, Regions
from regiontok.jobs.frontier.sources import DOWNSAMPLED, GIVEN, SOURCES, TokenSource, choose_sources
from regiontok.measures.covering import RegionScores, region_scores
from regiontok.measures.reconstruction import variance_explained
from regiontok.methods import Encoder, Segmenter
from regiontok.pool.mean import segment_mean
from regiontok.settings import registry
from regiontok.steps.cover import Cover
from regiontok.tokenizer.clock import Clock
from regiontok.tokenizer.regionizer import resolve_encoder

if TYPE_CHECKING:
    from jaxtyping import Float

BUDGETS = (16, 32, 64, 144, 288)
TRIES = 4  # calls of a segmenter that only aims at a number of segments


@dataclass(frozen=True, eq=False, kw_only=True)
class SourcePoint:
    """What one source left of one image at one budget.

    Attributes:
        source: name of the source.
        budget: number of tokens that was asked for; 0 where none was.
        tokens: number of tokens that came.
        explained: share of feature variance that the tokens explain.
        ms: milliseconds beyond the encoder.
        encode_ms: milliseconds of the encoder.
        scores: how the regions follow human segmentations; None where there are none, or the
            regions overlap.
    """

    source: str
    budget: int
    tokens: int
    explained: float
    ms: float
    encode_ms: float
    scores: RegionScores | None = None


@dataclass(frozen=True, eq=False)
class _Reduced:
    """The tokens of a source and the regions they stand for.

    Attributes:
        tokens: one a region.
        regions: regions on the grid that all sources start from.
        ms: milliseconds beyond the encoder.
        encode_ms: milliseconds of the encoder; None if the source takes the grid as it is.
    """

    tokens: Float[torch.Tensor, "k d"]
    regions: Regions
    ms: float
    encode_ms: float | None = None


MasksBySegmenter = dict[str, tuple[PixelMasks, float]]  # masks of one picture, and milliseconds


class SourceComparison:
    """Compares all sources with one encoder and one segmenter.

    Args:
        encoder: a built encoder, its spec, a hub name or a folder.
        segmenter: the segmenter, or its spec, of sources that read masks.
        budgets: numbers of tokens.
        only: names of `SOURCES`, or "down-sampling"; none takes all that the encoder can serve.
        device: where the encoder runs.

    Attributes:
        names: the sources that are compared.

    Raises:
        ValueError: If a budget is below 1, a source is unknown, or it needs the attention of CLS
            and the encoder gives none.
    """

    def __init__(
        self,
        encoder: Encoder | str = "lite",
        segmenter: Segmenter | str = "felzenszwalb",
        *,
        budgets: Sequence[int] = BUDGETS,
        only: Sequence[str] = (),
        device: str = "cpu",
    ) -> None:
        self.encoder = resolve_encoder(encoder).on(device)
        self.budgets = sorted(set(budgets))
        if not self.budgets or self.budgets[0] < 1:
            raise ValueError(f"budgets are numbers of tokens from 1 on, got {self.budgets}")
        self.names = choose_sources(
            only, cls_attention=self.encoder.cls_attention, can_resize=self.encoder.can_resize
        )
        self._given_segmenter = segmenter
        self._segmenters: dict[str, Segmenter] = {}
        self._is_warm = False

    @torch.no_grad()
    def measure(
        self, picture: Picture, human_segmentations: Sequence[np.ndarray] = ()
    ) -> list[SourcePoint]:
        """Every source at every budget on one picture.

        Args:
            picture: the picture.
            human_segmentations: label maps `[H W]` that people drew of it.

        Raises:
            ValueError: If a budget is above the number of patches, or a human map has another size.
        """
        grid, encode_ms = _encode(self.encoder, picture)
        patches = int(grid.valid.sum())
        if self.budgets[-1] > patches:
            raise ValueError(
                f"budget {self.budgets[-1]} is above the {patches} patches of "
                f"{picture.name or 'the picture'}"
            )
        if not self._is_warm:  # what the first picture would be charged for: compiling, loading
            list(self._points(grid, picture, (), encode_ms))
            self._is_warm = True
            grid, encode_ms = _encode(self.encoder, picture)
        return list(self._points(grid, picture, human_segmentations, encode_ms))

    def _points(
        self, grid: PatchGrid, picture: Picture, humans: Sequence[np.ndarray], encode_ms: float
    ) -> Iterator[SourcePoint]:
        masks: MasksBySegmenter = {}
        for name in self.names:
            has_budget = name == DOWNSAMPLED or SOURCES[name].has_budget
            for budget in self.budgets if has_budget else [0]:
                if name == DOWNSAMPLED:
                    reduced = self._downsample(grid, picture, budget)
                else:
                    reduced = self._nearest_to_budget(SOURCES[name], grid, picture, budget, masks)
                explained, scores = _quality(grid, reduced, humans)
                yield SourcePoint(
                    source=name,
                    budget=budget,
                    tokens=len(reduced.tokens),
                    explained=explained,
                    ms=reduced.ms,
                    encode_ms=encode_ms if reduced.encode_ms is None else reduced.encode_ms,
                    scores=scores,
                )

    def _downsample(self, grid: PatchGrid, picture: Picture, budget: int) -> _Reduced:
        """The tokens of a canvas of about `budget` patches."""
        side = max(1, round(math.sqrt(budget))) * grid.frame.patch[0]
        small, encode_ms = _encode(self.encoder.at_size(side), picture)
        tokens, regions = _cells_over_patches(small, grid)
        return _Reduced(tokens, regions, ms=0.0, encode_ms=encode_ms)

    def _nearest_to_budget(
        self,
        source: TokenSource,
        grid: PatchGrid,
        picture: Picture,
        budget: int,
        masks_by_segmenter: MasksBySegmenter,
    ) -> _Reduced:
        """What the source leaves; of several tries, the one whose number is nearest the budget."""
        if not source.segmenter:
            return _reduce(source, grid, budget)
        candidates, aim = [], budget
        for _ in range(TRIES if "{k}" in source.segmenter else 1):
            spec = source.segmenter.format(k=aim)
            masks, segment_ms = self._masks(spec, picture, masks_by_segmenter)
            reduced = _reduce(source, grid.but(masks=masks), budget)
            candidates.append(replace(reduced, ms=segment_ms + reduced.ms))
            aim = max(1, round(aim * budget / len(reduced.regions)))
        return min(candidates, key=lambda reduced: abs(len(reduced.tokens) - budget))

    def _masks(
        self, spec: str, picture: Picture, masks_by_segmenter: MasksBySegmenter
    ) -> tuple[PixelMasks, float]:
        """A segmenter's masks of the picture, and milliseconds; each segments a picture once."""
        if spec not in masks_by_segmenter:
            if spec not in self._segmenters:
                self._segmenters[spec] = registry.resolve(
                    "segmenter", self._given_segmenter if spec == GIVEN else spec
                )
            clock = Clock()
            with clock("segment"):
                (masks,) = self._segmenters[spec]([picture])
            masks_by_segmenter[spec] = masks, 1000 * clock.seconds["segment"]
        return masks_by_segmenter[spec]


def _encode(encoder: Encoder, picture: Picture) -> tuple[PatchGrid, float]:
    """The grid of a picture, and milliseconds."""
    clock = Clock()
    with clock("encode"):
        (grid,) = encoder.encode([picture])
    return grid, 1000 * clock.seconds["encode"]


def _reduce(source: TokenSource, grid: PatchGrid, budget: int) -> _Reduced:
    """One mean token a region that the source's steps leave."""
    steps = registry.build_pipeline("step", source.steps.format(k=budget))
    clock = Clock()
    with clock("regions"):
        regions = Regions.singletons(grid.grid, grid.valid)
        for step in steps:
            if registry.name_of(step) != "merge" or len(regions) > budget:
                regions = step.one(regions, grid)
        tokens = segment_mean(grid.pooled.flatten(0, -2), Members.of([regions]))
    return _Reduced(tokens, regions, ms=1000 * clock.seconds["regions"])


def _cells_over_patches(
    small: PatchGrid, grid: PatchGrid
) -> tuple[Float[torch.Tensor, "k d"], Regions]:
    """The tokens of a coarser grid, and the patches of the finer one that each lies over."""
    height, width = grid.frame.grid
    small_height, small_width = small.frame.grid
    device = grid.features.device
    rows = torch.arange(height, device=device) * small_height // height
    columns = torch.arange(width, device=device) * small_width // width
    cells = torch.where(grid.valid, rows[:, None] * small_width + columns[None, :], -1)
    tokens = small.pooled.flatten(0, -2)[cells[grid.valid].unique()]
    return tokens, Regions.from_labels(cells)


def _quality(
    grid: PatchGrid, reduced: _Reduced, humans: Sequence[np.ndarray]
) -> tuple[float, RegionScores | None]:
    """Variance explained, and how the regions follow people.

    Patches in no region go with the nearest patch that is in one.
    """
    whole = Cover("nearest").one(reduced.regions, grid)
    explained = variance_explained(grid.pooled, reduced.tokens, whole, grid.valid)
    if not len(humans) or whole.overlap:
        return explained, None
    return explained, region_scores(grid.frame.to_pixels(whole.labels).cpu().numpy(), humans)
