"""The nearest centres of rows, by Euclidean distance: exact, from fast and rounded products.

After: RICE, equation 1 (row R1): the label of a region is the centre at the least distance.
Differs: nothing known. How far rounded products may be off is bounded for each row
(Cauchy-Schwarz, over what rounding took off); every centre within the bound of the best is compared
in float64. A tie there goes to the lower number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from regiontok.kmeans import _survivors
from regiontok.kmeans._on_device import ApproximateScores, nearest_on_device
from regiontok.kmeans.products import AROUND, PRODUCTS, Kind, Rounded, fastest_kind
from regiontok.system.errors import RegiontokError

if TYPE_CHECKING:
    from jaxtyping import Float, Int

ROWS = (
    512  # rows and centres of a tile: centres are packed anew for each, and 256 x 1,024 was slower
)
CENTRES = 2048
ROWS_ON_DEVICE = 4096
LARGEST = 1e15  # squares of such values are far from the largest float32


class NotFinite(RegiontokError, ValueError):
    """A row or a centre that has no distance: it holds NaN or infinity."""


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest centres of rows.

    Attributes:
        ids: `[n top]` int64 numbers of the centres, the nearest first.
        products: `[n top]` float64 inner products of row and centre.
        squares: `[n top]` float64 squared distances.
        cosines: `[n top]` float64 cosines; 0 where row or centre is 0.
    """

    ids: Int[np.ndarray, "n top"]
    products: Float[np.ndarray, "n top"]
    squares: Float[np.ndarray, "n top"]
    cosines: Float[np.ndarray, "n top"]


class NearestCentres:
    """Finds the nearest centres of rows.

    Args:
        centres: `[K d]` float32.
        kind: how products are rounded; None takes the fastest here, for `top`. The result does not
            depend on it.
        top: how many nearest centres will be sought, as a rule.
        device: where products are computed.
        in_torch: True takes the way of a GPU on a CPU, too: torch alone, which tests can run.

    Raises:
        ValueError: If there is no centre.
        NotFinite: If a centre is not finite.

    >>> centres = torch.tensor([[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]])
    >>> nearest = NearestCentres(centres)(torch.tensor([[0.8, 0.6]]), top=2)
    >>> nearest.ids.tolist(), nearest.cosines.round(6).tolist()
    ([[1, 0]], [[0.8, 0.6]])
    """

    def __init__(
        self,
        centres: Float[Tensor, "K d"],
        *,
        kind: Kind | None = None,
        top: int = 1,
        device: torch.device | str = "cpu",
        in_torch: bool = False,
    ) -> None:
        self.device = torch.device(device)
        self._on_cpu = self.device.type == "cpu" and not in_torch
        self.product = PRODUCTS[kind or (fastest_kind(top) if self._on_cpu else "bfloat16")]
        self._centres = np.ascontiguousarray(centres.cpu().float().numpy())
        if not len(self._centres):
            raise ValueError("expected at least one centre, got none")
        _check_finite(self._centres, "centre")
        self._halves = _survivors.half_squares(self._centres)
        mean = self._centres.mean(0, dtype=np.float64).astype(np.float32)
        moved = self._centres - mean  # distances stay, lengths shrink
        self._mean = torch.from_numpy(mean).to(self.device)
        self._rounded = self.product.rounded(
            torch.from_numpy(moved).to(self.device), one_scale=True
        )
        moved_halves = _survivors.half_squares(moved).astype(np.float32)
        self._moved_halves = torch.from_numpy(moved_halves).to(self.device)
        if not self._on_cpu:
            self._centres_there = torch.from_numpy(self._centres).to(self.device)
            self._halves_there = torch.from_numpy(self._halves).to(self.device)

    def __len__(self) -> int:
        return len(self._centres)

    def __call__(self, rows: Float[Tensor, "n d"], top: int = 1) -> Nearest:
        """The `top` nearest centres of each row.

        Raises:
            ValueError: If there are fewer centres than `top`, or rows have another width.
            NotFinite: If a row is not finite.
        """
        if rows.shape[1] != self._centres.shape[1]:
            raise ValueError(
                f"expected rows of {self._centres.shape[1]} values, got {rows.shape[1]}"
            )
        if not 1 <= top <= len(self):
            raise ValueError(f"expected a top from 1 to {len(self)} centres, got {top}")
        table = np.ascontiguousarray(rows.cpu().float().numpy())
        _check_finite(table, "row")
        ids = np.zeros((len(table), top), np.int64)
        products = np.zeros((len(table), top))
        room = _Room(top, self.product.result) if self._on_cpu else None
        step = ROWS if room else ROWS_ON_DEVICE
        for tile in (slice(start, start + step) for start in range(0, len(table), step)):
            if room:
                self._fill(table[tile], ids[tile], products[tile], room)
            else:
                ids[tile], products[tile] = self._on_device(table[tile], top)
        return _measured(table, self._centres, self._halves, ids, products)

    def _on_device(self, rows: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """The nearest centres of some rows, found on the device."""
        on_device = torch.from_numpy(rows).to(self.device)
        rounded = self.product.rounded(on_device - self._mean)
        approximate = ApproximateScores(
            self.product, rounded, self._rounded, self._moved_halves, self._off(rounded)
        )
        ids, products = nearest_on_device(
            on_device, self._centres_there, self._halves_there, approximate, top
        )
        return ids.cpu().numpy(), products.cpu().numpy()

    def _fill(self, rows: np.ndarray, ids: np.ndarray, products: np.ndarray, room: _Room) -> None:
        """Fill in the nearest centres of a tile's rows."""
        rounded = self.product.rounded(torch.from_numpy(rows) - self._mean)
        off = self._off(rounded).numpy()
        self._survivors(rounded, off, room)
        n = len(rows)
        limits = room.best[:n, -1] - 2 * off
        _survivors.decide(
            rows,
            self._centres,
            self._halves,
            room.count[:n],
            room.places,
            room.values,
            limits,
            ids,
            products,
        )
        if (crowded := np.flatnonzero(room.count[:n] > room.places.shape[1])).size:
            ids[crowded], products[crowded] = self._crowded(rows[crowded], ids.shape[1])

    def _off(self, rows: Rounded) -> Tensor:
        """How far the score of each row may be off: its product, and half of a centre's square."""
        return self.product.off(rows, self._rounded) + AROUND * self._moved_halves.max().item()

    def _survivors(self, rows: Rounded, off: np.ndarray, room: _Room) -> None:
        """Fill `room` with the centres that are possible."""
        room.begin()
        n = len(rows.values)
        scale = (rows.scale * self._rounded.scale).expand(n).contiguous().numpy()
        halves = self._moved_halves.numpy()
        for first in range(0, len(self), CENTRES):
            of_tile = self._rounded.values[first : first + CENTRES]
            products = room.products[: n * len(of_tile)].view(n, len(of_tile))
            self.product.multiply(rows.values, of_tile, products)
            is_bits = products.dtype == torch.bfloat16
            collect = _survivors.collect_bits if is_bits else _survivors.collect_numbers
            collect(
                (products.view(torch.uint16) if is_bits else products).numpy(),
                halves[first : first + CENTRES],
                first,
                scale,
                off,
                room.best,
                room.maxima,
                room.count,
                room.places,
                room.values,
            )

    def _crowded(self, rows: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """The nearest of rows with too many possible centres, which may be equal to each other."""
        if self.product.kind != "float32":
            nearest = NearestCentres(torch.from_numpy(self._centres), kind="float32")
            answer = nearest(torch.from_numpy(rows), top)
            return answer.ids, answer.products
        ids, products = np.zeros((len(rows), top), np.int64), np.zeros((len(rows), top))
        count, zero = np.array([len(self)]), np.zeros((1, len(self)), np.float32)
        everything = np.arange(len(self), dtype=np.int32)[None]
        for row in range(len(rows)):
            one = slice(row, row + 1)
            _survivors.decide(
                rows[one],
                self._centres,
                self._halves,
                count,
                everything,
                zero,
                zero[0, :1],
                ids[one],
                products[one],
            )
        return ids, products


class _Room:
    """What a tile's products and survivors are written into: one after the other, in one place.

    Memory that is asked for anew for each tile took a third of the time.
    """

    def __init__(self, top: int, result: torch.dtype) -> None:
        room = max(_survivors.ROOM, 8 * top)
        self.products = torch.empty(ROWS * CENTRES, dtype=result)
        self.best = np.empty((ROWS, top), np.float32)
        self.maxima = np.empty(min(CENTRES, max(64, 4 * top)), np.float32)
        self.count = np.empty(ROWS, np.int64)
        self.places = np.empty((ROWS, room), np.int32)
        self.values = np.empty((ROWS, room), np.float32)

    def begin(self) -> None:
        """Forget what is there."""
        self.best.fill(-np.finfo(np.float32).max)
        self.count.fill(0)


def _measured(
    rows: np.ndarray, centres: np.ndarray, halves: np.ndarray, ids: np.ndarray, products: np.ndarray
) -> Nearest:
    """Distances and cosines from inner products."""
    row_squares = 2 * _survivors.half_squares(rows)[:, None]
    squares = 2 * halves[ids]
    lengths = np.sqrt(row_squares * squares)
    return Nearest(
        ids,
        products,
        np.maximum(row_squares + squares - 2 * products, 0),
        np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0),
    )


def _check_finite(table: np.ndarray, noun: str) -> None:
    """Refuse rows that have no distance in float32."""
    bad = ~(np.abs(table).max(1, initial=0) < LARGEST)  # NaN is not below it
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise NotFinite(
            f"{noun} {first} of {len(table)} is not finite, or above {LARGEST:.0e}: leave it out"
        )
