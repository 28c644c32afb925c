"""The tracking probe as the shared loop takes it: what learns, from which pairs, by which loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from regiontok.probe.draws import torch_seeded
from regiontok.probe.loop import Learner
from regiontok.probe.optimisation import Optimisation
from regiontok.probe.schedule import Schedule
from regiontok.probe.track.clips import ClipSet
from regiontok.probe.track.crop_features import CropFeatures
from regiontok.probe.track.losses import track_losses
from regiontok.probe.track.model import TrackHead
from regiontok.probe.track.pairs import Pair, PairDraws
from regiontok.probe.track.settings import TrackSettings

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class PairBatch:
    """Pairs of one batch before the encoder.

    Attributes:
        number: of the batch.
        pairs: the pairs.
    """

    number: int
    pairs: Sequence[Pair]


@dataclass(frozen=True, eq=False)
class EncodedPairs:
    """Pairs of one batch as the head takes them.

    Attributes:
        template: maps of the template crops.
        search: maps of the search crops.
        box: x, y, width and height of the target in each search crop, whose side is 1.
    """

    template: Float[Tensor, "b d h w"]
    search: Float[Tensor, "b d H W"]
    box: Float[Tensor, "b 4"]


@dataclass(frozen=True, eq=False)
class TrackTraining:
    """A training of the probe.

    Attributes:
        features: the encoder for crops.
        sets: the data sets, each drawn from equally often.
        settings: what is trained, and how long.
        seed: seeds weights and pairs.
        batches: batches of a step, which several processes share.

    Raises:
        ValueError: If the pairs of a step are no multiple of its batches.
        NoClips: If a data set has no clip to learn from.
    """

    features: CropFeatures
    sets: Sequence[ClipSet]
    settings: TrackSettings
    seed: int = 0
    batches: int = 1

    def __post_init__(self) -> None:
        if self.settings.batch % self.batches:
            raise ValueError(
                f"{self.settings.batch} pairs a step cannot be parted into {self.batches} batches"
            )

    @cached_property
    def draws(self) -> PairDraws:
        """The pairs by their numbers."""
        sizes = self.features.template_size, self.features.search_size
        return PairDraws(self.sets, self.settings, self.seed, *sizes)

    @property
    def optimisation(self) -> Optimisation:
        """AdamW with one drop of the rate, as the settings say; short runs warm up less."""
        steps, drop = self.settings.steps, self.settings.drop
        warmup = min(self.settings.warmup, steps // 10)
        drops = (drop,) if drop < steps else ()
        return Optimisation(
            schedule=Schedule(steps, shape="drops", drops=drops, warmup=warmup, warmup_from=0.1),
            rate=self.settings.rate,
            decay=self.settings.decay,
            decay_vectors=True,
            clip=self.settings.clip,
            batches=self.batches,
            seed=self.seed,
        )

    @property
    def decisive(self) -> dict[str, Any]:
        """All else that decides the result, for the run's folder."""
        return {
            "probe": "track",
            "encoder": self.features.search.identity,
            "head": asdict(self.settings),
            "data": [{"name": clips.name, "clips": len(clips)} for clips in self.sets],
        }

    @cached_property
    def head(self) -> TrackHead:
        """What learns, with the weights that the seed gives; training changes it."""
        return new_head(self.features, self.settings, self.seed)

    def learner(self) -> Learner:
        """What the loop is handed."""
        return Learner(
            name="track",
            module=self.head,
            batch_at=self._batch_at,
            loss_of=lambda head, batch: track_losses(head(batch.template, batch.search), batch.box),
            encode=self._encode,
        )

    def _batch_at(self, draw: int) -> PairBatch:
        """The batch of a draw; without its pictures where its features are there already."""
        number = draw % (self.settings.distinct_batches or draw + 1)
        return PairBatch(number, ()) if number in self._encoded else self._draw(number)

    def _draw(self, number: int) -> PairBatch:
        size = self.settings.batch // self.batches
        first = number * size
        return PairBatch(number, [self.draws.pair(first + place) for place in range(size)])

    def _encode(self, batch: PairBatch) -> EncodedPairs:
        if not self.settings.distinct_batches:
            return self._encoded_anew(batch)
        if batch.number not in self._encoded:
            self._encoded[batch.number] = self._encoded_anew(batch)
        return self._encoded[batch.number]

    def _encoded_anew(self, batch: PairBatch) -> EncodedPairs:
        search = self.features.of_searches([pair.search for pair in batch.pairs])
        boxes = np.stack([pair.box for pair in batch.pairs])
        return EncodedPairs(
            self.features.of_templates([pair.template for pair in batch.pairs]),
            search,
            torch.from_numpy(boxes).float().to(search.device),
        )

    @cached_property
    def _encoded(self) -> dict[int, EncodedPairs]:
        return {}


def new_head(features: CropFeatures, settings: TrackSettings, seed: int) -> TrackHead:
    """A head with the weights that a seed gives."""
    with torch_seeded(seed, 0):
        return TrackHead(features.search.width, *features.grids, settings)
