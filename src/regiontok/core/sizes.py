"""Sizes in words, for the one line in which an object shows itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


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


def parameters_text(module: nn.Module) -> str:
    """How many parameters a module has, such as "7.1 billion parameters"."""
    count = sum(parameter.numel() for parameter in module.parameters())
    for size, word in ((10**9, "billion"), (10**6, "million")):
        if count >= size:
            return f"{count / size:.1f} {word} parameters"
    return counted(count, "parameter")


class ShownBySizes:
    """A dataclass (with `repr=False`) that shows itself in one line: of tensors their sizes.

    >>> import torch
    >>> from dataclasses import dataclass
    >>> @dataclass(repr=False)
    ... class Rows(ShownBySizes):
    ...     values: torch.Tensor
    ...     mask: torch.Tensor | None = None
    >>> Rows(torch.zeros(2, 3))
    Rows(values=[2 x 3] float32, mask=None)
    """

    def __repr__(self) -> str:
        values = [f"{each.name}={_size_of(getattr(self, each.name))}" for each in fields(self)]  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(values)})"


def _size_of(value: Any) -> str:
    """A value in a few words, whatever its size."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"[{shape_text(value.shape)}] {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, list | tuple | dict):
        kinds = {type(each).__name__ for each in value}
        of = f" of {min(kinds)}" if len(kinds) == 1 else ""
        return f"{type(value).__name__}{of} [{len(value)}]"
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__)
    return repr(value)
