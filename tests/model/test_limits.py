"""Visual tokens of an image are cut at its limit, and no other's."""

from __future__ import annotations

import pytest
import torch

from regiontok.core.tokens import Tokens
from regiontok.model.limits import limit_tokens


def tokens_of(counts: list[int]) -> Tokens:
    """Tokens of images with these counts, each of its own value."""
    image = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    zeros = torch.zeros_like(image)
    values = torch.arange(float(len(image)))[:, None]
    return Tokens(values, image, zeros, zeros, zeros, zeros, images=len(counts))


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        ([None, None, None], [0, 1, 2, 3, 4]),
        ([2, 0, 1], [0, 1, 3]),
        ([9, 9, 9], [0, 1, 2, 3, 4]),
        ([None, 5, 0], [0, 1, 2]),
    ],
)
def test_the_first_tokens_of_each_image_are_left(limits, left):
    limited = limit_tokens(tokens_of([3, 0, 2]), limits)
    assert limited.values.flatten().tolist() == left
    assert limited.images == 3


def test_there_is_a_limit_for_each_image():
    with pytest.raises(ValueError, match="limits for each of 3 images, got 2"):
        limit_tokens(tokens_of([3, 0, 2]), [1, None])
