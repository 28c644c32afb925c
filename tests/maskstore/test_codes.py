"""The check of run-length codes lets all sound codes pass, and names what is wrong with others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regiontok.core.masks import PixelMasks
from regiontok.maskstore.codes import _accepted, check_codes


def accepted(codes: list[bytes], pixels: int) -> int:
    """How many codes the compiled loop lets pass, before it leaves the others to pycocotools."""
    ends = np.cumsum([len(code) for code in codes], dtype=np.int64)
    return int(_accepted(np.frombuffer(b"".join(codes), np.uint8), ends, pixels))


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 40), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_codes_of_random_masks_pass(seed, height, width, share):
    dense = np.random.default_rng(seed).random((3, height, width)) < share
    codes = PixelMasks.from_dense(dense).counts
    assert accepted(list(codes), height * width) == 3
    check_codes(codes, (height, width))


def test_no_codes_and_large_images_pass():
    check_codes((), (3, 4))
    size = (30_000, 30_000)
    runs = [10, 100, 20_000, 3_000_000, 400_000_000, 1]
    runs.append(size[0] * size[1] - sum(runs))
    codes = PixelMasks.from_coco([{"size": list(size), "counts": runs}], size).counts
    assert accepted(list(codes), size[0] * size[1]) == 1


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (b"", "describes 0 pixels, the image has 12"),
        (b";", "describes 11 pixels, the image has 12"),
        (b"=", "describes 13 pixels, the image has 12"),
        (b"d", "breaks off in the middle"),
        (b"/", "holds the byte 47, which no such code has"),
        (b"ooooooo0", "holds a run longer than any image"),
        (b"O=", "holds a negative run"),
    ],
)
def test_what_is_wrong_is_said(code, message):
    sound = PixelMasks.from_dense(np.eye(3, 4, dtype=bool)[None]).counts
    assert accepted([*sound, code, *sound], 12) == 1
    with pytest.raises(ValueError, match=message):
        check_codes((*sound, code, *sound), (3, 4))


@given(st.binary(max_size=12), st.integers(0, 30))
@settings(max_examples=300, deadline=None)
def test_the_loop_accepts_nothing_that_the_strict_reading_refuses(code, pixels):
    try:
        PixelMasks.from_coco([{"counts": code}], (1, pixels))
    except ValueError:
        assert accepted([code], pixels) == 0
    else:
        assert accepted([code], pixels) == 1
