"""Regionizer: encoder, segmenter, transforms and steps; pictures in, regions out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import copy
from importlib.metadata import version
from typing import Any

import torch

from regiontok.core.clip import Clip
from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.core.regions import Members
from regiontok.core.tiling import Tiling
from regiontok.methods import Encoder, RegionStep, Segmenter, Transform
from regiontok.settings import registry
from regiontok.settings.catalogue import encoder_call
from regiontok.settings.recipe import TokenizerSettings
from regiontok.system.choices import check_choice
from regiontok.tokenizer import clips
from regiontok.tokenizer.clock import Clock
from regiontok.tokenizer.images import decode_images
from regiontok.tokenizer.pipeline import RegionPipeline, label_of, last_members
from regiontok.tokenizer.tiles import views_of


class Regionizer(RegionPipeline):
    """Encoder, segmenter, transforms and steps: from pictures to grids and their regions.

    It is frozen: nothing in it learns.

    Args:
        encoder: a built encoder, its spec or short name, a hub name or a folder.
        segmenter, transforms, steps, padding: see `RegionPipeline`.
        tiles: "" shows the encoder the whole image once. Otherwise it sees that, and the image cut
            into tiles of the encoder's canvas: "2x2", "anyres" (LLaVA-NeXT's five grids),
            "anyres(6)", "1x2,2x1,2x2"; see `Tiling.of`.
        cut: "stitched" makes regions on the tiles stitched to one grid, "tile" in each tile by
            itself.

    Raises:
        SpecError: If a spec cannot be built.
        TypeError: If an object does not derive from the contract of its kind.
        ValueError: If a source does not stand first, masks are read without a segmenter or under
            shuffled patches, or tiles are asked of an encoder that has no canvas of one size.
    """

    def __init__(
        self,
        encoder: Encoder | str = "lite",
        *,
        segmenter: Segmenter | str | None = None,
        transforms: Sequence[Transform] | str = "",
        steps: Sequence[RegionStep] | str = "",
        padding: str = "drop",
        tiles: str = "",
        cut: str = "stitched",
    ) -> None:
        check_choice("cut", cut, ("stitched", "tile"))
        self.encoder = resolve_encoder(encoder)
        self.tiles, self.cut = tiles, cut
        self.tiling = Tiling.of(tiles) if tiles else None
        if self.tiling:
            self.encoder = self.encoder.for_tiles()
        super().__init__(segmenter=segmenter, transforms=transforms, steps=steps, padding=padding)

    @classmethod
    def of(
        cls, settings: TokenizerSettings, *, device: str = "cpu", encoder: Encoder | None = None
    ) -> Regionizer:
        """The regionizer of a tokenizer's settings.

        Args:
            settings: the settings.
            device: where the encoder runs.
            encoder: the settings' encoder where it is built already; None builds it.
        """
        return cls(
            (encoder or build_encoder(settings.encoder)).on(device),
            segmenter=settings.segmenter,
            transforms=settings.transforms,
            steps=settings.regions,
            padding=settings.padding,
            tiles=settings.tiles,
            cut=settings.cut,
        )

    def on(self, device: str) -> Regionizer:
        """The same regionizer with its encoder on another device."""
        moved = copy(self)
        moved.encoder = self.encoder.on(device)
        return moved

    def _check(self) -> None:
        super()._check()
        if self.reads_masks and self.encoder.shuffle is not None:
            raise ValueError(
                "masks do not follow shuffled patches: use regions without a segmenter, or no "
                "shuffle"
            )
        for transform in self.transforms:
            transform.check(self.encoder)

    def __repr__(self) -> str:
        segmenter = f", segmenter={label_of(self.segmenter)}" if self.segmenter else ""
        return f"Regionizer(encoder={label_of(self.encoder)}, steps={self.spec!r}{segmenter})"

    @property
    def newline(self) -> bool:
        """True if a token ends each row of the stitched tiles, as in LLaVA-NeXT.

        That is so where their patches are kept as they are.
        """
        return self.tiling is not None and self.cut == "stitched" and not self.steps

    @property
    def fingerprint(self) -> str:
        """Everything that decides the regions of a picture, as text.

        Together with `picture.key` it is the key of any cache.
        """
        segmenter = self.segmenter if self.reads_masks else None
        settings = {
            "encoder": registry.render(self.encoder, full=True),
            "weights": self.encoder.identity,
            "segmenter": registry.render(segmenter, full=True) if segmenter else "",
            "segmented": segmenter.identity if segmenter else "",
            "transforms": registry.render_pipeline(self.transforms, full=True),
            "transformed": [transform.identity for transform in self.transforms],
            "steps": registry.render_pipeline(self.steps, full=True),
            "padding": self.padding,
            "tiles": [self.tiling.grids, self.cut] if self.tiling else [],
            "decoding": f"pillow {version('pillow')}",
        }
        return json.dumps(settings)

    def see(
        self,
        images: Any,
        *,
        masks: bool | None = None,
        draw: int = 0,
        clock: Clock | None = None,
    ) -> list[PatchGrid]:
        """Segment and encode: the views of each image, image by image.

        Masks are those of the whole picture; they reach each view through its own frame.

        Args:
            images: one image or many, as `RegionTokenizer` takes them: paths, pictures, clips,
                arrays, tensors.
            masks: True segments, False does not; None segments if a transform or step reads masks.
            draw: the epoch in training: steps with a seed draw anew in each.
            clock: takes the seconds of the stages "segment" and "encode".

        Raises:
            ValueError: If masks or tiles are asked of a clip.
        """
        clock = clock or Clock()
        pictures = decode_images(images)
        with clock("segment"):
            masks_by_image = self.masks(pictures, wanted=masks)
        with clock("encode"):
            return self.transformed(self._encode(pictures), masks_by_image, draw=draw)

    def _encode(self, pictures: Sequence[Picture | Clip]) -> list[PatchGrid]:
        if self.tiling is None:
            return clips.encode(self.encoder, pictures)
        return views_of(self.encoder, pictures, self.tiling, cut=self.cut, padding=self.padding)

    def __call__(self, images: Any) -> tuple[list[PatchGrid], Members]:
        """The grids of one image or many, and the regions of the batch laid flat."""
        with torch.no_grad():
            grids = self.see(images)
            return grids, last_members(self.trails(grids), grids)


def build_encoder(text: str) -> Encoder:
    """An encoder from its spec, its short name ("dinov2-l"), a hub name or a folder.

    Hub names and folders go to the encoder that reads their config.
    """
    return registry.build("encoder", encoder_call(text))


def resolve_encoder(encoder: Encoder | str) -> Encoder:
    """A built encoder as it is, and a text as `build_encoder` builds it.

    Raises:
        SpecError: If the spec cannot be built.
        TypeError: If the object does not derive from `regiontok.methods.Encoder`.
    """
    return (
        build_encoder(encoder) if isinstance(encoder, str) else registry.resolve("encoder", encoder)
    )
