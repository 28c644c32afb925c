"""What every segmenter must do, whatever else it does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from regiontok.core.masks import PixelMasks
from regiontok.methods import Segmenter
from regiontok.testing.assertions import expect, random_state_unchanged, run_checks, seeded
from regiontok.testing.contracts import check_contract
from regiontok.testing.inputs import pictures


def check_segmenter(segmenter: Segmenter) -> None:
    """Check a segmenter, registered or not, on small generated pictures.

    Raises:
        AssertionError: If the segmenter does something that no segmenter may do.
    """
    check_contract("segmenter", segmenter)
    run_checks(SEGMENTER_CHECKS, segmenter, segmenter)


def masks_of_the_size_of_their_picture(segmenter: Segmenter) -> None:
    """Each picture has masks of its own size; there may be none."""
    several = pictures()
    results = segmenter(several)
    expect(len(results) == len(several), f"{len(several)} pictures give {len(results)} results")
    for picture, masks in zip(several, results, strict=True):
        expect(isinstance(masks, PixelMasks), f"it must give PixelMasks, not {type(masks)}")
        expect(masks.size == picture.size, f"masks of {masks.size} for a picture of {picture.size}")


def no_pictures(segmenter: Segmenter) -> None:
    """No pictures have no results."""
    expect(len(segmenter([])) == 0, "no pictures give results")


def a_batch_of_pictures(segmenter: Segmenter) -> None:
    """A picture's masks are those that it has alone."""
    batch = segmenter(pictures())
    for picture, together in zip(pictures(), batch, strict=True):
        (alone,) = segmenter([picture])
        expect(_same(alone, together), "in a batch a picture has other masks than alone")


def a_second_run(segmenter: Segmenter) -> None:
    """The segmenter gives the same again, and leaves pictures and the random state alone."""
    several = pictures()
    copies = [picture.pixels.copy() for picture in several]
    with seeded(0), random_state_unchanged():
        first = segmenter(several)
    with seeded(1):
        second = segmenter(several)
    expect(
        all(_same(*pair) for pair in zip(first, second, strict=True)),
        "a second run gives other masks",
    )
    for picture, copy in zip(several, copies, strict=True):
        expect(np.array_equal(picture.pixels, copy), "it changes the pixels of a picture")


def _same(masks: PixelMasks, other: PixelMasks) -> bool:
    scores, other_scores = masks.scores, other.scores
    if scores is None or other_scores is None:
        same_scores = scores is other_scores
    else:
        same_scores = np.array_equal(scores, other_scores, equal_nan=True)
    return (
        masks.size == other.size
        and masks.counts == other.counts
        and masks.names == other.names
        and same_scores
    )


SEGMENTER_CHECKS: tuple[Callable[[Segmenter], None], ...] = (
    masks_of_the_size_of_their_picture,
    no_pictures,
    a_batch_of_pictures,
    a_second_run,
)
