"""Inner products of rows and centres, fast and rounded, with a bound on how far off they are.

A product is not trusted beyond its bound: `nearest` decides in float64 among all centres that it
leaves possible, so that every kind of product gives the same result.

On one core with AVX-512 VNNI (no bfloat16 instructions), 192 wide: 145 GFLOP/s in float32, 30 in
bfloat16, 400 to 600 in int8.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

Kind: TypeAlias = Literal["int8", "bfloat16", "float32"]
# Of |row| |centre|, what float32 may lose around the products themselves: centring (2 roundings),
# scaling and subtracting half of the centre's square (4), with room for as much again.
AROUND = 2.0**-20


@dataclass(frozen=True, eq=False)
class Rounded:
    """Rows as a product reads them: a row is about `scale` times its values.

    Attributes:
        values: `[n d]` rounded values.
        scale: `[n]` float32, or `[1]` for all rows.
        lost: `[n]` float32 length of what rounding has taken off each row.
        length: `[n]` float32 length of each row.
    """

    values: Tensor
    scale: Float[Tensor, "n"]
    lost: Float[Tensor, "n"]
    length: Float[Tensor, "n"]


class Product(ABC):
    """How rows are rounded and multiplied."""

    kind: ClassVar[Kind]
    result: ClassVar[torch.dtype]

    @abstractmethod
    def rounded(self, rows: Float[Tensor, "n d"], *, one_scale: bool = False) -> Rounded:
        """Round rows of float32; with `one_scale` all share it, so that products compare."""

    @abstractmethod
    def multiply(self, rows: Tensor, centres: Tensor, out: Tensor | None = None) -> Tensor:
        """`[n k]` products of rounded values, of `result`."""

    @abstractmethod
    def share_lost(self, width: int) -> float:
        """What a product of rounded rows may be off, as a share of their lengths' product."""

    def off(self, rows: Rounded, centres: Rounded) -> Float[Tensor, "n"]:
        """By how much the products of each row may be off, at most, over all centres."""
        length, lost = centres.length.max(), centres.lost.max()
        widest = length + lost
        exact = self.share_lost(rows.values.shape[1]) + AROUND
        return (rows.lost * widest + rows.length * lost) + exact * (
            rows.length + rows.lost
        ) * widest


class Int8Product(Product):
    """Whole numbers from -127 to 127, summed exactly; a scale for each row, one for all centres."""

    kind: ClassVar[Kind] = "int8"
    result: ClassVar[torch.dtype] = torch.int32

    def rounded(self, rows: Float[Tensor, "n d"], *, one_scale: bool = False) -> Rounded:
        """Round to multiples of a 127th of the largest value."""
        largest = rows.abs().amax().view(1) if one_scale else rows.abs().amax(1)
        scale = (largest / 127).clamp(min=torch.finfo(torch.float32).tiny)
        values = (rows / scale.view(-1, 1)).round_().clamp_(-127, 127)
        lost = _lengths(rows - values * scale.view(-1, 1))
        return Rounded(values.to(torch.int8), scale, lost, _lengths(rows))

    def multiply(self, rows: Tensor, centres: Tensor, out: Tensor | None = None) -> Tensor:
        """Sums of products as int32."""
        return torch._int_mm(rows, centres.T, out=out)

    def share_lost(self, width: int) -> float:
        """Nothing: 127 x 127 x 133,000 values are below 2^31."""
        return 0.0


class BFloat16Product(Product):
    """Rows in bfloat16; the product is rounded to it as well."""

    kind: ClassVar[Kind] = "bfloat16"
    result: ClassVar[torch.dtype] = torch.bfloat16

    def rounded(self, rows: Float[Tensor, "n d"], *, one_scale: bool = False) -> Rounded:
        """Round to 8 bits of mantissa."""
        values = rows.to(torch.bfloat16)
        return Rounded(values, rows.new_ones(1), _lengths(rows - values.float()), _lengths(rows))

    def multiply(self, rows: Tensor, centres: Tensor, out: Tensor | None = None) -> Tensor:
        """Products in bfloat16, summed in float32."""
        return torch.mm(rows, centres.T, out=out)

    def share_lost(self, width: int) -> float:
        """The rounding of the product, and of its sums."""
        return 2.0**-8 + width * 2.0**-23


class Float32Product(Product):
    """Rows as they are."""

    kind: ClassVar[Kind] = "float32"
    result: ClassVar[torch.dtype] = torch.float32

    def rounded(self, rows: Float[Tensor, "n d"], *, one_scale: bool = False) -> Rounded:
        """The rows themselves."""
        return Rounded(rows, rows.new_ones(1), rows.new_zeros(len(rows)), _lengths(rows))

    def multiply(self, rows: Tensor, centres: Tensor, out: Tensor | None = None) -> Tensor:
        """Products in float32; a process that allows TF32 would lose more than the bound says."""
        return torch.mm(rows, centres.T, out=out)

    def share_lost(self, width: int) -> float:
        """The rounding of the sums."""
        return width * 2.0**-23


PRODUCTS: dict[Kind, Product] = {
    product.kind: product for product in (Int8Product(), BFloat16Product(), Float32Product())
}


def fastest_kind(top: int = 1) -> Kind:
    """The product that is fastest on this processor.

    Without VNNI int8 is not only slow: its sums of pairs may saturate there. Its bound is wide:
    among 10,000 centres it leaves 5 for the nearest, but so many for the nearest ten that float32
    is faster (15,400 rows a second against 11,400).
    """
    if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
        return "bfloat16"
    return "int8" if top == 1 and torch.cpu._is_vnni_supported() else "float32"


def _lengths(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
    """Lengths of rows, rounded up."""
    return rows.norm(dim=1) * (1 + 2.0**-16)
