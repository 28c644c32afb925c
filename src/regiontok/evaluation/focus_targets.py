"""Which visual tokens of a picture lie on an annotated mask.

After: diagnostic study, section 4 (row D16): a regular visual token whose patch or region is
covered by the annotation by more than a threshold is a target token.
Differs: overlap is exact area overlap (see `Frame.to_grid`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regiontok.conversation import PictureTokens
from regiontok.core.frame import Frame
from regiontok.core.masks import PixelMasks
from regiontok.core.regions import Regions
from regiontok.core.sizes import ShownBySizes
from regiontok.core.tokens import REGION
from regiontok.evaluation.focus_options import Support
from regiontok.system.errors import RegiontokError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class NoPlaces(RegiontokError, ValueError):
    """The visual tokens of a picture lie on no grid, so that none can be held to a mask."""


@dataclass(frozen=True, eq=False, repr=False)
class TokenOverlaps(ShownBySizes):
    """How much of each visual token's support an annotation covers.

    Attributes:
        share: `[t]` float64 in [0, 1]; 0 for tokens that are not regular.
        regular: `[t]`, True for tokens of patches and regions; False for G, CLS, delimiters and
            newlines.
        rest: `[t]`, True for regular tokens of regions that come from no mask, where others of the
            picture come from one.
    """

    share: Float[Tensor, "t"]
    regular: Bool[Tensor, "t"]
    rest: Bool[Tensor, "t"]


def token_overlaps(
    picture: PictureTokens, annotation: Bool[Tensor, "H W"], support: Support = "patch"
) -> TokenOverlaps:
    """How much of the support of each token of a picture an annotation covers.

    Args:
        picture: the picture, its tokens and what they stand for.
        annotation: True inside, in pixels of the decoded picture.
        support: what the share is of; see `FocusOptions`.

    Raises:
        NoPlaces: If the tokens are of no region, or those of a clip.
        ValueError: If the annotation is of another size than the picture.

    >>> import numpy as np
    >>> from regiontok.core.picture import Picture
    >>> from regiontok.core.tokens import Tokens
    >>> photo = Picture.of(np.zeros((4, 8, 3), np.uint8))
    >>> frame, regions = Frame.stretch((4, 8), (2, 4), (2, 2)), Regions.singletons((1, 2))
    >>> ids = {name: torch.zeros(2, dtype=torch.int64) for name in ("image", "view", "kind")}
    >>> place = {"region": torch.arange(2), "patch": torch.full((2,), -1)}
    >>> tokens = Tokens(torch.zeros(2, 3), **ids, **place, images=1)
    >>> half = torch.zeros(4, 8, dtype=torch.bool)
    >>> half[:2, 4:] = True
    >>> token_overlaps(PictureTokens(photo, tokens, (frame,), (regions,)), half).share.tolist()
    [0.0, 0.5]
    """
    tokens = picture.tokens.to("cpu")
    if not picture.regions:
        raise NoPlaces(
            "the model's own visual tokens lie on no grid that could be held to a mask: give it "
            "regions (such as windows(144))"
        )
    if any(len(regions.grid) != 2 for regions in picture.regions):
        raise NoPlaces("focus is of pictures; these visual tokens are those of a clip")
    regular = (tokens.kind == REGION) & (tokens.region >= 0) & (tokens.view >= 0)
    share = torch.zeros(len(tokens), dtype=torch.float64)
    source = torch.full((len(tokens),), -1)
    for view, (frame, regions) in enumerate(zip(picture.frames, picture.regions, strict=True)):
        index = (regular & (tokens.view == view)).nonzero()[:, 0]
        region, patch = tokens.region[index], tokens.patch[index]
        source[index] = regions.source[region]
        covered, whole = _areas(frame, annotation, support)
        share[index] = torch.where(
            patch >= 0,
            _ratio(covered[patch.clamp(min=0)], whole[patch.clamp(min=0)]),
            _region_shares(regions, covered, whole)[region],
        )
        if support == "pixels" and picture.masks is not None:
            index = index[(patch < 0) & (source[index] >= 0)]
            share[index] = _mask_shares(picture.masks, annotation)[source[index]]
    rest = regular & (source < 0) & bool((source >= 0).any())
    # areas come as float32: what covers exactly the threshold must not be more than it
    return TokenOverlaps(share.round(decimals=6), regular, rest)


def _areas(
    frame: Frame, annotation: Bool[Tensor, "H W"], support: Support
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
    """Of each patch the area that the annotation covers, and its support's, in areas of a patch."""
    covered = frame.to_grid(annotation[None])[0].double().flatten()
    whole = torch.ones_like(covered)
    return covered, whole if support == "patch" else frame.content.double().flatten()


def _region_shares(
    regions: Regions, covered: Float[Tensor, "n"], whole: Float[Tensor, "n"]
) -> Float[Tensor, "k"]:
    sums = torch.zeros(2, len(regions), dtype=torch.float64)
    patches = torch.stack([covered, whole])[:, regions.patch]
    sums.index_add_(1, regions.region, patches)
    return _ratio(*sums)


def _mask_shares(masks: PixelMasks, annotation: Bool[Tensor, "H W"]) -> Float[Tensor, "k"]:
    """The share of each mask's own pixels that the annotation covers; 0 for an empty mask."""
    covered = [int((masks.dense([index])[0] & annotation).sum()) for index in range(len(masks))]
    areas = torch.from_numpy(masks.areas).double()
    return _ratio(torch.tensor(covered, dtype=torch.float64), areas)


def _ratio(covered: Tensor, whole: Tensor) -> Tensor:
    """Covered over whole areas; 0 where there is nothing to cover."""
    return torch.where(whole > 0, covered / whole.clamp(min=1e-12), 0.0)
