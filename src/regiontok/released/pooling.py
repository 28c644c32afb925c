"""The tokens of one image of a released model: its own, or its regions pooled and projected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from regiontok.core.masks import PixelMasks
from regiontok.core.regions import Members, Regions
from regiontok.core.tokens import Tokens
from regiontok.methods import Pool
from regiontok.released.family import EncodedImage, Family, ImageTokens

if TYPE_CHECKING:
    from jaxtyping import Float

PoolStage = Literal["before", "after"]


def models_own_tokens(image: EncodedImage) -> ImageTokens:
    """The model's own tokens of an image: the empty pipeline."""
    values, *deepstack = image.model_tokens
    no_region = torch.full((len(values),), -1, dtype=torch.int64, device=values.device)
    origin = torch.zeros(len(values), 2, dtype=torch.float64, device=values.device)
    return ImageTokens(
        values=values,
        deepstack=tuple(deepstack),
        view=no_region,
        region=no_region,
        positions=origin if image.token_positions is None else image.token_positions,
        frames=tuple(view.grid.frame for view in image.views),
        places=image.token_places,
    )


def region_tokens(
    image: EncodedImage,
    regions: Sequence[Regions],
    *,
    family: Family,
    pool: Pool,
    stage: PoolStage,
    masks: PixelMasks | None = None,
) -> ImageTokens:
    """The regions of an image as tokens, level by level, all by the same regions.

    Levels are the projector's and then those of the deep-stacked layers.

    Args:
        image: the image as the model's tower encoded it.
        regions: the regions of each view.
        family: what projects pooled rows.
        pool: how the patches of a region become its tokens.
        stage: "before" pools what the projector reads, "after" what it gives.
        masks: the pixel masks that the regions come from, if they come from any.
    """
    members = Members.of(regions, [0] * len(regions))
    levels: list[Tensor] = []
    for level in range(len(image.model_tokens)):
        grids = [
            view.projector_inputs[level] if stage == "before" else view.projector_outputs[level]
            for view in image.views
        ]
        patches = torch.cat([grid.flatten(0, 1) for grid in grids])
        # sums run in float32; what then goes through the projector, or into the language model,
        # has the model's type again
        tokens: Tokens = pool.build(patches.shape[1])(patches.float(), members)
        rows = tokens.values.to(patches.dtype)
        levels.append(family.project(rows, level) if stage == "before" else rows)
    return ImageTokens(
        values=levels[0],
        deepstack=tuple(levels[1:]),
        view=tokens.view,
        region=tokens.region,
        positions=_positions(regions, members, tokens),
        frames=tuple(view.grid.frame for view in image.views),
        regions=tuple(regions),
        patch=tokens.patch,
        masks=masks,
    )


def _positions(
    regions: Sequence[Regions], members: Members, tokens: Tokens
) -> Float[Tensor, "t 2"]:
    """(y, x) of each token: its patch, or its region's centroid."""
    centroids = torch.cat([view_regions.centroids for view_regions in regions])
    of_region = centroids[members.regions[tokens.view] + tokens.region]
    widths = torch.tensor([view_regions.grid[1] for view_regions in regions])
    width = widths.to(tokens.view.device)[tokens.view]
    of_patch = torch.stack([tokens.patch // width, tokens.patch % width], 1).double()
    return torch.where((tokens.patch >= 0)[:, None], of_patch, of_region)
