"""What one rank adds to the loss of one head: its classes, forward and backward, chunk by chunk.

After: RICE, section 3.3 (rows R5, R6), for what is summed; the filter of near negatives is that of
the authors' code (OneVision-Encoder, `training/fused_partial_fc_v2.py`).
Differs: the passes go over the classes in chunks, and logits beyond a fixed number are made again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from regiontok.rice.negatives import Negatives

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# Logits of a chunk: 4 MB in float32 stay in a processor's cache; a GPU wants large products.
_CHUNK_LOGITS = {"cpu": 1 << 20}
_CHUNK_LOGITS_ELSEWHERE = 1 << 26
# Logits that a head keeps for the backward pass, whatever K is: 134 MB in float32, 1 GB on a GPU;
# all others are made again.
_KEPT_LOGITS = {"cpu": 32 << 20}
_KEPT_LOGITS_ELSEWHERE = 1 << 28
# They lie in blocks that the C library gives back to the system at once (over 32 MB): as the
# gradients of rows fill, logits leave.
_BLOCK_LOGITS = 9 << 20
_SMALLEST_CHUNK = 256  # classes of a chunk, however many regions there are
# e^64 times a billion classes fits into float32; e^-64 does too, so that no term is lost below it.
_EXP_SAFE = 64.0


class Chunk(NamedTuple):
    """Some of the negatives of a share.

    Attributes:
        place: their place in `RankShare.rows`.
        centres: their centres.
        inverse: one over their lengths.
        terms: exp(scale cos - shift); 0 for the classes that a region leaves out, and for those
            that are filtered, which have no gradient.
        filtered: how many terms of each region are filtered: negatives so near that they are taken
            for the same class, which count as if their cosine were 0. None if none are, and where
            terms were kept.
    """

    place: slice
    centres: Float[Tensor, "c d"]
    inverse: Float[Tensor, "c"]
    terms: Float[Tensor, "n c"]
    filtered: Int[Tensor, "n"] | None


@dataclass(frozen=True, eq=False)
class RankShare:
    """What one rank does for one head in one step; classes are counted from the rank's first.

    Attributes:
        centres: the rank's rows.
        scale: factor of the cosines.
        filter: cosine above which a negative counts as one of cosine 0; 0 filters none.
        products: type of the large matrix products; None takes that of the centres.
        regions: indices of the gathered regions that have a label of this head.
        slots: largest number of labels of a region.
        rows: the classes touched: first the negatives, ascending, then the positives that are none.
        negatives: number of negatives among `rows`.
        region, slot, spot: of every positive on this rank its index in `regions`, its index among
            the labels of that region, and its index in `rows`; they are sorted by `spot`.
        left_out_region, left_out_spot: of every class on this rank that is no negative of a region
            the region's index in `regions` and the class's in `rows`, sorted by the latter.
    """

    centres: Float[Tensor, "k d"]
    scale: float
    filter: float
    products: torch.dtype | None
    regions: Int[Tensor, "n"]
    slots: int
    rows: Int[Tensor, "r"]
    negatives: int
    region: Int[Tensor, "p"]
    slot: Int[Tensor, "p"]
    spot: Int[Tensor, "p"]
    left_out_region: Int[Tensor, "q"]
    left_out_spot: Int[Tensor, "q"]

    @classmethod
    def of(
        cls,
        *,
        centres: Float[Tensor, "k d"],
        start: int,
        labels: Int[Tensor, "n m"],
        excluded: Int[Tensor, "n e"],
        negatives: Negatives,
        step: int,
        name: str,
        scale: float,
        filter: float,
        products: torch.dtype | None,
    ) -> RankShare:
        """From the gathered labels, -1 for none and none twice in a region.

        `start` is the rank's first class, `name` that of the head; `excluded` are classes that are
        no negatives of a region beside its labels.
        """
        stop = start + len(centres)
        regions = (labels >= 0).any(1).nonzero().flatten()
        labels, excluded = labels[regions], excluded[regions]
        region, slot = ((labels >= start) & (labels < stop)).nonzero(as_tuple=True)
        positives = labels[region, slot]
        is_negative = negatives.chosen(step, start, stop, positives, name)
        chosen, positive_rows = is_negative.nonzero().flatten(), (positives - start).unique()
        rows = torch.cat([chosen, positive_rows[~is_negative[positive_rows]]])
        place = torch.full((len(centres),), -1, device=labels.device)
        place[rows] = torch.arange(len(rows), device=labels.device)
        spot, order = place[positives - start].sort(stable=True)
        more_region, more_slot = ((excluded >= start) & (excluded < stop)).nonzero(as_tuple=True)
        classes = torch.cat([positives, excluded[more_region, more_slot]])
        left_out_region, left_out_spot = torch.cat([region, more_region]), place[classes - start]
        is_term = (left_out_spot >= 0) & (left_out_spot < len(chosen))
        left_out_spot, by_spot = left_out_spot[is_term].sort(stable=True)
        return cls(
            centres=centres,
            scale=scale,
            filter=filter,
            products=products,
            regions=regions,
            slots=labels.shape[1],
            rows=rows,
            negatives=len(chosen),
            region=region[order],
            slot=slot[order],
            spot=spot,
            left_out_region=left_out_region[is_term][by_spot],
            left_out_spot=left_out_spot,
        )

    @property
    def shift(self) -> float:
        """What scaled cosines are lowered by before exp."""
        return max(0.0, self.scale - _EXP_SAFE)

    def positive_centres(self) -> tuple[Float[Tensor, "p d"], Float[Tensor, "p 1"]]:
        """The centre of every positive, and one over its length."""
        rows = self.centres[self.rows[self.spot]]
        return rows, 1 / rows.norm(dim=1, keepdim=True)

    def chunks(self, cast: Float[Tensor, "n d"], kept_terms: list[Tensor]) -> Iterator[Chunk]:
        """The negatives in chunks, whose tensors are overwritten by the next chunk.

        Args:
            cast: unit features of the regions, in the type of the products.
            kept_terms: the terms of the first chunks, if they were made before; they are taken out.
        """
        size = chunk_classes(len(cast), self.negatives, cast.device.type)
        logits: Tensor | None = None  # none while terms are kept
        space: Tensor | None = None  # for centres that have to be gathered
        takes_all = self.negatives == len(self.centres)
        for begin in range(0, self.negatives, size):
            end = min(begin + size, self.negatives)
            if takes_all:
                centres = self.centres[begin:end]
            else:
                if space is None:
                    space = self.centres.new_empty(size, self.centres.shape[1])
                centres = torch.index_select(
                    self.centres, 0, self.rows[begin:end], out=space[: end - begin]
                )
            inverse = 1 / torch.linalg.vector_norm(centres, dim=1)
            if kept_terms:
                terms, filtered = kept_terms.pop(0), None
            else:
                logits = self.centres.new_empty(len(cast) * size) if logits is None else logits
                terms, filtered = self.terms(cast, centres, inverse, begin, logits)
            yield Chunk(slice(begin, end), centres, inverse, terms, filtered)

    def terms(
        self,
        x: Float[Tensor, "n d"],
        centres: Float[Tensor, "c d"],
        inverse: Float[Tensor, "c"],
        begin: int,
        space: Float[Tensor, "..."],
    ) -> tuple[Float[Tensor, "n c"], Int[Tensor, "n"] | None]:
        """The terms of the chunk of negatives that begins at `begin`, and how many are filtered.

        See `Chunk`; the terms lie in `space`.
        """
        terms = space[: len(x) * len(centres)].view(len(x), len(centres))
        multiply(x, centres.to(x.dtype).T, out=terms)
        terms.mul_(inverse * self.scale)
        ends = torch.tensor([begin, begin + len(centres)], device=x.device)
        first, last = torch.searchsorted(self.left_out_spot, ends).tolist()
        left_out = self.left_out_region[first:last], self.left_out_spot[first:last] - begin
        terms[left_out] = -torch.inf
        filtered = None
        if self.filter:
            above = terms > self.filter * self.scale
            terms.masked_fill_(above, -torch.inf)
            filtered = above.sum(1)
        if self.shift:
            terms.sub_(self.shift)
        return terms.exp_(), filtered

    def forward(
        self, x: Float[Tensor, "n d"], exact: Float[Tensor, "p d"]
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n m"], list[Tensor]]:
        """This rank's part of the sums of exponentials and of the positive cosines.

        Both are in float64, and of ranks they only have to be added. The last result are the terms
        that are kept for `backward`.

        Args:
            x: unit features of the regions.
            exact: those of the region of every positive, in full precision.
        """
        total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        kept_terms: list[Tensor] = []
        room, block = _KEPT_LOGITS.get(x.device.type, _KEPT_LOGITS_ELSEWHERE), x.new_empty(0)
        for chunk in self.chunks(x.to(self.products or x.dtype), []):
            terms = chunk.terms
            total += terms.sum(1)
            if chunk.filtered is not None:  # each of them is exp(0 - shift)
                total += chunk.filtered * math.exp(-self.shift)
            room -= terms.numel()
            if room >= 0:
                if len(block) < terms.numel():
                    block = x.new_empty(max(_BLOCK_LOGITS, terms.numel()))
                kept_terms.append(block[: terms.numel()].view_as(terms).copy_(terms))
                block = block[terms.numel() :]
        cosines = torch.zeros(len(x), self.slots, dtype=torch.float64, device=x.device)
        rows, inverse = self.positive_centres()
        cosines[self.region, self.slot] = ((exact * rows).sum(1) * inverse[:, 0]).double()
        return total, cosines, kept_terms

    def backward(
        self,
        x: Float[Tensor, "n d"],
        exact: Float[Tensor, "p d"],
        per_term: Float[Tensor, "n"],
        per_cosine: Float[Tensor, "n m"],
        kept_terms: list[Tensor],
        dx: Float[Tensor, "n d"],
    ) -> Float[Tensor, "r d"]:
        """The gradients of the touched rows; those of the regions are added to `dx`.

        Args:
            x: unit features of the regions.
            exact: as for `forward`.
            per_term: gradient of each region's sum of exponentials.
            per_cosine: gradient of the positive cosines.
            kept_terms: what `forward` kept; it is used up.
            dx: the gradient of the regions so far.
        """
        values = x.new_empty(len(self.rows), x.shape[1])
        values[self.negatives :] = 0
        cast = x.to(self.products or x.dtype)
        for chunk in self.chunks(cast, kept_terms):
            terms, centres, inverse = chunk.terms, chunk.centres, chunk.inverse
            terms.mul_((per_term * self.scale)[:, None])
            gradient = values[chunk.place]
            multiply(terms.to(cast.dtype).T, cast, out=gradient)
            along = torch.linalg.vecdot(gradient, centres) * inverse.pow(3)
            gradient.mul_(inverse[:, None]).addcmul_(centres, along[:, None], value=-1)
            terms.mul_(inverse)
            if cast.dtype == dx.dtype:
                dx.addmm_(terms, centres)
            else:
                dx.add_(terms.to(cast.dtype) @ centres.to(cast.dtype))
        rows, inverse = self.positive_centres()
        unit = rows * inverse
        slope = per_cosine[self.region, self.slot][:, None]
        dx.index_add_(0, self.region, slope * unit)
        cosine = (exact * unit).sum(1, keepdim=True)
        values.index_add_(0, self.spot, slope * inverse * (exact - cosine * unit))
        return values


def multiply(a: Tensor, b: Tensor, *, out: Tensor) -> Tensor:
    """`a @ b` into `out`, whose type may be wider."""
    return torch.mm(a, b, out=out) if a.dtype == out.dtype else out.copy_(a @ b)


def chunk_classes(regions: int, negatives: int, device: str) -> int:
    """How many negatives a chunk has on a kind of device."""
    chunk_logits = _CHUNK_LOGITS.get(device, _CHUNK_LOGITS_ELSEWHERE)
    size = max(_SMALLEST_CHUNK, chunk_logits // max(regions, 1))
    return min(size, max(negatives, 1))


def kept_chunks(regions: int, chunk: int, negatives: int, device: str) -> int:
    """How many chunks of so many classes a head keeps for the backward pass, the last one too."""
    room = _KEPT_LOGITS.get(device, _KEPT_LOGITS_ELSEWHERE)
    return -(-negatives // chunk) if regions * negatives <= room else room // (regions * chunk)
