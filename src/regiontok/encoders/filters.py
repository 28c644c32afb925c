"""Colour, edges and texture of each patch, without any weights: the floor for pretrained encoders.

28 numbers a patch: mean and deviation of L, a, b; orientation energy in 6 bins at sigma 1 and 2.5
px; the histogram of uniform local binary patterns. The same 28 smoothed over neighbouring patches
make 56, each standardised over the picture and weighted. Random Fourier features of them (a
Gaussian kernel) stand beside them with equal weight; `fourier=0` leaves them out.

After: Martin, Fowlkes and Malik 2004 (which cues: brightness, colour, texture, oriented energy);
    Ojala et al. 2002 (uniform patterns); Rahimi and Recht 2007 (random Fourier features). The
    mixture is our own; in no paper of ours.
Differs: a uniform picture stays one region. The cosine sees directions only, so standardising alone
    would make regions of rounding noise: a patch whose pixels all lie within a just noticeable
    difference of the picture's mean colour counts as that colour (`NOTICED`), which costs photos
    nothing. Padding of a letterbox takes the picture's mean colour and has no part in any
    statistic.

Merged to exactly 16 regions these features cover human segmentations of BSDS500 by .53 (grid
pooling: .21), see docs/measurements/quality.md; how cues and weights were chosen is in docs/log.md.
On one core a picture takes 44 ms, 36 without the Fourier features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from skimage.color import rgb2lab
from skimage.feature import local_binary_pattern
from skimage.filters import gaussian

from regiontok.core.canvas import canvases, lay_ahead, mean_fill
from regiontok.core.frame import Frame, Framing, Pair
from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.methods import CanvasEncoder
from regiontok.system.devices import resolve_device

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8

ORIENTATIONS = 6
SCALES = (1.0, 2.5)  # sigma of the edge filters, pixels
# uniform patterns of 8 neighbours: 0 to 8 of them at least as light as the pixel in one run, and
# all others
PATTERNS = 10
# (numbers, weight, centre, spread) of each cue. Centre and spread are round figures near the median
# over the 200 photos of BSDS500 train: what `values` are standardised by, and in what `FLOOR` is
# measured.
CUES = (
    (1, 2.0, 50.0, 16.0),  # mean of L
    (2, 2.0, 0.0, 7.0),  # mean of a and b
    (1, 1.0, 8.0, 5.5),  # deviation of L
    (2, 1.0, 2.5, 2.0),  # deviation of a and b
    (ORIENTATIONS, 0.7, 0.4, 0.45),  # orientation energy, sigma 1
    (ORIENTATIONS, 0.7, 0.2, 0.3),  # orientation energy, sigma 2.5
    (PATTERNS, 0.5, 0.1, 0.04),  # local binary patterns
)
FLOOR = 0.05  # of a spread: a number that varies less over a picture is not blown up further
# sigma of the Gaussian kernel, in units of the weighted numbers, whose mean square length is 47
SIGMA = 4.0
# Lab distance of a just noticeable difference. +-1 level of noise is 0.2 to 1.2, the median patch
# of BSDS500 21
NOTICED = 2.3
# without Fourier features: a constant coordinate, in units of the root mean square length
CONSTANT = 0.15
HEADS = 16  # widths are multiples of it, so that attention pooling with the study's 16 heads fits


@dataclass(frozen=True)
class Filters(CanvasEncoder):
    """Hand-made features of patches; nothing is loaded and nothing is learned.

    `features` are standardised over the picture: what region steps read. `values` are the same
    numbers on one fixed scale for all pictures, so that what pools read still tells a red picture
    from a blue one.

    Attributes:
        size: side of the square canvas in pixels.
        patch: side of a patch in canvas pixels.
        framing: "stretch", "letterbox" or "crop".
        fourier: random Fourier features beside the 56 numbers; 0 leaves them out.
        seed: seed of the Fourier features.
        shuffle: seed of the pre-shuffle of the canvas's patches (row D10); None leaves them in
            place.
        device: where the features go; they are computed on the host.

    Raises:
        ValueError: If the canvas is smaller than a patch, or the number of Fourier features is
            negative.

    >>> encoder = Filters()
    >>> encoder.frame((321, 481)).grid, encoder.width
    ((24, 24), 320)
    """

    size: int = 336
    patch: int = 14
    framing: Framing = "stretch"
    fourier: int = 264
    seed: int = 0
    shuffle: int | None = None
    device: str = field(default="cpu", metadata={"run": True})

    version: ClassVar[int] = 1
    standardises: ClassVar[bool] = True
    identity: ClassVar[str] = f"filters {version}; lab and patterns: scikit-image; pixels: pillow"

    def __post_init__(self) -> None:
        if not 2 <= self.patch <= self.size:
            raise ValueError(
                f"expected 2 <= patch <= size, got patch={self.patch}, size={self.size}"
            )
        if self.fourier < 0:
            raise ValueError(f"fourier must be 0 or more, got {self.fourier}")

    @property
    def threshold(self) -> float:
        """See `Encoder`."""
        # Of 576 patches 95, 160, 250 regions stay (10th, 50th, 90th percentile of BSDS500 train),
        # 75, 135, 210 without Fourier features.
        return 0.75 if self.fourier else 0.8

    @property
    def width(self) -> int:
        """See `Encoder`."""
        count = 2 * sum(numbers for numbers, *_ in CUES)
        return count + (self.fourier or -count % HEADS or HEADS)

    def frame(self, size: Pair) -> Frame:
        """See `Encoder`."""
        return Frame.fit(self.framing, size, (self.size, self.size), (self.patch, self.patch))

    def prepare(self, picture: Picture) -> None:
        """See `Encoder`."""
        frame = self.frame(picture.size)
        lay_ahead(picture, frame, fill=mean_fill(picture, frame), shuffle=self.shuffle)

    def encode(self, pictures: Sequence[Picture]) -> list[PatchGrid]:
        """The grid of each picture: features and values `[h w d]` float32.

        Pictures do not depend on each other.
        """
        return [
            self._grid(*self._numbers(picture), self.frame(picture.size), picture.key)
            for picture in pictures
        ]

    def encode_clip(self, pictures: Sequence[Picture]) -> PatchGrid:
        """One grid `[t h w d]` of all frames of a clip, standardised over the clip."""
        frames = [self._numbers(picture) for picture in pictures]
        numbers, doubled = (np.stack(column) for column in zip(*frames, strict=True))
        return self._grid(numbers, doubled, self.frame(pictures[0].size), "")

    def _numbers(
        self, picture: Picture
    ) -> tuple[Float[np.ndarray, "h w 28"], Float[np.ndarray, "h w 56"]]:
        """The 28 numbers of each patch, and the 56 with the smoothed ones, in their own units."""
        frame = self.frame(picture.size)
        fill = mean_fill(picture, frame)
        (canvas,) = canvases([picture], [frame], fill=fill, shuffle=self.shuffle)
        numbers = describe(canvas.permute(1, 2, 0).numpy(), self.patch)
        return numbers, np.concatenate([numbers, smoothed(numbers, frame.valid.numpy())], axis=-1)

    def _grid(self, numbers: np.ndarray, doubled: np.ndarray, frame: Frame, key: str) -> PatchGrid:
        """Standardise over all patches, of one picture or of a clip."""
        valid = np.broadcast_to(frame.valid.numpy(), doubled.shape[:-1])
        _, weight, centre, spread = (np.tile(column, 2) for column in _cue_columns())
        mean, deviation = doubled[valid].mean(0), doubled[valid].std(0)
        standardised = (doubled - mean) / np.maximum(deviation, FLOOR * spread)
        standardised *= noticed(numbers, valid)[..., None]
        fixed = (doubled - centre) / spread
        features, values = (
            torch.from_numpy(self._with_waves(scaled * weight)).to(resolve_device(self.device))
            for scaled in (standardised, fixed)
        )
        return PatchGrid(features, frame, values=values, key=key)

    def _with_waves(self, weighted: Float[np.ndarray, "*grid c"]) -> Float[np.ndarray, "*grid d"]:
        """The weighted numbers, and on the same scale their Fourier features, or a constant."""
        length = np.sqrt(2 * sum(numbers * weight**2 for numbers, weight, *_ in CUES))
        if self.fourier:
            waves, phases = _waves(self.fourier, weighted.shape[-1], self.seed)
            beside = np.cos(weighted @ waves + phases) * (length * np.sqrt(2 / self.fourier))
        else:
            count = self.width - weighted.shape[-1]
            shape = (*weighted.shape[:-1], count)
            beside = np.full(shape, CONSTANT * length / np.sqrt(count))
        return np.concatenate([weighted, beside], axis=-1).astype(np.float32)


def describe(canvas: UInt8[np.ndarray, "H W 3"], patch: int) -> Float[np.ndarray, "h w 28"]:
    """The 28 numbers of each whole patch, in the order of `CUES`.

    They are in their own units: Lab, Lab per pixel, shares.
    """
    h, w = canvas.shape[0] // patch, canvas.shape[1] // patch
    lab = rgb2lab(canvas / np.float32(255))  # float32: a third of the time

    def blocks(values: np.ndarray) -> np.ndarray:
        return values[: h * patch, : w * patch].reshape(h, patch, w, patch, -1)

    def histogram(
        bins: Int[np.ndarray, "H W"], count: int, weights: np.ndarray | None = None
    ) -> np.ndarray:
        cells = (np.arange(h * w).reshape(h, 1, w, 1) * count + blocks(bins)[..., 0]).ravel()
        mass = None if weights is None else blocks(weights).ravel()
        return np.bincount(cells, mass, minlength=h * w * count).reshape(h, w, count) / patch**2

    colour = blocks(lab).swapaxes(1, 2).reshape(h, w, patch * patch, 3)
    cues = [colour.mean(2), colour.std(2)]
    for sigma in SCALES:
        lower, energy, share = oriented(lab[..., 0], sigma)
        upper = (lower + 1) % ORIENTATIONS
        cues.append(
            histogram(lower, ORIENTATIONS, energy * (1 - share))
            + histogram(upper, ORIENTATIONS, energy * share)
        )
    # The pattern of a pixel on the border is that of the picture continued: scikit-image would see
    # black outside.
    grey = np.pad(np.round(lab[..., 0] * 2.55).astype(np.uint8), 1, mode="edge")
    patterns = local_binary_pattern(grey, PATTERNS - 2, 1, "uniform")[1:-1, 1:-1].astype(np.int64)
    return np.concatenate([*cues, histogram(patterns, PATTERNS)], axis=-1)


def oriented(
    light: Float[np.ndarray, "H W"], sigma: float
) -> tuple[Int[np.ndarray, "H W"], Float[np.ndarray, "H W"], Float[np.ndarray, "H W"]]:
    """Each pixel's gradient at one scale.

    Returns:
        The lower of the two bins of orientation (of 180 degrees) that it lies between, its length,
        and the share of the next bin.
    """
    down, right = np.gradient(gaussian(light, sigma, mode="nearest", preserve_range=True))
    turn = np.arctan2(down, right) * (ORIENTATIONS / np.pi) % ORIENTATIONS
    # the remainder of a tiny negative angle rounds to 6
    lower = np.floor(turn).astype(np.int64) % ORIENTATIONS
    return lower, np.hypot(down, right), turn - np.floor(turn)


def smoothed(
    numbers: Float[np.ndarray, "h w c"], valid: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w c"]:
    """Gaussian mean over neighbours (sigma one patch); padding has no part in it."""
    mass = valid[..., None].astype(np.float64)
    total = gaussian(
        np.concatenate([numbers * mass, mass], axis=-1), 1.0, mode="nearest", channel_axis=-1
    )
    return total[..., :-1] / np.maximum(total[..., -1:], 1e-12)


def noticed(
    numbers: Float[np.ndarray, "*grid 28"], valid: Bool[np.ndarray, "*grid"]
) -> Float[np.ndarray, "*grid"]:
    """How much of a patch can be told from the picture's mean colour.

    It is 0 where the distance is no more than a just noticeable difference, 1 above twice that, and
    a ramp between them. The distance is the root mean square over the patch's PIXELS, so that
    stripes around the mean colour are noticed.
    """
    mean, deviation = numbers[..., :3], numbers[..., 3:6]
    distance = np.sqrt((np.square(mean - mean[valid].mean(0)) + np.square(deviation)).sum(-1))
    return np.clip(distance / NOTICED - 1, 0, 1)


@cache
def _cue_columns() -> tuple[np.ndarray, ...]:
    """CUES as columns, one entry a number."""
    counts = [numbers for numbers, *_ in CUES]
    return tuple(np.repeat(column, counts) for column in zip(*CUES, strict=True))


@cache
def _waves(count: int, numbers: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The directions and phases of random Fourier features."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((numbers, count)) / SIGMA, rng.uniform(0, 2 * np.pi, count)
