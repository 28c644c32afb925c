"""Training with a share of samples that are shown without their masks, so that one checkpoint
answers with and without.

After: OG-LLaVA, section 2.2 (row O5: "the model can be evaluated both with and without the
segmentation masks"; it trains with masks only).
Differs: an option of ours, off by default. Which samples go without is a function of (seed, epoch,
record), so it is the same after a resume, on any number of processes; lengths are measured both
ways and the larger one counts, so that no row is ever too long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from regiontok.data.collate import Example
from regiontok.data.conversations import Conversations
from regiontok.data.lengths import VisualTokens
from regiontok.data.records import Records
from regiontok.data.sampler import EpochOrder, Row
from regiontok.settings import registry
from regiontok.settings.recipe import TokenizerSettings

if TYPE_CHECKING:
    from jaxtyping import Bool


class MaskFree(torch.utils.data.Dataset):
    """`Conversations` where index n + i is record i of n shown without masks.

    Args:
        conversations: with masks.
        share: of the samples of an epoch, in [0, 1].
        seed: of the draws.

    Raises:
        ValueError: a share outside [0, 1].
    """

    def __init__(self, conversations: Conversations, share: float, *, seed: int = 0) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"mask_free is a share of the samples in [0, 1], not {share}")
        self.conversations, self.share, self.seed = conversations, share, seed

    @property
    def records(self) -> Records:
        """Those of the conversations, each once."""
        return self.conversations.records

    def __len__(self) -> int:
        return 2 * len(self.conversations)

    def __getitem__(self, row: Row) -> Example | tuple[Example, ...]:
        """As `Conversations`."""
        if isinstance(row, tuple):
            return tuple(self._one(index) for index in row)
        return self._one(row)

    def rows(self, order: EpochOrder, step: int) -> list[Row]:
        """The rows of an optimiser step, with the index of what is shown without masks moved."""
        epoch, found = order.place(step)[0], order.at(step)
        drawn = self.drawn(
            epoch, [index for row in found for index in (row if isinstance(row, tuple) else (row,))]
        )
        moved = iter(drawn.tolist())
        count = len(self.conversations)
        shift = lambda index: index + count * next(moved)  # noqa: E731 - twice in one line
        return [
            tuple(shift(index) for index in row) if isinstance(row, tuple) else shift(row)
            for row in found
        ]

    def drawn(self, epoch: int, indices: Sequence[int]) -> Bool[np.ndarray, "i"]:
        """Which of these records go without masks in an epoch."""
        draws = [np.random.default_rng([self.seed, 3, epoch, index]).random() for index in indices]
        return np.array(draws, np.float64) < self.share

    def _one(self, index: int) -> Example:
        count = len(self.conversations)
        example = self.conversations[index % count]
        assert isinstance(example, Example)  # an index, not a packed row
        return replace(example, regions="") if index >= count else example


@dataclass(frozen=True)
class Larger:
    """`VisualTokens` of several settings at once: of each image the largest count."""

    parts: tuple[VisualTokens, ...]

    @classmethod
    def of(
        cls,
        settings: TokenizerSettings,
        folder: Path | None = None,
        *,
        device: str = "cpu",
        mask_free: bool = False,
    ) -> Larger:
        """Of the settings, and if `mask_free` of the same without masks."""
        both = (settings, without_masks(settings)) if mask_free else (settings,)
        return cls(tuple(VisualTokens(one, folder, device=device) for one in both))

    @property
    def folder(self) -> Path | None:
        """Where measured numbers are kept."""
        return self.parts[0].folder

    def __call__(self, images: Sequence[str]) -> list[int | str]:
        """Tokens of each image, or why it has none."""
        return [
            _larger(counts) for counts in zip(*(part(images) for part in self.parts), strict=True)
        ]

    def save(self) -> None:
        """Keep on disk what was measured."""
        for part in self.parts:
            part.save()


def without_masks(settings: TokenizerSettings) -> TokenizerSettings:
    """Every patch, as `RegionVLM.see(regions="")` has it: under pool `select` a whole image in
    front is every patch already."""
    blocks = settings.whole and registry.build("pool", settings.pool).keeps_patches
    return settings.model_copy(update={"regions": "", "whole": settings.whole and not blocks})


def _larger(counts: Sequence[int | str]) -> int | str:
    numbers = [count for count in counts if not isinstance(count, str)]
    return (
        max(numbers)
        if len(numbers) == len(counts)
        else next(count for count in counts if isinstance(count, str))
    )
