"""SAM's everything-mode: masks of all a picture shows, from a grid of points, by any SAM of
transformers (SAM 2.1 large by default).

After: diagnostic study, masks by SAM 2.1 (row D3); Kirillov et al., "Segment Anything", ICCV 2023,
section 5 and appendix D; transformers' mask-generation pipeline.
Differs: a picture is encoded once and all granularities are decoded from that. Stability and boxes
are measured on the decoder's low-resolution masks, before suppression; only masks that stay are
made at the picture's size (`exact=True` measures all of them there, as the pipeline does). The
prompts cover a picture of any shape: the pipeline's, for families that stretch it over a square
canvas (all but SAM and SAM-HQ), leave the right or lower part of one that is not square without
any. No crops of the picture, no filling of holes. Meta's own generator keeps a mask whose stability
is the threshold itself, and resizes pixels without rounding them to whole levels. How a search ends
where it would turn back is ours (`_granularity.py`); the paper does not say.
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
from regiontok.segment.prompted.everything import Candidates, passed
from regiontok.segment.prompted.granularity import SEARCHES, Level, Search
from regiontok.segment.prompted.promptable import Encoded, Promptable, family, processor
from regiontok.system.checkpoint import fingerprint, locate
from regiontok.system.pretrained import shared_model

Granularity = Literal["study", "study2", "coarse", "medium", "fine", "fast"]
Dtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Sam(Segmenter):
    """Masks by point prompts, best first, with the model's own estimate of their IoU as scores.
    Nothing is read before its first use.

    They may overlap and leave gaps; none at all is a normal answer.

    Attributes:
        model: hub name or folder of a SAM, SAM-HQ, SAM 2 or 2.1, EdgeTAM or SAM 3 tracker
            checkpoint.
        granularity: "coarse", "medium" or "fine" (48, 64 or 96 points a side), or "fast" (24);
            "study" searches among the first three, from the middle, for 80 to 160 masks; "study2"
            between the first two, for 64 to 160 (the paper's for MMStar and OCRBench).
        points: points a side, instead of the granularity's own; not for a search. So are `iou` and
            `stability`.
        iou: a mask's estimated IoU must be higher; 0 lets every mask through.
        stability: its area at a stricter cut over its area at a looser one must be higher; 0 lets
            every mask through.
        exact: equal transformers' pipeline on square pictures, at its pace.
        dtype: of weights and embeddings; prompts, thresholds and masks are float32 throughout.
        revision: branch, tag or commit of a hub name.
        device: where the model runs.
        points_per_batch: prompts decoded at a time, of each of `batch` pictures.
        batch: pictures encoded at a time.
        compile: run encoder and decoder through `torch.compile`: the first picture takes minutes
            and wants a C++ compiler (on a GPU Triton), later ones less time. Scores differ by
            rounding, which in bfloat16 moves masks across the thresholds.

    Raises:
        ValueError: a value out of range, or one that a search decides.

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
        for name, value, kinds in (
            ("granularity", self.granularity, Granularity),
            ("dtype", self.dtype, Dtype),
        ):
            if value not in get_args(kinds):
                raise ValueError(
                    f"{name} must be one of {', '.join(get_args(kinds))}, got {value!r}"
                )
        if (
            self.batch < 1
            or self.points_per_batch < 1
            or (self.points is not None and self.points < 1)
        ):
            raise ValueError(
                "batch, points_per_batch and points must be at least 1, "
                f"got {self.batch}, {self.points_per_batch} and {self.points}"
            )
        for name, share in (("iou", self.iou), ("stability", self.stability)):
            if share is not None and not 0 <= share <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {share}")
        own = {"points": self.points, "iou": self.iou, "stability": self.stability}
        given = [name for name, value in own.items() if value is not None]
        if given and len(SEARCHES[self.granularity].levels) > 1:
            raise ValueError(
                f"granularity={self.granularity!r} searches among settings of its own, so {', '.join(given)} cannot be given: "
                "take granularity='coarse', 'medium', 'fine' or 'fast' with it"
            )

    @cached_property
    def identity(self) -> str:
        """What a cache key holds beside the spec: a hash of the weights' files, the json files
        beside them, and who resizes pixels."""
        return fingerprint(self._folder, f"pixels: {type(processor(self._folder)).__name__}")

    def __call__(self, pictures: Sequence[Picture]) -> list[PixelMasks]:
        """The masks of each picture, at its own size.

        Raises:
            ValueError: the checkpoint cannot be read (the message says why).
        """
        starts = range(0, len(pictures), self.batch)
        return [
            masks for start in starts for masks in self._batch(pictures[start : start + self.batch])
        ]

    @torch.no_grad()
    def _batch(self, pictures: Sequence[Picture]) -> Iterator[PixelMasks]:
        encoded = self._model.encode(pictures)
        search = self._search
        found: list[dict[int, Candidates]] = [{} for _ in pictures]
        ahead = dict.fromkeys(range(len(pictures)), search.start)
        while ahead:
            for level in sorted(set(ahead.values())):
                rows = [row for row, next_level in ahead.items() if next_level == level]
                for row, candidates in zip(
                    rows, self._candidates(encoded.take(rows), search.levels[level]), strict=True
                ):
                    found[row][level] = candidates
            following = {row: search.after(_counts(found[row])) for row in ahead}
            ahead = {row: level for row, level in following.items() if level is not None}
        for row, levels in enumerate(found):
            level = search.chosen(_counts(levels))
            kept, place = levels[level], encoded.places[row]
            counts = [
                code
                for full in place.pieces(kept.logits)
                for code in PixelMasks.from_dense(full > 0).counts
            ]
            yield PixelMasks(place.size, tuple(counts), scores=kept.scores.double().cpu().numpy())

    def _candidates(self, encoded: Encoded, level: Level) -> list[Candidates]:
        """The masks to keep of each picture at one level."""
        prompts = torch.stack([place.prompts(level.points) for place in encoded.places])
        found: list[list[Candidates]] = [[] for _ in encoded.places]
        for first in range(0, prompts.shape[1], self.points_per_batch):
            decoded = self._model.decode(encoded, prompts[:, first : first + self.points_per_batch])
            for place, parts, logits, scores in zip(encoded.places, found, *decoded, strict=True):
                parts.append(passed(logits, scores, level, place, exact=self.exact))
        return [Candidates.joined(parts).distinct() for parts in found]

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
        family(self._folder, self.model)
        how = getattr(torch, self.dtype), self.device
        settings = ("sam", self.dtype, self.device, self.compile)
        return shared_model(
            self._folder,
            settings,
            lambda: Promptable.load(self._folder, self.model, *how, compiled=self.compile),
        )


def _counts(levels: dict[int, Candidates]) -> dict[int, int]:
    return {level: len(candidates) for level, candidates in levels.items()}
