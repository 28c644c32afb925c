"""Views whose size changes from step to step, so that one stage trains several resolutions.

After: the loaders of the authors' code for several resolutions (OneVision-Encoder,
`dataloader/data_v2_multi_res.py`), in idea.
Differs: a step has one size, a function of seed and step alone, so that any number of ranks and
workers, and a run that goes on, have the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from regiontok.shards.stream import ShardViews
from regiontok.shards.views import View


@dataclass(frozen=True)
class StepSizes:
    """The size of each step of a stage.

    Attributes:
        sizes: (height, width) in pixels, one or several.
        batch: images of a step, over all ranks.
        first: the stage's first sample in the stream.
        seed: seed of the draws.

    >>> sizes = StepSizes(((32, 32), (64, 64)), batch=4, first=8)
    >>> [sizes.at(position)[0] for position in range(8, 28, 2)]
    [32, 32, 64, 64, 32, 32, 32, 32, 64, 64]
    """

    sizes: tuple[tuple[int, int], ...]
    batch: int
    first: int = 0
    seed: int = 0

    def at(self, position: int) -> tuple[int, int]:
        """The size of the step that a position of the stream is of."""
        if len(self.sizes) == 1:
            return self.sizes[0]
        step = (position - self.first) // self.batch
        digest = hashlib.blake2b(f"{self.seed} {step} size".encode(), digest_size=8).digest()
        return self.sizes[int.from_bytes(digest, "big") % len(self.sizes)]


class SizedViews(ShardViews):
    """Views of the size that their step has.

    Attributes:
        sizes: the size of each step; None leaves that of the settings.
    """

    sizes: StepSizes | None = None

    def __getitem__(self, position: int) -> View:
        self._take_size(position)
        return super().__getitem__(position)

    def __getitems__(self, positions: Sequence[int]) -> list[View]:
        """Several views, all of one step."""
        self._take_size(int(positions[0]))
        return super().__getitems__(positions)

    def _take_size(self, position: int) -> None:
        if self.sizes is not None:
            self.settings = replace(self.settings, size=self.sizes.at(position))
