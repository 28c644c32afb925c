"""SAM's everything-mode: masks of all that a picture shows, from a grid of point prompts.

After: diagnostic study, masks by SAM 2.1 (row D3); Kirillov et al., "Segment Anything", ICCV 2023,
section 5 and appendix D; transformers' mask-generation pipeline.
Differs: a picture is encoded once and all granularities are decoded from that. Stability and boxes
are measured on the decoder's low-resolution masks, before suppression; only masks that stay are
made at the picture's size (`exact=True` measures all of them there, as the pipeline does). The
prompts cover a picture of any shape: the pipeline's, for families that stretch it over a square
canvas (all but SAM and SAM-HQ), leave the right or lower part of one that is not square without
any. No crops of the picture, no filling of holes. Meta's own generator keeps a mask whose stability
is the threshold itself, and resizes pixels without rounding them to whole levels. How a search ends
where it would turn back is ours (`prompted/granularity.py`); the paper does not say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, get_args

import torch

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.methods import Segmenter
from regiontok.segment.prompted.everything import (
    Candidates,
    CanvasPlacement,
    check_numbers,
    passing,
)
from regiontok.segment.prompted.granularity import SEARCHES, Level, Search
from regiontok.segment.prompted.promptable import (
    EncodedPictures,
    Promptable,
    check_makes_masks,
    sam_processor,
)
from regiontok.system.checkpoint import fingerprint, locate
from regiontok.system.pretrained import shared_model

Granularity = Literal["study", "study2", "coarse", "medium", "fine", "fast"]
Dtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Sam(Segmenter):
    """Masks by point prompts, best first, with the model's own estimate of their IoU as scores.

    They may overlap and leave gaps; none at all is a normal answer. Nothing is read before the
    first use.

    Attributes:
        model: hub name or folder of a SAM, SAM-HQ, SAM 2 or 2.1, EdgeTAM or SAM 3 tracker
            checkpoint; SAM 2.1 large by default.
        granularity: "coarse", "medium" or "fine" (48, 64 or 96 points a side), or "fast" (24);
            "study" searches among the first three, from the middle, for 80 to 160 masks; "study2"
            between the first two, for 64 to 160 (the paper's for MMStar and OCRBench).
        points: points a side, instead of the granularity's own. Neither this nor `iou` nor
            `stability` goes with a search.
        iou: what a mask's estimated IoU must exceed; 0 lets every mask through.
        stability: what a mask's area at a stricter cut over its area at a looser one must exceed; 0
            lets every mask through.
        exact: equal transformers' pipeline on square pictures, at its pace.
        dtype: type of weights and embeddings; prompts, thresholds and masks are float32 throughout.
        revision: branch, tag or commit of a hub name.
        device: where the model runs.
        points_per_batch: prompts decoded at a time, of each of `batch` pictures.
        batch: pictures encoded at a time.
        compile: run encoder and decoder through `torch.compile`: the first picture takes minutes
            and wants a C++ compiler (on a GPU Triton), later ones less time. Scores differ by
            rounding, which in bfloat16 moves masks across the thresholds.

    Raises:
        ValueError: If a value is out of range, or is one that a search decides.

    >>> from regiontok.settings.registry import build, render
    >>> render(build("segmenter", "sam(granularity='fast', stability=0.95)"))
    "sam(granularity='fast', stability=0.95)"
    """

    model: str = "facebook/sam2.1-hiera-large"
    granularity: Granularity = "study"
    points: int | None = None
    iou: float | None = None
    stability: float | None = None
    exact: bool = False
    dtype: Dtype = "float32"
    revision: str | None = None
    device: str = field(default="cpu", metadata={"run": True})
    points_per_batch: int = field(default=64, metadata={"run": True})
    batch: int = field(default=1, metadata={"run": True})
    compile: bool = field(default=False, metadata={"run": True})
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("granularity", self.granularity, get_args(Granularity)),
            ("dtype", self.dtype, get_args(Dtype)),
        ):
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
        points = 1 if self.points is None else self.points
        if min(self.batch, self.points_per_batch, points) < 1:
            raise ValueError(
                "batch, points_per_batch and points must be at least 1, "
                f"got {self.batch}, {self.points_per_batch} and {self.points}"
            )
        for name, share in (("iou", self.iou), ("stability", self.stability)):
            if share is not None and not 0 <= share <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {share}")
        settings = {"points": self.points, "iou": self.iou, "stability": self.stability}
        named = [name for name, value in settings.items() if value is not None]
        if named and len(SEARCHES[self.granularity].levels) > 1:
            raise ValueError(
                f"granularity={self.granularity!r} searches among settings of its own, so "
                f"{', '.join(named)} cannot be given: take granularity='coarse', 'medium', 'fine' "
                "or 'fast' with it"
            )

    @cached_property
    def identity(self) -> str:
        """The hash of the weights' files and the json files beside them, and who resizes pixels."""
        return fingerprint(self._folder, f"pixels: {type(sam_processor(self._folder)).__name__}")

    def __call__(self, pictures: Sequence[Picture]) -> list[PixelMasks]:
        """The masks of each picture, at its own size.

        Raises:
            ValueError: If the checkpoint cannot be read; the message says why.
        """
        starts = range(0, len(pictures), self.batch)
        return [
            masks
            for start in starts
            for masks in self._batch_masks(pictures[start : start + self.batch])
        ]

    @torch.no_grad()
    def _batch_masks(self, pictures: Sequence[Picture]) -> Iterator[PixelMasks]:
        encoded = self._model.encode(pictures)
        for levels, placement in zip(self._searched(encoded), encoded.placements, strict=True):
            yield _full_masks(levels[self._search.chosen(_counts(levels))], placement)

    def _searched(self, encoded: EncodedPictures) -> list[dict[int, Candidates]]:
        """The candidates of each picture at every level that its search tries, in that order."""
        search = self._search
        candidates: list[dict[int, Candidates]] = [{} for _ in encoded.placements]
        level_by_row: dict[int, int] = dict.fromkeys(range(len(candidates)), search.start)
        while level_by_row:
            for level in sorted(set(level_by_row.values())):
                rows = [row for row, next_level in level_by_row.items() if next_level == level]
                decoded = self._candidates(encoded.take(rows), search.levels[level])
                for row, row_candidates in zip(rows, decoded, strict=True):
                    candidates[row][level] = row_candidates
            following = {row: search.after(_counts(candidates[row])) for row in level_by_row}
            level_by_row = {row: level for row, level in following.items() if level is not None}
        return candidates

    def _candidates(self, encoded: EncodedPictures, level: Level) -> list[Candidates]:
        """The masks to keep of each picture at one level."""
        placements = encoded.placements
        prompts = torch.stack([placement.prompts(level.points) for placement in placements])
        parts: list[list[Candidates]] = [[] for _ in placements]
        for start in range(0, prompts.shape[1], self.points_per_batch):
            some = prompts[:, start : start + self.points_per_batch]
            decoded = zip(placements, parts, *self._model.decode(encoded, some), strict=True)
            for placement, picture_parts, logits, scores in decoded:
                check_numbers(logits, scores)
                picture_parts.append(passing(logits, scores, level, placement, exact=self.exact))
        return [Candidates.joined(picture_parts).distinct() for picture_parts in parts]

    @cached_property
    def _search(self) -> Search:
        search = SEARCHES[self.granularity]
        if len(search.levels) > 1:
            return search
        usual = search.levels[0]
        points = usual.points if self.points is None else self.points
        iou = usual.iou if self.iou is None else self.iou
        stability = usual.stability if self.stability is None else self.stability
        return Search((Level(points, iou, stability),))

    @cached_property
    def _folder(self) -> Path:
        return locate(self.model, self.revision)

    @cached_property
    def _model(self) -> Promptable:
        check_makes_masks(self._folder, self.model)
        dtype = getattr(torch, self.dtype)
        settings = ("sam", self.dtype, self.device, self.compile)
        return shared_model(
            self._folder,
            settings,
            lambda: Promptable.load(
                self._folder, self.model, dtype, self.device, compiled=self.compile
            ),
        )


def _full_masks(candidates: Candidates, placement: CanvasPlacement) -> PixelMasks:
    """Candidates as masks at the picture's own size."""
    codes = [
        code
        for logits in placement.full_in_pieces(candidates.logits)
        for code in PixelMasks.from_dense(logits > 0).counts
    ]
    scores = candidates.scores.double().cpu().numpy()
    return PixelMasks(placement.size, tuple(codes), scores=scores)


def _counts(levels: dict[int, Candidates]) -> dict[int, int]:
    return {level: len(candidates) for level, candidates in levels.items()}
