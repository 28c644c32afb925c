"""RegionPipeline: segmenter, transforms and steps, for the grids of any encoder or model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Self

from regiontok.core.clip import Clip
from regiontok.core.grid import PatchGrid, images_of
from regiontok.core.masks import PixelMasks, masks_from
from regiontok.core.picture import Picture
from regiontok.core.regions import Members, Regions
from regiontok.methods import Method, RegionStep, Segmenter, Transform
from regiontok.settings import registry
from regiontok.system.choices import check_choice


class RegionPipeline:
    """Turns patch grids into their regions, whoever made the grids.

    Args:
        segmenter: a built segmenter or its spec, for transforms and steps that read masks.
        transforms: built transforms or their spec; they change what steps read.
        steps: built steps or their spec; "" leaves every patch a region by itself.
        padding: "drop" keeps patches that see only padding out of every region; "keep" treats them
            like the others, as LLaVA does.

    Raises:
        SpecError: If a spec cannot be built.
        TypeError: If an object does not derive from the contract of its kind.
        ValueError: If a source does not stand first, or masks are read and no segmenter is named.
    """

    def __init__(
        self,
        *,
        segmenter: Segmenter | str | None = None,
        transforms: Sequence[Transform] | str = "",
        steps: Sequence[RegionStep] | str = "",
        padding: str = "drop",
    ) -> None:
        check_choice("padding", padding, ("drop", "keep"))
        self.segmenter = registry.resolve("segmenter", segmenter) if segmenter else None
        self.transforms = registry.resolve_pipeline("transform", transforms)
        self.steps = registry.resolve_pipeline("step", steps)
        self.padding = padding
        self._check()

    def __repr__(self) -> str:
        segmenter = f", segmenter={label_of(self.segmenter)}" if self.segmenter else ""
        return f"RegionPipeline(steps={self.spec!r}{segmenter})"

    def _check(self) -> None:
        for step in self.steps[1:]:
            if step.source:
                raise ValueError(
                    f"{registry.name_of(step)} makes regions afresh, so it must stand first in "
                    f"{self.spec!r}"
                )
        if self.reads_masks and self.segmenter is None:
            raise ValueError(
                f"{self.spec!r} needs pixel masks: name a segmenter, say segmenter='felzenszwalb'"
            )

    @property
    def reads_masks(self) -> bool:
        """True if some transform or step reads the segmenter's masks."""
        return any(transform.reads_masks for transform in self.transforms) or any(
            step.reads_masks for step in self.steps
        )

    @property
    def spec(self) -> str:
        """The steps as a spec; that of the empty pipeline is "patches"."""
        return " | ".join(map(label_of, self.steps)) or "patches"

    def but(self, steps: str) -> Self:
        """The same pipeline with other steps; "" is every patch by itself, without a segmenter."""
        other = copy.copy(self)
        other.steps = registry.build_pipeline("step", steps)
        other._check()
        return other

    def masks(
        self, pictures: Sequence[Picture | Clip], *, wanted: bool | None = None
    ) -> list[PixelMasks | None]:
        """The segmenter's masks of each picture; None for each where none are wanted.

        Args:
            pictures: pictures as decoded.
            wanted: True segments, False does not; None segments if a transform or step reads masks.

        Raises:
            ValueError: If masks are wanted of a clip: segmenters see single pictures, whose masks
                have no identity over time.
        """
        wanted = self.reads_masks if wanted is None else wanted
        if not wanted or self.segmenter is None:
            return [None] * len(pictures)
        stills = [picture for picture in pictures if isinstance(picture, Picture)]
        if len(stills) < len(pictures):
            raise ValueError(
                "a clip has no pixel masks: take steps that read features, say regions='merge(0.5)'"
            )
        return [*masks_from(self.segmenter, stills)]

    def transformed(
        self,
        grids: Sequence[PatchGrid],
        masks_by_image: Sequence[PixelMasks | None],
        *,
        draw: int = 0,
    ) -> list[PatchGrid]:
        """The grids as the steps read them, all transforms applied.

        Args:
            grids: views of the pictures, picture by picture.
            masks_by_image: the masks of each picture, as `masks` gives them.
            draw: the epoch in training: steps with a seed draw anew in each.
        """
        views = [
            grid.but(masks=masks_by_image[image], padding=self.padding, draw=draw)
            for grid, image in zip(grids, images_of(grids), strict=True)
        ]
        for transform in self.transforms:
            views = transform.many(views)
        return views

    def trails(self, grids: Sequence[PatchGrid]) -> list[list[Regions]]:
        """The regions of each view before the first step and after each step.

        Before the first step every valid patch is a region of its own.
        """
        stages = [[Regions.singletons(grid.grid, grid.valid) for grid in grids]]
        for step in self.steps:
            stages.append(step.many(stages[-1], grids))
        return [list(trail) for trail in zip(*stages, strict=True)]


def last_members(trails: Sequence[Sequence[Regions]], grids: Sequence[PatchGrid]) -> Members:
    """The regions after the last step, those of all views laid flat, as pools read them."""
    return Members.of([trail[-1] for trail in trails], images_of(grids))


def label_of(method: Method) -> str:
    """The spec of a method, or the name of its class where that is no dataclass."""
    return registry.render(method) if is_dataclass(method) else type(method).__name__
