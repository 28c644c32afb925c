"""Tokenizers that share an encoder and a segmenter: several region specs on the same pictures."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from regiontok.core.clip import Clip
from regiontok.core.picture import Picture
from regiontok.core.sizes import ShownBySizes
from regiontok.measures import naming
from regiontok.methods import RegionStep
from regiontok.settings import registry
from regiontok.settings.recipe import TokenizerSettings
from regiontok.tokenizer.region_tokenizer import RegionTokenizer
from regiontok.tokenizer.regionizer import build_encoder
from regiontok.tokenizer.run import Run

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True, eq=False, repr=False)
class SpecResult(ShownBySizes):
    """What one region spec made of a batch of pictures.

    Attributes:
        spec: the region spec as it is shown.
        run: the tokens, and everything on the way to them.
        steps: the built steps of the spec.
        names: what the encoder's classifier says of each region of one picture; None if regions
            are not named.
    """

    spec: str
    run: Run
    steps: tuple[RegionStep, ...] = ()
    names: Sequence[naming.Naming] | None = None


class TokenizerSet:
    """One tokenizer for each region spec; they share an encoder and a segmenter.

    Args:
        settings: settings of the tokenizers; their `regions` are used if `specs` is empty.
        specs: region specs; without any, the encoder's own clustering is taken.
        name_regions: also name each region with the encoder's classifier.
        device: where the encoder and the heads run.

    Raises:
        ValueError: If a spec cannot be built, or regions are to be named by an encoder without a
            classifier, or in tiles.
    """

    def __init__(
        self,
        settings: TokenizerSettings,
        specs: Sequence[str] = (),
        *,
        name_regions: bool = False,
        device: str = "cpu",
    ) -> None:
        encoder = build_encoder(settings.encoder)
        specs = list(specs) or [settings.regions or f"merge({encoder.threshold}) | sort('com')"]
        options = settings.model_dump(exclude={"encoder", "regions", "segmenter"})
        segmenter = registry.build("segmenter", settings.segmenter) if settings.segmenter else None
        by_spec: dict[str, RegionTokenizer] = {}
        for text in specs:
            tokenizer = RegionTokenizer(
                encoder, text, segmenter=segmenter, **options, device=device
            )
            # two ways to write one spec are one
            by_spec.setdefault(tokenizer.regionizer.spec, tokenizer)
        self.tokenizers = list(by_spec.values())
        self.encoder = self.tokenizers[0].regionizer.encoder
        self.name_regions = name_regions
        self._is_warm = False
        if name_regions and not self.encoder.classes:
            raise ValueError(
                "--name needs an encoder with a classifier of its own, say lite; "
                f"{registry.name_of(self.encoder)} has none"
            )
        if name_regions and settings.tiles:
            raise ValueError("--name names the regions of whole images: leave out the tiles")

    @property
    def specs(self) -> list[str]:
        """The region specs as they are shown."""
        return [tokenizer.regionizer.spec for tokenizer in self.tokenizers]

    def only(self, specs: Collection[str]) -> TokenizerSet:
        """The tokenizers of some of the specs; they share the encoder and the segmenter of all."""
        chosen = copy(self)
        chosen.tokenizers = [
            tokenizer for tokenizer in self.tokenizers if tokenizer.regionizer.spec in specs
        ]
        return chosen

    @torch.no_grad()
    def run(self, pictures: Sequence[Picture | Clip]) -> list[SpecResult]:
        """The result of each spec on the same pictures, which are segmented and encoded once.

        Raises:
            ValueError: If a step or the segmenter cannot do one of the pictures.
        """
        first, *others = self.tokenizers
        masks = any(tokenizer.regionizer.reads_masks for tokenizer in self.tokenizers)
        runs = [first.run(pictures, masks=masks)]
        shared_seconds = {stage: runs[0].seconds[stage] for stage in ("segment", "encode")}
        for tokenizer in others:
            run = tokenizer.run(pictures, grids=runs[0].grids)
            runs.append(replace(run, seconds={**run.seconds, **shared_seconds}))
        return [
            SpecResult(tokenizer.regionizer.spec, run, tokenizer.regionizer.steps)
            for tokenizer, run in zip(self.tokenizers, runs, strict=True)
        ]

    @torch.no_grad()
    def warm_up(self) -> None:
        """Load and compile what the first image would otherwise be charged for; once."""
        if self._is_warm:
            return
        self._is_warm = True
        blank = Picture.of(np.zeros((64, 64, 3), np.uint8))
        for tokenizer in self.tokenizers:
            if not tokenizer.regionizer.reads_masks:
                # a budget that no picture can meet, say: the images themselves will tell
                with suppress(ValueError):
                    tokenizer.run(blank)

    def with_names(self, results: Sequence[SpecResult], index: int) -> list[SpecResult]:
        """The results with names for the regions of picture `index`, if regions are to be named."""
        if not self.name_regions or not results:
            return list(results)
        logits = self._logits(results[0].run.pictures[index])
        classes = self.encoder.classes
        return [
            replace(
                result,
                names=naming.name_regions(logits, result.run.regions[index], classes),
            )
            for result in results
        ]

    def _logits(self, picture: Picture | Clip) -> Float[torch.Tensor, "*grid c"]:
        if isinstance(picture, Clip):
            return torch.stack(self.encoder.logits(list(picture.frames)))
        return self.encoder.logits([picture])[0]
