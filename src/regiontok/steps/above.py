"""Apply a step to the views that have more regions than a number, and leave the others alone.

So "at most k tokens" can be said of pictures whose grids vary: a small one keeps all its patches,
where a step with an exact budget would refuse it.

After: nothing published.
Differs: nothing known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep
from regiontok.settings import registry


@dataclass(frozen=True)
class Above(RegionStep):
    """Views of more than `most` regions go through a step; the others stay as they are.

    Where the step is a source, the valid patches of a view are what is counted, and a view that
    stays as it is has each of them as a region.

    Attributes:
        most: the number of regions that a view may have without the step.
        step: spec of one step, such as "merge(k=144)".

    Raises:
        ValueError: If `most` is below 1.
        SpecError: If the spec is of no step.

    >>> import torch
    >>> from regiontok.core.frame import Frame
    >>> views = [
    ...     PatchGrid(torch.ones(*size, 2), Frame.stretch(size, size, (1, 1)))
    ...     for size in ((2, 2), (3, 4))
    ... ]
    >>> starts = [Regions.singletons(view.grid) for view in views]
    >>> [len(regions) for regions in Above(6, "tome(6)").many(starts, views)]
    [4, 6]
    """

    most: int
    step: str
    version: ClassVar[int] = 1
    _step: RegionStep = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ValueError(f"a view has at least one region, got most={self.most}")
        object.__setattr__(self, "_step", registry.build("step", self.step))

    @property
    def identity(self) -> str:
        """See `Method`."""
        return f"{registry.render(self._step, full=True)} {self._step.identity}".strip()

    @property
    def source(self) -> bool:
        """See `RegionStep`."""
        return self._step.source

    @property
    def reads_masks(self) -> bool:
        """See `RegionStep`."""
        return self._step.reads_masks

    @property
    def leaves_out(self) -> bool:
        """See `RegionStep`."""
        return self._step.leaves_out

    def one(self, regions: Regions, grid: PatchGrid) -> Regions:
        """Change one view, or leave it alone."""
        return self.many([regions], [grid])[0]

    def many(self, regions: Sequence[Regions], grids: Sequence[PatchGrid]) -> list[Regions]:
        """Change the large views of a batch, all together."""
        views = list(regions)
        if self.source:
            views = [Regions.singletons(grid.grid, grid.valid) for grid in grids]
        large = [number for number, view in enumerate(views) if len(view) > self.most]
        changed = self._step.many(
            [regions[number] for number in large], [grids[number] for number in large]
        )
        for number, view in zip(large, changed, strict=True):
            views[number] = view
        return views
