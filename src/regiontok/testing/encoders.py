"""What every encoder must do, whatever else it does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from regiontok.core.grid import PatchGrid
from regiontok.methods import Encoder
from regiontok.testing.assertions import (
    expect,
    expect_close,
    expect_refusal,
    random_state_unchanged,
    run_checks,
    seeded,
)
from regiontok.testing.contracts import check_contract
from regiontok.testing.inputs import coloured_picture, pictures

# Convolutions and matrix products of other batches may round differently.
BATCH = {"rtol": 1e-3, "atol": 1e-4}


def check_encoder(encoder: Encoder) -> None:
    """Check an encoder, registered or not, on small generated pictures.

    Raises:
        AssertionError: If the encoder does something that no encoder may do.
    """
    check_contract("encoder", encoder)
    run_checks(ENCODER_CHECKS, encoder, encoder)


def grids_that_fit_their_frames(encoder: Encoder) -> None:
    """Each picture has a grid `[h w d]` on its frame, with its key and without gradient."""
    several = pictures()
    grids = encoder.encode(several)
    expect(len(grids) == len(several), f"{len(several)} pictures give {len(grids)} grids")
    for picture, grid in zip(several, grids, strict=True):
        frame = encoder.frame(picture.size)
        expect(grid.frame == frame, f"the grid lies on {grid.frame}, frame() says {frame}")
        expect(
            tuple(grid.features.shape) == (*frame.grid, encoder.width),
            f"features {list(grid.features.shape)} do not fit {frame.grid} patches of width "
            f"{encoder.width}",
        )
        expect(grid.features.is_floating_point(), f"features are {grid.features.dtype}")
        expect(not grid.features.requires_grad, "features of a frozen encoder have no gradient")
        expect(
            grid.key == picture.key,
            "the grid must have the picture's key: PatchGrid(..., key=picture.key), not "
            f"{grid.key!r}",
        )


def no_pictures(encoder: Encoder) -> None:
    """No pictures have no grids."""
    expect(len(encoder.encode([])) == 0, "no pictures give grids")


def a_batch_of_pictures(encoder: Encoder) -> None:
    """A picture's features are those that it has alone, also when it was prepared ahead."""
    batch = encoder.encode(pictures())
    for picture, together in zip(pictures(), batch, strict=True):
        encoder.prepare(picture)
        (alone,) = encoder.encode([picture])
        for name in ("features", "pooled"):
            expect_close(
                getattr(alone, name),
                getattr(together, name),
                f"in a batch a picture has other {name} than alone",
                **BATCH,
            )


def a_second_run(encoder: Encoder) -> None:
    """The encoder gives the same again, and leaves pictures and the random state alone."""
    several = pictures()
    copies = [picture.pixels.copy() for picture in several]
    with seeded(0), random_state_unchanged():
        first = encoder.encode(several)
    with seeded(1):
        second = encoder.encode(several)
    for grid, other in zip(first, second, strict=True):
        expect(torch.equal(grid.features, other.features), "a second run gives other features")
    for picture, copy in zip(several, copies, strict=True):
        expect(np.array_equal(picture.pixels, copy), "it changes the pixels of a picture")


def the_promise_summaries(encoder: Encoder) -> None:
    """As many CLS or summary tokens stand in front of the prefix as `summaries` says."""
    (grid,) = encoder.encode(pictures()[:1])
    expect(
        grid.summaries == encoder.summaries,
        f"summaries is {encoder.summaries}, the grid has {grid.summaries}",
    )
    prefix = 0 if grid.prefix is None else len(grid.prefix)
    expect(prefix >= grid.summaries, f"a prefix of {prefix} has no {grid.summaries} summaries")
    expect(
        encoder.has_cls == (encoder.summaries > 0),
        f"has_cls is {encoder.has_cls}, summaries {encoder.summaries}",
    )


def the_promise_cls_attention(encoder: Encoder) -> None:
    """Grids carry the attention of CLS exactly if `cls_attention` says so."""
    (grid,) = encoder.encode(pictures()[:1])
    expect(
        (grid.cls_attention is not None) == encoder.cls_attention,
        f"cls_attention is {encoder.cls_attention}, and the grid "
        f"{'has none' if grid.cls_attention is None else 'has it'}",
    )


def the_promise_classes(encoder: Encoder) -> None:
    """An encoder with `classes` gives logits `[h w c]`; another refuses to."""
    picture = pictures()[0]
    if not encoder.classes:
        expect_refusal(
            lambda: encoder.logits([picture]), "", "classes is empty, so logits must be refused"
        )
        return
    (logits,) = encoder.logits([picture])
    (grid,) = encoder.encode([picture])
    expect(
        tuple(logits.shape) == (*grid.grid, len(encoder.classes)),
        f"logits {list(logits.shape)} do not fit {grid.grid} patches and "
        f"{len(encoder.classes)} classes",
    )


def the_promise_threshold(encoder: Encoder) -> None:
    """The suggested threshold is a cosine, if there is one."""
    threshold = encoder.threshold
    expect(threshold is None or -1 <= threshold <= 1, f"threshold {threshold} lies outside [-1, 1]")


def the_promise_can_tune(encoder: Encoder) -> None:
    """An encoder that cannot be tuned refuses to give a tower."""
    if not encoder.can_tune:
        message = "can_tune is False, so a tower must be refused with a ValueError"
        expect_refusal(encoder.blank, "", message)
        expect_refusal(encoder.tunable, "", message)


def a_clip(encoder: Encoder) -> None:
    """The frames of a clip become one grid `[t h w d]`."""
    frames = [coloured_picture(48, 64, seed) for seed in (3, 4)]
    grid = encoder.encode_clip(frames)
    expect(isinstance(grid, PatchGrid), f"it must give a PatchGrid, not {type(grid).__name__}")
    expected = (2, *encoder.frame(frames[0].size).grid, encoder.width)
    expect(
        tuple(grid.features.shape) == expected,
        f"two frames give features {list(grid.features.shape)}, expected {list(expected)}",
    )


ENCODER_CHECKS: tuple[Callable[[Encoder], None], ...] = (
    grids_that_fit_their_frames,
    no_pictures,
    a_batch_of_pictures,
    a_second_run,
    the_promise_summaries,
    the_promise_cls_attention,
    the_promise_classes,
    the_promise_threshold,
    the_promise_can_tune,
    a_clip,
)
