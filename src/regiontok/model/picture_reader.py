"""PictureReader: the visual side of a RegionVLM, from pictures to the language model's tokens."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from regiontok.core.clip import Clip
from regiontok.core.frame import Framing
from regiontok.core.grid import PatchGrid, images_of
from regiontok.core.picture import Picture
from regiontok.core.regions import Members, Regions
from regiontok.core.tokens import Tokens
from regiontok.model.checkpoints import CompleteModel
from regiontok.model.config import RegionVLMConfig
from regiontok.model.delimiters import with_embeddings
from regiontok.model.visual import (
    FEATURE_KEYS,
    OtherSteps,
    UsedSettings,
    VisualInput,
    black_pixel,
    features_serve,
    on_device,
    one_patch,
    steps_by_image,
    trails_by_steps,
    views_by_image,
)
from regiontok.settings import registry
from regiontok.settings.checks import check_same_weights
from regiontok.settings.recipe import TokenizerSettings
from regiontok.system.choices import check_choice
from regiontok.tokenizer.clock import Clock
from regiontok.tokenizer.head import VisualHead
from regiontok.tokenizer.pipeline import last_members
from regiontok.tokenizer.regionizer import Regionizer, build_encoder
from regiontok.tokenizer.run import Run


class PictureReader(CompleteModel):
    """The visual side of a `RegionVLM`, which makes its modules.

    Attributes:
        head: norm, pool and connector: what turns regions into tokens of the language model's
            width.
        vision: the encoder's weights if they are tuned; there is none with a frozen encoder.
        regionizer: encoder, segmenter, transforms, steps. Nothing of it is in the checkpoint, but a
            tuned encoder's weights.
    """

    config: RegionVLMConfig
    head: VisualHead
    vision: nn.Module
    framing: Framing | None = None  # takes the place of the encoder's own while a stage is trained
    # regionizers by settings and framing, and the device they are on
    _frozen: dict[tuple[TokenizerSettings, Framing | None], Regionizer]
    _frozen_on: torch.device

    @property
    def regionizer(self) -> Regionizer:
        """Encoder, segmenter, transforms and steps of training, on the model's device.

        Raises:
            ValueError: If the encoder's weights are others than the model was made with.
        """
        return self.regionizer_of("trained")

    def regionizer_of(self, used: UsedSettings) -> Regionizer:
        """The regionizer of some settings, built at first use on the model's device.

        Raises:
            ValueError: If the encoder's weights are others than the model was made with, or the
                settings need other weights than the trained ones.
        """
        settings = self.settings_of(used)
        framing = self.framing if settings == self.config.settings else None
        if self._frozen and self._frozen_on != self.device:
            self._frozen.clear()
        self._frozen_on = self.device
        key = (settings, framing)
        if key not in self._frozen:
            self._frozen[key] = self._build_regionizer(settings, framing)
        regionizer = self._frozen[key]
        if self.config.tune_encoder:  # each time: peft may have wrapped the module
            regionizer = copy.copy(regionizer)
            regionizer.encoder = regionizer.encoder.tuned(self.vision)
        return regionizer

    def settings_of(self, used: UsedSettings) -> TokenizerSettings:
        """The settings of training, those to answer with, or the given ones, if they fit.

        Raises:
            ValueError: If they need other weights than the trained ones.
        """
        if isinstance(used, TokenizerSettings):
            check_same_weights(self.config.settings, used)
            return used
        check_choice("settings", used, ("trained", "answering"))
        return self.config.settings if used == "trained" else self.config.answering_settings

    def _build_regionizer(self, settings: TokenizerSettings, framing: Framing | None) -> Regionizer:
        encoder = build_encoder(settings.encoder)
        if self.config.visual_identity not in ("", encoder.identity):
            raise ValueError(
                f"this model was made with other weights of {settings.encoder} "
                f"({self.config.visual_identity}) than are here ({encoder.identity})"
            )
        if framing is not None:
            encoder = encoder.framed(framing)
        return Regionizer.of(settings, device=str(self.device), encoder=encoder)

    def _head_of(self, settings: TokenizerSettings, regionizer: Regionizer) -> VisualHead:
        """The head as some settings use it: the trained weights, and what stands in front."""
        if settings == self.config.settings:
            return self.head
        return self.head.but(
            whole=settings.whole,
            cls=settings.cls,
            partition_on=settings.partition_on,
            newline=regionizer.newline,
        )

    def see(
        self,
        pictures: Sequence[VisualInput],
        *,
        draw: int = 0,
        regions: OtherSteps = None,
        settings: UsedSettings = "trained",
    ) -> Tokens:
        """Visual tokens of the language model's width.

        Args:
            pictures: pictures, or their cached features: a `PatchGrid` is taken as the encoder's
                answer. With tiles, cached views of a picture follow one another, the base view
                first.
            draw: see `forward`.
            regions: steps in place of the model's own, for all pictures or one a picture (None: the
                model's own). "" is the model without masks (row O5): every patch, through the same
                weights, and no segmenter is asked. With pool `select` and the whole image in front
                (row O6) that block is every patch already, and nothing follows it.
            settings: "trained" reads pictures as in training, "answering" as the model is asked
                (row O5), other `TokenizerSettings` in another way with the same weights (rows F and
                G of the study's Table 3: `encoder` with a `shuffle`).

        Raises:
            ValueError: If a `PatchGrid` is given and the encoder is tuned, or the settings have
                other features: it holds what they were. If there are more or fewer `regions` than
                pictures, or the settings need other weights than the trained ones.
        """
        return self._see(pictures, None, draw=draw, regions=regions, settings=settings)[0]

    def run(
        self,
        pictures: Sequence[Picture | Clip],
        *,
        draw: int = 0,
        regions: OtherSteps = None,
        settings: UsedSettings = "trained",
    ) -> Run:
        """The visual tokens of pictures and everything on the way to them; see `see`."""
        clock = Clock()
        tokens, grids, trails = self._see(
            pictures, clock, draw=draw, regions=regions, settings=settings
        )
        return Run(tokens, list(pictures), grids, trails, clock.seconds)

    def _see(
        self,
        pictures: Sequence[VisualInput],
        clock: Clock | None,
        *,
        draw: int,
        regions: OtherSteps,
        settings: UsedSettings,
    ) -> tuple[Tokens, list[PatchGrid], list[list[Regions]]]:
        """Tokens, views and the regions of each view; a clock waits for the GPU at each stage."""
        raw = [picture for picture in pictures if not isinstance(picture, PatchGrid)]
        used = self.settings_of(settings)
        if len(raw) < len(pictures):
            self._check_cached(used)
        cached_bases = sum(
            isinstance(picture, PatchGrid) and picture.view == 0 for picture in pictures
        )
        steps = steps_by_image(regions, len(raw) + cached_bases)
        regionizer = self.regionizer_of(used)
        head = self._head_of(used, regionizer)
        pipelines = {
            text: regionizer if text is None else regionizer.but(text)
            for text in dict.fromkeys(steps)
        }
        with torch.set_grad_enabled(self.config.tune_encoder and torch.is_grad_enabled()):
            masks = any(pipeline.reads_masks for pipeline in pipelines.values())
            fresh = regionizer.see(raw, masks=masks, draw=draw, clock=clock) if raw else []
            grids = [
                on_device(grid, self.device, self.head_dtype).but(draw=draw)
                for grid in _in_order(pictures, views_by_image(fresh))
            ]
        owners = images_of(grids)
        with torch.no_grad(), _stage(clock, "regions"):
            detached = [grid.but(features=grid.features.detach()) for grid in grids]
            trails = trails_by_steps(
                head.read_by_steps(detached),
                [steps[owner] for owner in owners],
                pipelines,
                whole_is_every_patch=used.whole and self._pool_keeps_patches,
            )
        with _stage(clock, "pool"):
            tokens = head(grids, last_members(trails, grids))
            delimiter = self.config.delimiter_token_id
            if delimiter >= 0:
                tokens = with_embeddings(tokens, delimiter, self.get_input_embeddings())
        return tokens, grids, trails

    def _check_cached(self, used: TokenizerSettings) -> None:
        """Refuse features from a cache where they are not those that the settings give."""
        if self.config.tune_encoder:
            raise ValueError(
                "cached features do not follow an encoder that is tuned: pass pictures, or set "
                "tune_encoder=False"
            )
        if not features_serve(used, self.config.settings):
            raise ValueError(
                "cached features are those of training, and these settings have others "
                f"({', '.join(FEATURE_KEYS)} decide them): pass pictures"
            )

    @property
    def _pool_keeps_patches(self) -> bool:
        return registry.build("pool", self.config.settings.pool).keeps_patches

    @property
    def head_dtype(self) -> torch.dtype:
        """The type of the connector's weights."""
        return next(self.head.connector.parameters()).dtype

    def zero_through_head(self) -> Tensor:
        """Zero, by way of the head (and a tuned encoder).

        A batch of text alone must not leave ranks of DDP waiting for gradients.
        """
        if self.config.tune_encoder:
            grids = [
                on_device(grid, self.device, self.head_dtype)
                for grid in self.regionizer.encoder.encode([black_pixel()])
            ]
        else:
            grids = [one_patch(self.config.visual_width, self.device, self.head_dtype)]
        members = Members.of([Regions.singletons(grid.grid, grid.valid) for grid in grids])
        zero: Tensor = (self.head(grids, members).values * 0).sum()
        return zero


def _in_order(
    pictures: Sequence[VisualInput], fresh: Sequence[Sequence[PatchGrid]]
) -> list[PatchGrid]:
    """Cached views and the fresh ones of the pictures between them, all in their order."""
    fresh_views = iter(fresh)
    grids: list[PatchGrid] = []
    for picture in pictures:
        grids += [picture] if isinstance(picture, PatchGrid) else next(fresh_views)
    return grids


def _stage(clock: Clock | None, stage: str) -> AbstractContextManager[None]:
    return nullcontext() if clock is None else clock(stage)
