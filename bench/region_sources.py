"""Where the regions of `regions_bsds.py` come from: a source makes one patch label map a budget.

Beside two trivial sources there are two kinds. A `Search` segments pixels: its labels are rounded
to patches (a patch goes to the label that most of its pixels have) and its one parameter is
searched until K AFTER rounding is right. A `Pipeline` is a spec of this library: features of an
encoder, then steps.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Protocol

import numpy as np
import torch
from skimage.segmentation import felzenszwalb, slic

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.measures.covering import contingency
from regiontok.settings.registry import build, build_pipeline
from regiontok.settings.spec import SpecError

PATCH = 14  # the canvas is (PATCH * grid)^2: 336 x 336 at the usual 24 x 24
# SLIC's compactness: scikit-image's default, and a looser one that follows contours more (the best
# of .3, 1, 10 and 30 on 16 photos at 16 and more regions). On all 200 photos 10 is better at K=4
# (Rand index .650 to .609), 1 at K=64 (covering .209 to .149), so there is a row of each.
COMPACTNESS = (10, 1)
# Pixels of felzenszwalb's smallest segment; 5 and 60 give the same to .003 on 12 photos, 150 gives
# more at K=8 and less at K=64.
MIN_SIZE = 20
RANDOM_WIDTH = 56  # channels of the control's random features


class Source(Protocol):
    """A row of the table: it cuts a picture into regions."""

    def __call__(self, picture: Picture, frame: Frame, budgets: Sequence[int]) -> list[np.ndarray]:
        """Patch labels `[h w]` for each budget; -1 is in no region."""
        ...


def on_patches(labels: np.ndarray, frame: Frame) -> np.ndarray:
    """Round pixel labels `[H W]` to patches `[h w]`: the label that most of a patch's pixels have.

    The lower label wins a tie.
    """
    patch = torch.arange(math.prod(frame.grid)).view(frame.grid)
    shared = contingency(frame.to_pixels(patch).numpy(), labels)
    if len(shared) != patch.numel():
        raise ValueError(
            f"some of the {patch.numel()} patches lie between the pixels of a {frame.image} photo; "
            "take a coarser --grid"
        )
    return shared.argmax(axis=1).reshape(frame.grid)


def on_pixels(labels: np.ndarray, frame: Frame) -> np.ndarray:
    """Spread patch labels `[h w]` over pixels `[H W]`; -1 where no patch sees the pixel."""
    return frame.to_pixels(torch.from_numpy(np.asarray(labels, np.int64))).numpy()


def count(labels: np.ndarray) -> int:
    """The number of regions of a label map; -1 is in no region."""
    return len(np.unique(labels[labels >= 0]))


@dataclass(frozen=True)
class Search:
    """A pixel segmenter, whose parameter is bisected on a logarithmic scale.

    Where no parameter tried gives K exactly (the count jumps, and is not quite monotone), the
    closest count tried for ANY budget is taken, of two as close the smaller.
    """

    segment: Callable[[np.ndarray, float], np.ndarray]  # (pixels, parameter) -> labels
    few: float  # the parameter that gives the fewest regions
    many: float  # the parameter that gives the most
    whole: bool = False  # whether the parameter is a whole number
    tries: int = 10  # the last step is a thousandth of the range, on its logarithm

    def __call__(self, picture: Picture, frame: Frame, budgets: Sequence[int]) -> list[np.ndarray]:
        """The labels on patches whose number is closest to each budget."""
        tried: dict[float, np.ndarray] = {}
        for wanted in budgets:
            few, many = self.few, self.many
            for _ in range(self.tries):
                middle = math.sqrt(few * many)
                middle = round(middle) if self.whole else middle
                if middle not in tried:
                    tried[middle] = on_patches(self.segment(picture.pixels, middle), frame)
                regions = count(tried[middle])
                if regions == wanted:
                    break
                few, many = (middle, many) if regions < wanted else (few, middle)
        ranked = sorted(tried.values(), key=count)
        return [min(ranked, key=lambda labels: abs(count(labels) - wanted)) for wanted in budgets]


def factors(k: int, grid: tuple[int, int]) -> list[tuple[int, int]]:
    """The ways (down, across) to cut a grid into k blocks of equal numbers."""
    return [
        (down, k // down)
        for down in range(1, grid[0] + 1)
        if k % down == 0 and k // down <= grid[1]
    ]


def blocks(picture: Picture, frame: Frame, budgets: Sequence[int]) -> list[np.ndarray]:
    """Cut the grid into blocks, as square as possible on the PHOTO.

    Eight blocks are 2 x 4 or, on an upright photo, 4 x 2.
    """
    (h, w), (height, width) = frame.grid, picture.size
    maps = []
    for k in budgets:
        ways = factors(k, frame.grid)
        down, across = min(ways, key=lambda cut: abs(math.log(height / cut[0] * cut[1] / width)))
        maps.append((np.arange(h) * down // h)[:, None] * across + np.arange(w) * across // w)
    return maps


def whole_photo(picture: Picture, frame: Frame, budgets: Sequence[int]) -> list[np.ndarray]:
    """Make one region of the whole photo, whatever the budget."""
    return [np.zeros(frame.grid, np.int64)] * len(budgets)


@dataclass(frozen=True)
class Pipeline:
    """Features, then a step spec with `{k}` in it.

    A last step that asks for more regions than there are is left out.
    """

    features: Callable[[Picture, Frame], PatchGrid]
    steps: str

    def __call__(self, picture: Picture, frame: Frame, budgets: Sequence[int]) -> list[np.ndarray]:
        """The labels for each budget; features are made once."""
        grid = self.features(picture, frame)
        return [self._labels(grid, wanted) for wanted in budgets]

    def _labels(self, grid: PatchGrid, wanted: int) -> np.ndarray:
        regions = Regions.singletons(grid.grid, grid.valid)
        for step in build_pipeline("step", self.steps.format(k=wanted)):
            if getattr(step, "k", None) == wanted and len(regions) <= wanted:
                continue
            regions = step.one(regions, grid)
        return regions.labels.numpy()


def noise(picture: Picture, frame: Frame, *, seed: int) -> PatchGrid:
    """The control: independent normal features, the same for a photo and seed on any machine."""
    rng = np.random.default_rng([seed, zlib.crc32(picture.key.encode())])
    features = torch.from_numpy(rng.standard_normal((*frame.grid, RANDOM_WIDTH))).float()
    return PatchGrid(features, frame, key=picture.key)


def encoded(
    picture: Picture, frame: Frame, *, encoder: str, segmenter: str | None = None
) -> PatchGrid:
    """Features of an encoder of the library, with a segmenter's masks if one is named.

    Raises:
        SpecError: If the encoder's grid is not the bench's.
    """
    (grid,) = _built("encoder", encoder).encode([picture])
    same = (
        grid.frame.grid == frame.grid
        and np.allclose(grid.frame.covered, frame.covered)
        and bool(grid.frame.valid.all())
    )
    if not same:
        raise SpecError(
            f"{encoder} looks at {grid.frame.covered} of the photo through a {grid.frame.grid} "
            f"grid; the bench compares all sources on {frame.grid} over the whole photo "
            f"{frame.covered}: stretch it to that grid"
        )
    if segmenter is None:
        return grid
    return grid.but(masks=_built("segmenter", segmenter)([picture])[0])


@cache
def _built(kind: str, spec: str) -> Any:
    return build(kind, spec)


# These are scikit-image's functions themselves. The library's segmenters call them too, but hand on
# run-length coded masks; coding and decoding takes .04 s for 68 masks and .65 s for 1,500, beside
# .2 s for the segmentation, and a search makes some thirty of them.
def _slic(pixels: np.ndarray, segments: float, *, compactness: float) -> np.ndarray:
    return slic(pixels, n_segments=int(segments), compactness=compactness, start_label=0)


def _felzenszwalb(pixels: np.ndarray, scale: float) -> np.ndarray:
    return felzenszwalb(pixels, scale=scale, sigma=0.8, min_size=MIN_SIZE)


# The combined row is what the diagnostic study calls segmentation, then clustering (D6), brought to
# an exact budget.
COMBINED = (
    "segments(0.07, resolve='smallest') | cover('rest') | "
    "split(eps=0.7, min_samples=3, min_patches=10) | merge(k={k})"
)


def sources(side: int, seed: int) -> dict[str, Source]:
    """The rows with a name of their own, on a grid of `side` x `side` patches."""

    def merged(encoder: str) -> Source:
        return Pipeline(partial(encoded, encoder=encoder), "merge(k={k})")

    lite = f"lite(size={16 * side}, patch=16)"
    return {
        "one": whole_photo,
        "grid": blocks,
        **{
            f"slic-{c}": Search(partial(_slic, compactness=c), 1, 2000, whole=True)
            for c in COMPACTNESS
        },
        "felzenszwalb": Search(_felzenszwalb, 1e6, 10),
        "random": Pipeline(partial(noise, seed=seed), "merge(k={k})"),
        "filters": merged(f"filters(size={PATCH * side}, patch={PATCH})"),
        **{f"lite-{stage}": merged(lite[:-1] + f", stages=({stage},))") for stage in (1, 2, 4)},
        "lite": merged(lite),
        "combined": Pipeline(partial(encoded, encoder=lite, segmenter="felzenszwalb"), COMBINED),
    }


def source(name: str, side: int, seed: int) -> Source:
    """The source of a row: one of `sources`, or merged patches of any encoder of the library.

    Raises:
        SpecError: If the name is neither a row nor the spec of an encoder.
    """
    named = sources(side, seed)
    if name in named:
        return named[name]
    try:
        build("encoder", name)
    except SpecError as error:
        raise SpecError(f"{error}; or a row of {', '.join(named)}") from None
    return Pipeline(partial(encoded, encoder=name), "merge(k={k})")
