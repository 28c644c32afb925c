"""The visual side of a RegionVLM: its head, its encoder, and views with their regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from regiontok.core.clip import Clip
from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.methods import Encoder
from regiontok.model.config import RegionVLMConfig
from regiontok.settings import registry, spec
from regiontok.settings.recipe import TokenizerSettings
from regiontok.tokenizer.head import VisualHead
from regiontok.tokenizer.pipeline import RegionPipeline
from regiontok.tokenizer.regionizer import build_encoder

# what a RegionVLM takes for a picture: decoded, or one view's cached features
VisualInput = Picture | Clip | PatchGrid
# other steps than the model's own: for all pictures, or one a picture (None: the model's own)
OtherSteps = str | Sequence[str | None] | None
# settings of the region tokenizer: those of training, those to answer with, or others by hand
UsedSettings = Literal["trained", "answering"] | TokenizerSettings
# what of the settings decides a picture's features
FEATURE_KEYS = ("encoder", "transforms", "padding", "tiles", "cut")


def embedding_width(language_model: nn.Module) -> int:
    """e, the width of a language model's input embeddings.

    It may be narrower than its layers, as in OPT-350m: 512 and 1,024.
    """
    weight: Tensor = language_model.get_input_embeddings().weight  # type: ignore[operator]
    return weight.shape[1]


def build_head(config: RegionVLMConfig, language_model: nn.Module) -> VisualHead:
    """The head of a model: norm, pool, places and connector, freshly initialised.

    Args:
        config: config of the model.
        language_model: the language model, whose input embeddings decide the tokens' width.
    """
    settings = config.settings
    return VisualHead(
        config.visual_width,
        norm=settings.norm,
        partition_on=settings.partition_on,
        pool=registry.build("pool", settings.pool),
        whole=settings.whole,
        cls=settings.cls,
        place_features=registry.build_pipeline("place", settings.place_features),
        place_tokens=registry.build_pipeline("place", settings.place_tokens),
        connector=registry.build("connector", config.connector),
        newline=bool(settings.tiles)
        and settings.cut == "stitched"
        and not spec.parse(settings.regions),
        out=embedding_width(language_model),
    )


def features_serve(settings: TokenizerSettings, stored: TokenizerSettings) -> bool:
    """True if features kept under some settings are those of other settings, too."""
    return all(getattr(settings, key) == getattr(stored, key) for key in FEATURE_KEYS)


def build_tunable_encoder(text: str) -> Encoder:
    """An encoder that can learn, from its spec.

    Raises:
        ValueError: If it cannot be tuned.
    """
    encoder = build_encoder(text)
    if not encoder.can_tune:
        raise ValueError(
            f"the encoder {text} cannot be tuned: tune_encoder=True takes one of "
            "transformers('...')"
        )
    return encoder


def views_by_image(grids: Sequence[PatchGrid]) -> list[list[PatchGrid]]:
    """The views of each picture, from those of all pictures one after the other."""
    images: list[list[PatchGrid]] = []
    for grid in grids:
        if grid.view == 0:
            images.append([])
        images[-1].append(grid)
    return images


def on_device(grid: PatchGrid, device: torch.device, dtype: torch.dtype) -> PatchGrid:
    """Features as they are (steps read them exactly), what is pooled in the head's type."""
    prefix = None if grid.prefix is None else grid.prefix.to(device, dtype)
    return grid.but(
        features=grid.features.to(device), values=grid.pooled.to(device, dtype), prefix=prefix
    )


def steps_by_image(steps: OtherSteps, images: int) -> list[str | None]:
    """The steps of each of so many pictures; None stands for the model's own.

    Raises:
        ValueError: If steps were given for another number of pictures.
    """
    if steps is None or isinstance(steps, str):
        return [steps] * images
    if len(steps) != images:
        raise ValueError(f"expected regions for each of {images} pictures, got {len(steps)}")
    return list(steps)


def trails_by_steps(
    grids: Sequence[PatchGrid],
    steps_by_view: Sequence[str | None],
    pipelines: Mapping[str | None, RegionPipeline],
    *,
    whole_is_every_patch: bool,
) -> list[list[Regions]]:
    """The regions of each view before the first step and after each, by the steps it is to have.

    Args:
        grids: the views, as steps read them.
        steps_by_view: the steps of each view.
        pipelines: the pipeline of each of these steps.
        whole_is_every_patch: True if the whole image stands in front patch by patch: then a base
            view whose every patch is asked for has no further regions.
    """
    trails: list[list[Regions]] = [[] for _ in grids]
    for steps, pipeline in pipelines.items():
        views = [view for view, wanted in enumerate(steps_by_view) if wanted == steps]
        in_front_already = steps is not None and whole_is_every_patch and not pipeline.steps
        view_trails = pipeline.trails([grids[view] for view in views])
        for view, trail in zip(views, view_trails, strict=True):
            if in_front_already and grids[view].view == 0:
                trail = [*trail[:-1], trail[-1].take([])]
            trails[view] = trail
    return trails


def one_patch(width: int, device: torch.device, dtype: torch.dtype) -> PatchGrid:
    """A grid of one patch of zeros with a CLS token, to go through a head for nothing."""
    zeros = torch.zeros(1, 1, width, device=device, dtype=dtype)
    return PatchGrid(zeros, Frame.stretch((1, 1), (1, 1), (1, 1)), prefix=zeros[0], summaries=1)


def black_pixel() -> Picture:
    """The smallest picture, to go through an encoder for nothing."""
    return Picture.of(torch.zeros(3, 1, 1, dtype=torch.uint8))
