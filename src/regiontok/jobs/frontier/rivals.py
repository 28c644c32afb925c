"""Ways to fewer tokens at the same budgets, and what each keeps of one picture: what `regiontok
frontier` measures.

Selections (`random`, `stride`) keep patches: one that was left out is given back as the nearest
kept one on the grid, and the same cells are what their covering is measured on. Sources that cannot
hit k exactly report the number they reached; SLIC is asked up to four times and the nearest answer
is taken (and timed alone). Down-sampling encodes a smaller picture; its cells stand for the patches
they lie over, and its features are compared with those of the full picture. Regions that overlap
(`prumerge`) have no covering.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch

from regiontok.core.grid import PatchGrid
from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.core.regions import Members, Regions
from regiontok.measures.covering import RegionScores, region_scores
from regiontok.measures.reconstruction import variance_explained
from regiontok.pool.mean import segment_mean
from regiontok.settings import registry
from regiontok.steps.cover import Cover
from regiontok.system.choices import nearest
from regiontok.tokenizer.clock import Clock
from regiontok.tokenizer.regionizer import build_encoder

BUDGETS = (16, 32, 64, 144, 288)
TRIES = 4  # of a segmenter that only aims at a number


@dataclass(frozen=True)
class Source:
    """A way to fewer tokens: a segmenter (or none) and steps, with `{k}` where the budget goes.

    Attributes:
        steps: spec; a last step that merges down to the budget is left out where there are fewer
            regions already.
        segmenter: spec, or `given` for the one the command was told.
        attends: needs the attention of CLS.
        free: has no budget: one point, wherever it falls.
    """

    steps: str
    segmenter: str = ""
    attends: bool = False
    free: bool = False


SEGMENTED = "segments(0.07, resolve='smallest') | cover('rest')"
DOWNSAMPLED = "down-sampling"
SOURCES = {
    "merge": Source("merge(k={k})"),
    "segments + split + merge": Source(f"{SEGMENTED} | split | merge(k={{k}})", "given"),
    "one token a segment": Source(SEGMENTED, "given", free=True),
    "ToMe": Source("tome({k})"),
    "VisionZip-like": Source("visionzip({k})", attends=True),
    "PruMerge-like": Source("prumerge({k})", attends=True),
    "SLIC": Source("segments(0.5) | cover('nearest')", "slic({k})"),
    "grid pooling": Source("windows({k}, shape='photo')"),
    "stride": Source("stride({k})"),
    "random": Source("random({k})"),
}


@dataclass(frozen=True, eq=False)
class Point:
    """One image, one source, one budget (0 = none was asked for)."""

    source: str
    budget: int
    tokens: int
    explained: float
    ms: float
    encode_ms: float
    scores: RegionScores | None = None


@dataclass
class Bench:
    """The encoder, the segmenter and the sources of one run.

    Args:
        encoder: spec, hub name or folder.
        segmenter: for the sources that read masks.
        budgets: numbers of tokens.
        only: names of `SOURCES` (or down-sampling); empty is all that the encoder can serve.
        device: where it runs.

    Raises:
        ValueError: a budget below 1, an unknown source, or one that needs the attention of CLS from
            an encoder without.
    """

    encoder: Any = "lite"
    segmenter: Any = "felzenszwalb"
    budgets: Sequence[int] = BUDGETS
    only: Sequence[str] = ()
    device: str = "cpu"
    _segmenters: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    _warm: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        self.encoder = (
            build_encoder(self.encoder) if isinstance(self.encoder, str) else self.encoder
        )
        names = {part.name for part in fields(self.encoder)}
        if "device" in names:
            self.encoder = replace(self.encoder, device=self.device)
        self.budgets = sorted(set(self.budgets))
        if not self.budgets or self.budgets[0] < 1:
            raise ValueError(f"budgets are numbers of tokens from 1 on, got {list(self.budgets)}")
        attends = self.encoder.cls_attention
        known = [*SOURCES, *([DOWNSAMPLED] if "size" in names else [])]
        for name in self.only:
            if name not in known:
                raise ValueError(
                    f"unknown source {name!r}{nearest(name, known)}; known: {', '.join(known)}"
                )
            if name in SOURCES and SOURCES[name].attends and not attends:
                raise ValueError(
                    f"{name} chooses by the attention of CLS: say cls_attention=True in the encoder's spec"
                )
        served = [
            name for name in known if name not in SOURCES or attends or not SOURCES[name].attends
        ]
        self.names = [name for name in served if not self.only or name in self.only]

    @torch.no_grad()
    def measure(self, picture: Picture, humans: Sequence[np.ndarray] = ()) -> list[Point]:
        """Every source at every budget on one picture.

        Raises:
            ValueError: a budget above the number of patches, or human maps of another size.
        """
        grid, encode_ms = self._encoded(self.encoder, picture)
        most = int(grid.valid.sum())
        if self.budgets[-1] > most:
            raise ValueError(
                f"budget {self.budgets[-1]} is above the {most} patches of {picture.name or 'the picture'}"
            )
        if not self._warm:  # what the first picture would be charged for: compiling, loading
            list(self._points(grid, picture, (), encode_ms))
            self._warm = True
            grid, encode_ms = self._encoded(self.encoder, picture)
        return list(self._points(grid, picture, humans, encode_ms))

    def _points(
        self, grid: PatchGrid, picture: Picture, humans: Sequence[np.ndarray], encode_ms: float
    ) -> Iterator[Point]:
        segmented: dict[str, tuple[PixelMasks, float]] = {}
        for name in self.names:
            for budget in [0] if name in SOURCES and SOURCES[name].free else self.budgets:
                if name == DOWNSAMPLED:
                    small, ms = self._encoded(self._smaller(grid, budget), picture)
                    cost, (tokens, regions) = (0.0, ms), _over(small, grid)
                else:
                    tokens, regions, ms = self._nearest(
                        SOURCES[name], grid, picture, budget, segmented
                    )
                    cost = ms, encode_ms
                explained, scores = _judged(grid, tokens, regions, humans)
                yield Point(name, budget, len(tokens), explained, *cost, scores)

    def _nearest(
        self,
        source: Source,
        grid: PatchGrid,
        picture: Picture,
        budget: int,
        segmented: dict[str, tuple[PixelMasks, float]],
    ) -> tuple[torch.Tensor, Regions, float]:
        """Tokens, regions and milliseconds of the answer nearest the budget."""
        if not source.segmenter:
            return _reduced(source, grid, budget)
        answers, asked = [], budget
        for _ in range(TRIES if "{k}" in source.segmenter else 1):
            masks, before = self._masks(source.segmenter.format(k=asked), picture, segmented)
            tokens, regions, ms = _reduced(source, grid.but(masks=masks), budget)
            answers.append((tokens, regions, before + ms))
            asked = max(1, round(asked * budget / len(regions)))
        return min(answers, key=lambda answer: abs(len(answer[0]) - budget))

    def _encoded(self, encoder: Any, picture: Picture) -> tuple[PatchGrid, float]:
        clock = Clock()
        with clock("encode"):
            (grid,) = encoder.encode([picture])
        return grid, 1000 * clock.seconds["encode"]

    def _smaller(self, grid: PatchGrid, budget: int) -> Any:
        """The encoder on a canvas of about `budget` patches."""
        return replace(self.encoder, size=max(1, round(math.sqrt(budget))) * grid.frame.patch[0])

    def _masks(
        self, text: str, picture: Picture, done: dict[str, tuple[PixelMasks, float]]
    ) -> tuple[PixelMasks, float]:
        """A segmenter's masks of the picture and its milliseconds; each segments a picture once."""
        if text not in done:
            if text not in self._segmenters:
                chosen = self.segmenter if text == "given" else text
                self._segmenters[text] = (
                    registry.build("segmenter", chosen) if isinstance(chosen, str) else chosen
                )
            clock = Clock()
            with clock("segment"):
                (masks,) = self._segmenters[text]([picture])
            done[text] = masks, 1000 * clock.seconds["segment"]
        return done[text]


def _reduced(source: Source, grid: PatchGrid, budget: int) -> tuple[torch.Tensor, Regions, float]:
    """Mean tokens, their regions, and the milliseconds of both."""
    steps = registry.build_pipeline("step", source.steps.format(k=budget))
    clock = Clock()
    with clock("regions"):
        regions = Regions.singletons(grid.grid, grid.valid)
        for step in steps:
            if registry.name_of(step) != "merge" or len(regions) > budget:
                regions = step.one(regions, grid)
        tokens = segment_mean(grid.pooled.flatten(0, -2), Members.of([regions]))
    return tokens, regions, 1000 * clock.seconds["regions"]


def _over(small: PatchGrid, grid: PatchGrid) -> tuple[torch.Tensor, Regions]:
    """The tokens of a coarser grid, and the patches of the finer one that each lies over."""
    (h, w), (down, across) = grid.frame.grid, small.frame.grid
    device = grid.features.device
    rows, cols = (
        torch.arange(h, device=device) * down // h,
        torch.arange(w, device=device) * across // w,
    )
    cells = torch.where(grid.valid, rows[:, None] * across + cols[None, :], -1)
    return small.pooled.flatten(0, -2)[cells[grid.valid].unique()], Regions.from_labels(cells)


def _judged(
    grid: PatchGrid, tokens: torch.Tensor, regions: Regions, humans: Sequence[np.ndarray]
) -> tuple[float, RegionScores | None]:
    """Variance explained, and how regions follow people; patches in no region go with the nearest
    that is in one."""
    grown = Cover("nearest").one(regions, grid)
    explained = variance_explained(grid.pooled, tokens, grown, grid.valid)
    if not len(humans) or grown.overlap:
        return explained, None
    return explained, region_scores(grid.frame.to_pixels(grown.labels).cpu().numpy(), humans)
