"""Regionizer: encoder, segmenter, transforms and steps in one frozen object: pictures in, patch
grids and their regions out."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from regiontok.core.clip import Clip
from regiontok.core.grid import PatchGrid, images_of
from regiontok.core.picture import Picture
from regiontok.core.regions import Members, Regions
from regiontok.core.tiling import Tiling
from regiontok.settings import spec
from regiontok.settings.catalogue import route
from regiontok.settings.recipe import TokenizerSettings
from regiontok.system.choices import one_of
from regiontok.tokenizer import clips
from regiontok.tokenizer.tiles import prepared, views_of

STAGES = ("decode", "segment", "encode", "regions", "pool")


class Regionizer:
    """Encoder, segmenter, transforms and steps: pictures -> grids and their regions. Frozen;
    nothing in it learns.

    Args:
        encoder, segmenter, transforms, steps: built methods, or their specs.
        padding: "drop" keeps patches that see only padding out of every region; "keep" is LLaVA's
            behaviour.
        tiles: "" shows the encoder the whole image once. Otherwise that, and the image cut into
            tiles of the encoder's canvas: "2x2", "anyres" (LLaVA-NeXT's five grids), "anyres(6)",
            "1x2,2x1,2x2"; see `Tiling.of`.
        cut: regions of the tiles stitched to one grid ("stitched"), or of each tile by itself
            ("tile").

    Raises:
        SpecError: a spec that cannot be built.
        ValueError: a source that does not stand first, segments without a segmenter, a segmenter
            under shuffled patches, tiles of an encoder that lays pictures out otherwise.
    """

    def __init__(
        self,
        encoder: Any = "lite",
        *,
        segmenter: Any = None,
        transforms: Any = "",
        steps: Any = "",
        padding: str = "drop",
        tiles: str = "",
        cut: str = "stitched",
    ) -> None:
        one_of("padding", padding, ("drop", "keep"))
        one_of("cut", cut, ("stitched", "tile"))
        self.encoder = build_encoder(encoder) if isinstance(encoder, str) else encoder
        self.segmenter = (
            spec.build("segmenter", segmenter)
            if isinstance(segmenter, str) and segmenter
            else segmenter or None
        )
        self.transforms = (
            spec.build_pipeline("transform", transforms)
            if isinstance(transforms, str)
            else tuple(transforms)
        )
        self.steps = spec.build_pipeline("step", steps) if isinstance(steps, str) else tuple(steps)
        self.padding, self.tiles, self.cut = padding, tiles, cut
        self.tiling = Tiling.of(tiles) if tiles else None
        if self.tiling:
            self.encoder = prepared(self.encoder)
        self._check()

    @classmethod
    def of(
        cls, settings: TokenizerSettings, *, device: str = "cpu", encoder: Any = None
    ) -> Regionizer:
        """From a tokenizer's settings, on a device; `encoder` if theirs is built already."""
        return cls(
            on_device(encoder or build_encoder(settings.encoder), device),
            segmenter=settings.segmenter,
            transforms=settings.transforms,
            steps=settings.regions,
            padding=settings.padding,
            tiles=settings.tiles,
            cut=settings.cut,
        )

    def _check(self) -> None:
        for place, step in enumerate(self.steps):
            if place and getattr(step, "source", False):
                raise ValueError(
                    f"{spec.name_of(step)} makes regions afresh, so it must stand first in {self.spec!r}"
                )
        if self.reads_masks and self.segmenter is None:
            raise ValueError(
                f"{self.spec!r} needs pixel masks: name a segmenter, say segmenter='felzenszwalb'"
            )
        if self.reads_masks and getattr(self.encoder, "shuffle", None) is not None:
            raise ValueError(
                "masks do not follow shuffled patches: use regions without a segmenter, or no shuffle"
            )
        for transform in self.transforms:
            if hasattr(transform, "check"):
                transform.check(self.encoder)

    @property
    def reads_masks(self) -> bool:
        """True if some transform or step reads the segmenter's masks."""
        return any(
            getattr(method, "reads_masks", False) for method in (*self.transforms, *self.steps)
        )

    def but(self, steps: str) -> Regionizer:
        """The same encoder, segmenter and transforms with other steps; "" is every patch by itself,
        which asks no segmenter."""
        other = copy.copy(self)
        other.steps = spec.build_pipeline("step", steps)
        other._check()
        return other

    @property
    def newline(self) -> bool:
        """True if a token ends each row of the tiles, as in LLaVA-NeXT: where their patches are
        kept as they are."""
        return self.tiling is not None and self.cut == "stitched" and not self.steps

    @property
    def spec(self) -> str:
        """The steps as a spec; the empty one is "patches"."""
        return spec.render_pipeline(self.steps) or "patches"

    @property
    def fingerprint(self) -> str:
        """Everything that decides the regions of a picture, as text: with `picture.key` it is the
        key of any cache."""
        parts = {
            "encoder": spec.render(self.encoder, full=True),
            "weights": self.encoder.identity,
            "segmenter": spec.render(self.segmenter, full=True)
            if self.segmenter and self.reads_masks
            else "",
            "segmented": getattr(self.segmenter, "identity", "")
            if self.segmenter and self.reads_masks
            else "",
            "transforms": spec.render_pipeline(self.transforms, full=True),
            "transformed": [getattr(transform, "identity", "") for transform in self.transforms],
            "steps": spec.render_pipeline(self.steps, full=True),
            "padding": self.padding,
            "tiles": [self.tiling.grids, self.cut] if self.tiling else [],
            "decoding": f"pillow {version('pillow')}",
        }
        return json.dumps(parts)

    def see(
        self,
        pictures: Sequence[Picture | Clip],
        *,
        masks: bool | None = None,
        draw: int = 0,
        clock: Clock | None = None,
    ) -> list[PatchGrid]:
        """Segment (if some step reads masks, or `masks` says so) and encode: the views of each
        picture, picture by picture.

        Masks are those of the whole picture; they reach each view through its own frame.

        Raises:
            ValueError: masks of a clip: segmenters see single pictures, whose masks have no
                identity over time. Tiles of a clip.
        """
        clock = clock or Clock()
        wanted = self.reads_masks if masks is None else masks
        if wanted and self.segmenter and any(isinstance(picture, Clip) for picture in pictures):
            raise ValueError(
                "a clip has no pixel masks: take steps that read features, say regions='merge(0.5)'"
            )
        with clock("segment"):
            found = (
                self.segmenter(pictures) if wanted and self.segmenter else [None] * len(pictures)
            )
        with clock("encode"):
            views = self._encode(pictures)
            grids = [
                grid.but(masks=found[image], padding=self.padding, draw=draw)
                for grid, image in zip(views, images_of(views), strict=True)
            ]
            for transform in self.transforms:
                grids = [transform.one(grid) for grid in grids]
        return grids

    def _encode(self, pictures: Sequence[Picture | Clip]) -> list[PatchGrid]:
        if self.tiling is None:
            return clips.encode(self.encoder, pictures)
        return views_of(self.encoder, pictures, self.tiling, cut=self.cut, padding=self.padding)

    def trails(self, grids: Sequence[PatchGrid]) -> list[list[Regions]]:
        """For each view its regions before the first step (every valid patch its own) and after
        each."""
        stages = [[Regions.singletons(grid.grid, grid.valid) for grid in grids]]
        for step in self.steps:
            if hasattr(step, "many"):
                stages.append(step.many(stages[-1], grids))
            else:
                stages.append(
                    [
                        step.one(regions, grid)
                        for regions, grid in zip(stages[-1], grids, strict=True)
                    ]
                )
        return [list(trail) for trail in zip(*stages, strict=True)]

    def __call__(self, pictures: Sequence[Picture | Clip]) -> tuple[list[PatchGrid], Members]:
        """Grids, and the regions of the batch laid flat."""
        with torch.no_grad():
            grids = self.see(pictures)
            return grids, Members.of([trail[-1] for trail in self.trails(grids)], images_of(grids))


class Clock:
    """Seconds by stage; each stage waits for the GPU, so that it is charged its own work."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def __call__(self, stage: str):
        """Add the time of a `with` block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            if torch.cuda.is_available() and torch.cuda.is_initialized():
                torch.cuda.synchronize()
            self.seconds[stage] += time.perf_counter() - start


def build_encoder(text: str) -> Any:
    """An encoder from its spec or short name ("dinov2-l"); a hub name or a folder goes to the
    encoder that reads its config."""
    return spec.build("encoder", route(text))


def pictures(images: Any) -> list[Picture | Clip]:
    """Decode one image or many; an array or tensor with four axes is a batch. A `Clip` stays
    one."""
    if getattr(images, "ndim", None) == 4 or (isinstance(images, Iterable) and not _one(images)):
        return [image if isinstance(image, Clip) else Picture.of(image) for image in images]
    return [images if isinstance(images, Clip) else Picture.of(images)]


def _one(images: Any) -> bool:
    return (
        isinstance(images, str | bytes | bytearray | Path | Picture)
        or hasattr(images, "ndim")
        or hasattr(images, "getbands")
    )


def on_device(encoder: Any, device: str) -> Any:
    return (
        replace(encoder, device=device) if getattr(encoder, "device", device) != device else encoder
    )
