"""The views, regions, tokens and pictures that the checks run methods on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.core.regions import Members, Regions
from regiontok.core.tokens import Tokens
from regiontok.testing.assertions import seeded

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
WIDTH = 8  # of the features that pools, places and connectors get


def devices() -> list[str]:
    """The devices of this machine: the CPU, and a GPU if torch finds one."""
    return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def whole_numbers(seed: int, *shape: int) -> Float[Tensor, "..."]:
    """Whole numbers from -2 to 2, which are exact in every dtype."""
    return torch.from_numpy(np.random.default_rng(seed).integers(-2, 3, shape)).float()


def view(
    frame: Frame | None = None,
    *,
    grid: tuple[int, int] = (4, 6),
    frames: int | None = None,
    seed: int = 0,
    **fields: Any,
) -> PatchGrid:
    """A view with four whole-numbered features, attention of CLS, and four masks with scores.

    A third of all patches look alike, so there is something to merge and to cluster. The masks
    overlap; one of them is small, one empty.

    Args:
        frame: how the image lies under the grid; by default stretched to `grid`.
        grid: (h, w), if there is no frame.
        frames: number of frames of a clip; None for a picture.
        seed: seed of the features.
        fields: further fields of the `PatchGrid`.
    """
    frame = frame or Frame.stretch((24, 36), (2 * grid[0], 2 * grid[1]), (2, 2))
    features = whole_numbers(seed, *([frames] if frames else []), *frame.grid, 4)
    features.view(-1, 4)[::3] = whole_numbers(seed + 1, 4)
    height, width = frame.image
    masks = torch.zeros(4, height, width, dtype=torch.bool)
    masks[0, :, : width // 2] = True
    masks[1, height // 3 :] = True
    masks[2, :2, :1] = True
    attention = whole_numbers(seed + 2, *features.shape[:-1]) + 2
    fields = {"cls_attention": attention, "key": "a picture", **fields}
    return PatchGrid(features, frame, masks=scored_masks(masks), **fields)


def scored_masks(masks: Tensor) -> PixelMasks:
    """Pixel masks with falling scores."""
    return PixelMasks.from_dense(masks, scores=np.linspace(0.9, 0.1, len(masks)))


def letterboxed(padding: Literal["drop", "keep"]) -> PatchGrid:
    """A view of 6 x 6 patches, of which the first and the last row see padding only."""
    return view(Frame.letterbox((12, 24), (12, 12), (2, 2)), padding=padding)


def no_regions(grid: PatchGrid) -> Regions:
    """No region on the grid of a view."""
    return Regions.singletons(grid.grid, torch.zeros(grid.grid, dtype=torch.bool))


def regions_with_gaps(grid: PatchGrid) -> Regions:
    """Up to five regions that leave gaps."""
    labels = torch.from_numpy(np.random.default_rng(7).integers(-1, 5, grid.grid))
    return Regions.from_labels(torch.where(grid.valid, labels, -1))


def starting_regions(grid: PatchGrid) -> dict[str, Regions]:
    """Regions that a step may start from, by what they are."""
    return {
        "single patches": Regions.singletons(grid.grid, grid.valid),
        "regions with gaps": regions_with_gaps(grid),
        "one region of all patches": Regions.from_masks(grid.valid[None]),
        "no regions": no_regions(grid),
    }


def batch_of_views(dtype: torch.dtype = torch.float64) -> tuple[list[Tensor], list[Regions]]:
    """Values `[n 8]` and regions of four views.

    The first has overlapping regions, the second none, the third is one patch, and the fourth has a
    region of every patch.
    """
    generator = torch.Generator().manual_seed(0)
    views = [
        Regions.from_masks(torch.rand(5, 3, 4, generator=generator) < 0.6),
        Regions.from_masks(torch.zeros(2, 2, 2)),
        Regions.singletons((1, 1)),
        Regions.from_masks(
            torch.cat([torch.ones(1, 2, 5), torch.rand(2, 2, 5, generator=generator).round()])
        ),
    ]
    values = [
        torch.randn(regions.patches, WIDTH, generator=generator, dtype=torch.float64).to(dtype)
        for regions in views
    ]
    return values, views


def rows_of_masks(dtype: torch.dtype = torch.float64) -> tuple[Tokens, list[PatchGrid]]:
    """The rows of each region of four views as tokens, one view an image, and the views."""
    values, views = batch_of_views(dtype)
    grids = []
    for rows, regions in zip(values, views, strict=True):
        h, w = regions.grid
        grids.append(PatchGrid(rows.view(h, w, WIDTH), Frame.stretch((h, w), (h, w), (1, 1))))
    members = Members.of(views)
    return Tokens.of_patches(torch.cat(values)[members.patch], members), grids


def built(build: Callable[[], nn.Module], dtype: torch.dtype = torch.float64) -> nn.Module:
    """A module whose random weights are the same at every call."""
    with seeded():
        return build().to(dtype)


def pictures() -> list[Picture]:
    """Pictures with blocks of colour, one wide and one upright, and one of a single pixel."""
    return [coloured_picture(48, 64, 0), coloured_picture(40, 24, 1), coloured_picture(1, 1, 2)]


def coloured_picture(height: int, width: int, seed: int) -> Picture:
    """A picture of six blocks of colour with a little noise."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (2, 3, 3))
    rows, columns = np.arange(height) * 2 // height, np.arange(width) * 3 // width
    pixels = colours[rows[:, None], columns] + rng.integers(-6, 7, (height, width, 3))
    return Picture.of(np.clip(pixels, 0, 255).astype(np.uint8))
