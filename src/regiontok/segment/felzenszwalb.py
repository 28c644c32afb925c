"""Graph-based segments of any shape (Felzenszwalb and Huttenlocher), scikit-image's: no weights.

After: Felzenszwalb and Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV 2004.
Differs: a picture longer than `longest` is segmented at that size. `scale` and `min_size` are
scikit-image's, which divides the paper's k by 255; its defaults (scale 1, min_size 20) leave
thousands of crumbs on a photo, so ours are others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from skimage.segmentation import felzenszwalb

from regiontok.segment._label_segmenter import LabelSegmenter

if TYPE_CHECKING:
    from jaxtyping import Int, UInt8


@dataclass(frozen=True)
class Felzenszwalb(LabelSegmenter):
    """Segments that partition the picture.

    The defaults give 40 segments (19 to 75: 10th and 90th percentile) on the 200 BSDS500 training
    photos of 481x321 pixels and 73 (43 to 138) on 197 COCO photos. They were chosen on 10 of each
    and on the covering of 29 of those BSDS500 photos: .543, against .370 at scale 100 (81 segments)
    and .570 at scale 600 (18). A picture of one colour gives one segment; so does any picture of
    fewer than `2 * min_size` pixels. A photo of 640x480 takes 0.4 s on one core.

    Attributes:
        scale: larger gives larger segments.
        sigma: width in pixels of the Gaussian that smooths the picture first.
        min_size: pixels that a segment has at least; smaller ones join a neighbour.
        longest: the longer side of a larger picture while it is segmented; `sigma` and `min_size`
            count pixels of that size.

    Raises:
        ValueError: If a value is out of range.

    >>> from regiontok.core.picture import Picture
    >>> halves = np.zeros((40, 40, 3), np.uint8)
    >>> halves[:, 20:] = 255
    >>> Felzenszwalb(min_size=50)([Picture.of(halves)])[0].areas.tolist()
    [800, 800]
    """

    scale: float = 300.0
    sigma: float = 0.8
    min_size: int = 300
    longest: int = 640
    version: ClassVar[int] = 1
    # boxes of objects of 128 pixels and more are found better than at 320 or 640, and in an eighth
    # of the time: docs/measurements/curate.md
    proposal_size: ClassVar[int] = 256

    def __post_init__(self) -> None:
        if not 0 < self.scale < math.inf:
            raise ValueError(f"scale must be a number above 0, got {self.scale}")
        if not 0 <= self.sigma < math.inf:
            raise ValueError(f"sigma must be 0 pixels or more, got {self.sigma}")
        if self.min_size < 1 or self.longest < 1:
            raise ValueError(
                "min_size and longest must be at least 1 pixel, "
                f"got {self.min_size} and {self.longest}"
            )

    def at_longest(self, size: int) -> Felzenszwalb:
        """See `Segmenter`: `min_size` is scaled with the area.

        >>> Felzenszwalb().at_longest(256)
        Felzenszwalb(scale=300.0, sigma=0.8, min_size=48, longest=256)
        """
        share = (size / self.longest) ** 2
        return self.but(longest=size, min_size=max(1, round(self.min_size * share)))

    def labels(self, pixels: UInt8[np.ndarray, "h w 3"]) -> Int[np.ndarray, "h w"]:
        """See `LabelSegmenter`."""
        return felzenszwalb(
            pixels, scale=self.scale, sigma=self.sigma, min_size=self.min_size, channel_axis=-1
        )
