"""Training with a share of samples shown without their masks, so that a model answers both ways.

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

from regiontok.data.cache import FeatureCache
from regiontok.data.collate import Example
from regiontok.data.conversations import Conversations
from regiontok.data.records import Records
from regiontok.data.sampler import EpochOrder, Row
from regiontok.data.visual_tokens import VisualTokens
from regiontok.settings import registry
from regiontok.settings.recipe import TokenizerSettings

if TYPE_CHECKING:
    from jaxtyping import Bool


class MaskFree(torch.utils.data.Dataset[Example | tuple[Example, ...]]):
    """`Conversations` in which index n + i is record i of n, shown without masks.

    Args:
        conversations: the examples with masks.
        share: share of an epoch's samples that go without, in [0, 1].
        seed: seed of the draws.

    Raises:
        ValueError: If the share lies outside [0, 1].
    """

    def __init__(self, conversations: Conversations, share: float, *, seed: int = 0) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"mask_free is a share of the samples in [0, 1], not {share}")
        self.conversations, self.share, self.seed = conversations, share, seed

    @property
    def records(self) -> Records:
        """The records of the conversations, each once."""
        return self.conversations.records

    def __len__(self) -> int:
        return 2 * len(self.conversations)

    def __getitem__(self, row: Row) -> Example | tuple[Example, ...]:
        """One example, or those of a packed row, as `Conversations` gives them."""
        if isinstance(row, tuple):
            return tuple(self._example(index) for index in row)
        return self._example(row)

    def rows(self, order: EpochOrder, step: int) -> list[Row]:
        """The rows of an optimiser step; what is shown without masks has its index moved by n."""
        epoch, _ = order.epoch_and_step(step)
        rows = order.rows(step)
        indices = [index for row in rows for index in (row if isinstance(row, tuple) else (row,))]
        shifts = iter((len(self.conversations) * self.drawn(epoch, indices)).tolist())
        return [
            tuple(index + next(shifts) for index in row)
            if isinstance(row, tuple)
            else row + next(shifts)
            for row in rows
        ]

    def drawn(self, epoch: int, indices: Sequence[int]) -> Bool[np.ndarray, "i"]:
        """Which of some records go without masks in an epoch."""
        draws = [np.random.default_rng([self.seed, 3, epoch, index]).random() for index in indices]
        return np.array(draws, np.float64) < self.share

    def _example(self, index: int) -> Example:
        count = len(self.conversations)
        example = self.conversations[index % count]
        assert isinstance(example, Example)  # an index, not a packed row
        return replace(example, regions="") if index >= count else example


@dataclass(frozen=True)
class LargestVisualTokens:
    """`VisualTokens` of several settings at once: the largest count of each image.

    Attributes:
        counters: the counters of the settings.
        rows: how many tokens of the language model the connector makes of each.
    """

    counters: tuple[VisualTokens, ...]
    rows: int = 1

    @classmethod
    def of(
        cls,
        settings: TokenizerSettings,
        folder: Path | None = None,
        *,
        device: str = "cpu",
        mask_free: bool = False,
        connector: str = "mlp",
        features: FeatureCache | None = None,
    ) -> LargestVisualTokens:
        """A counter for settings, and with `mask_free` for the same without masks too."""
        counters = [VisualTokens(settings, folder, device=device, features=features)]
        if mask_free:
            counters.append(VisualTokens(without_masks(settings), folder, device=device))
        return cls(tuple(counters), registry.build("connector", connector).rows)

    @property
    def folder(self) -> Path | None:
        """The folder where measured numbers are kept."""
        return self.counters[0].folder

    def __call__(self, images: Sequence[str]) -> list[int | str]:
        """Largest number of tokens of each image, or the reason why it has none."""
        answers = [counter(images) for counter in self.counters]
        largest = [_largest(image_answers) for image_answers in zip(*answers, strict=True)]
        return [count if isinstance(count, str) else count * self.rows for count in largest]

    @property
    def images_without_masks(self) -> int:
        """How many of the images counted so far have no mask at all, though masks are read."""
        return self.counters[0].images_without_masks

    def check_masks(self) -> None:
        """Raise if an image counted so far has more masks than the settings have positions for."""
        for counter in self.counters:
            counter.check_masks()

    def save(self) -> None:
        """Keep the measured numbers on disk."""
        for counter in self.counters:
            counter.save()


def without_masks(settings: TokenizerSettings) -> TokenizerSettings:
    """Settings that show every patch, as `RegionVLM.see(regions="")` does.

    Under pool `select` a whole image in front is every patch already.
    """
    shows_patches = settings.whole and registry.build("pool", settings.pool).keeps_patches
    return settings.model_copy(
        update={"regions": "", "whole": settings.whole and not shows_patches}
    )


def _largest(answers: Sequence[int | str]) -> int | str:
    """The largest of some counts; a reason, if one is among them."""
    reasons = [answer for answer in answers if isinstance(answer, str)]
    return reasons[0] if reasons else max(answer for answer in answers if isinstance(answer, int))
