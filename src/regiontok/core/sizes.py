"""Sizes in words, for the one line in which an object shows itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def counted(count: int, noun: str) -> str:
    """A number and its noun.

    >>> counted(1, "image"), counted(0, "image")
    ('1 image', '0 images')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def shape_text(lengths: Iterable[int]) -> str:
    """Side lengths as a product.

    >>> shape_text((24, 32))
    '24 x 32'
    """
    return " x ".join(map(str, lengths))


def storage_text(tensor: Tensor) -> str:
    """The type of a tensor's values and where it lies, such as "float32, cuda:0"."""
    return f"{str(tensor.dtype).removeprefix('torch.')}, {tensor.device}"
