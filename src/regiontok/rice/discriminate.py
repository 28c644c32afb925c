"""Cosines with positives and log-sum-exp over negatives, forward and backward, over all ranks.

Both passes go over the classes chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from regiontok.rice.negatives import Negatives
from regiontok.rice.ranks import gathered, scattered, summed

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


@dataclass(frozen=True, eq=False)
class RankShare:
    """What one rank does for one head in one step; classes are counted from the rank's first.

    Attributes:
        centres: the rank's rows.
        scale: factor of the cosines.
        products: type of the large matrix products; None takes that of the centres.
        regions: indices of the gathered regions that have a label of this head.
        slots: largest number of labels of a region.
        rows: the classes touched: first the negatives, ascending, then the positives that are none.
        negatives: number of negatives among `rows`.
        region, slot, spot: of every positive on this rank its index in `regions`, its index among
            the labels of that region, and its index in `rows`; they are sorted by `spot`.
    """

    centres: Float[Tensor, "k d"]
    scale: float
    products: torch.dtype | None
    regions: Int[Tensor, "n"]
    slots: int
    rows: Int[Tensor, "r"]
    negatives: int
    region: Int[Tensor, "p"]
    slot: Int[Tensor, "p"]
    spot: Int[Tensor, "p"]

    @classmethod
    def of(
        cls,
        *,
        centres: Float[Tensor, "k d"],
        start: int,
        labels: Int[Tensor, "n m"],
        negatives: Negatives,
        step: int,
        name: str,
        scale: float,
        products: torch.dtype | None,
    ) -> RankShare:
        """From the gathered labels, -1 for none and none twice in a region.

        `start` is the rank's first class, `name` that of the head.
        """
        stop = start + len(centres)
        regions = (labels >= 0).any(1).nonzero().flatten()
        labels = labels[regions]
        region, slot = ((labels >= start) & (labels < stop)).nonzero(as_tuple=True)
        positives = labels[region, slot]
        is_negative = negatives.chosen(step, start, stop, positives, name)
        chosen, positive_rows = is_negative.nonzero().flatten(), (positives - start).unique()
        rows = torch.cat([chosen, positive_rows[~is_negative[positive_rows]]])
        place = torch.empty(len(centres), dtype=torch.long, device=labels.device)
        place[rows] = torch.arange(len(rows), device=labels.device)
        spot, order = place[positives - start].sort(stable=True)
        return cls(
            centres=centres,
            scale=scale,
            products=products,
            regions=regions,
            slots=labels.shape[1],
            rows=rows,
            negatives=len(chosen),
            region=region[order],
            slot=slot[order],
            spot=spot,
        )

    @property
    def shift(self) -> float:
        """What scaled cosines are lowered by before exp."""
        return max(0.0, self.scale - _EXP_SAFE)

    def positive_centres(self) -> tuple[Float[Tensor, "p d"], Float[Tensor, "p 1"]]:
        """The centre of every positive, and one over its length."""
        rows = self.centres[self.rows[self.spot]]
        return rows, 1 / rows.norm(dim=1, keepdim=True)

    def chunks(
        self, x: Float[Tensor, "n d"], kept_terms: list[Tensor]
    ) -> Iterator[tuple[slice, Float[Tensor, "c d"], Float[Tensor, "c"], Float[Tensor, "n c"]]]:
        """The negatives in chunks.

        Of each chunk it gives its place in `rows`, the centres, one over their lengths, and the
        terms exp(scale cos - shift), which are 0 for a region's own positives. The tensors are
        overwritten by the next chunk.

        Args:
            x: unit features of the regions.
            kept_terms: the terms of the first chunks, if they were made before; they are taken out.
        """
        chunk_logits = _CHUNK_LOGITS.get(x.device.type, _CHUNK_LOGITS_ELSEWHERE)
        size = max(_SMALLEST_CHUNK, chunk_logits // max(len(x), 1))
        size = min(size, max(self.negatives, 1))
        logits = x.new_empty(len(x) * size)
        space: Tensor | None = None  # for centres that have to be gathered
        cast = x.to(self.products or x.dtype)
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
                terms = kept_terms.pop(0)
            else:
                terms = self.terms(cast, centres, inverse, begin, logits)
            yield slice(begin, end), centres, inverse, terms

    def terms(
        self,
        x: Float[Tensor, "n d"],
        centres: Float[Tensor, "c d"],
        inverse: Float[Tensor, "c"],
        begin: int,
        space: Float[Tensor, "..."],
    ) -> Float[Tensor, "n c"]:
        """exp(scale cos - shift) of the chunk of negatives that begins at `begin`, in `space`."""
        terms = space[: len(x) * len(centres)].view(len(x), len(centres))
        multiply(x, centres.to(x.dtype).T, out=terms)
        terms.mul_(inverse * self.scale)
        if self.shift:
            terms.sub_(self.shift)
        terms.exp_()
        ends = torch.tensor([begin, begin + len(centres)], device=x.device)
        first, last = torch.searchsorted(self.spot, ends).tolist()
        terms[self.region[first:last], self.spot[first:last] - begin] = 0
        return terms

    def forward(
        self, x: Float[Tensor, "n d"]
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n m"], list[Tensor]]:
        """This rank's part of the sums of exponentials and of the positive cosines.

        Both are in float64, and of ranks they only have to be added. The last result are the terms
        that are kept for `backward`.
        """
        total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        kept_terms: list[Tensor] = []
        room, block = _KEPT_LOGITS.get(x.device.type, _KEPT_LOGITS_ELSEWHERE), x.new_empty(0)
        for _, _, _, terms in self.chunks(x, []):
            total += terms.sum(1)
            room -= terms.numel()
            if room >= 0:
                if len(block) < terms.numel():
                    block = x.new_empty(max(_BLOCK_LOGITS, terms.numel()))
                kept_terms.append(block[: terms.numel()].view_as(terms).copy_(terms))
                block = block[terms.numel() :]
        cosines = torch.zeros(len(x), self.slots, dtype=torch.float64, device=x.device)
        rows, inverse = self.positive_centres()
        cosines[self.region, self.slot] = ((x[self.region] * rows).sum(1) * inverse[:, 0]).double()
        return total, cosines, kept_terms

    def backward(
        self,
        x: Float[Tensor, "n d"],
        per_term: Float[Tensor, "n"],
        per_cosine: Float[Tensor, "n m"],
        kept_terms: list[Tensor],
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "r d"]]:
        """The gradients of the regions and of the touched rows.

        Args:
            x: unit features of the regions.
            per_term: gradient of each region's sum of exponentials.
            per_cosine: gradient of the positive cosines.
            kept_terms: what `forward` kept; it is used up.
        """
        values, dx = x.new_empty(len(self.rows), x.shape[1]), torch.zeros_like(x)
        values[self.negatives :] = 0
        cast, product = x.to(self.products or x.dtype), torch.empty_like(x)
        for place, centres, inverse, terms in self.chunks(x, kept_terms):
            terms.mul_((per_term * self.scale)[:, None])
            gradient = values[place]
            multiply(terms.to(cast.dtype).T, cast, out=gradient)
            along = torch.linalg.vecdot(gradient, centres) * inverse.pow(3)
            gradient.mul_(inverse[:, None]).addcmul_(centres, along[:, None], value=-1)
            terms.mul_(inverse)
            dx.add_(multiply(terms.to(cast.dtype), centres.to(cast.dtype), out=product))
        rows, inverse = self.positive_centres()
        unit, regions = rows * inverse, x[self.region]
        slope = per_cosine[self.region, self.slot][:, None]
        dx.index_add_(0, self.region, slope * unit)
        cosine = (regions * unit).sum(1, keepdim=True)
        values.index_add_(0, self.spot, slope * inverse * (regions - cosine * unit))
        return dx, values


def multiply(a: Tensor, b: Tensor, *, out: Tensor) -> Tensor:
    """`a @ b` into `out`, whose type may be wider."""
    return torch.mm(a, b, out=out) if a.dtype == out.dtype else out.copy_(a @ b)


class Discriminate(torch.autograd.Function):
    """Unit regions `[n d]` of this rank -> cosines and log-sum-exp of each share, and counts.

    For each share the results are the cosines with positives `[N m]` and the log-sum-exp over
    negatives `[N]`, where N are the regions of all ranks that the share names; every rank gets the
    same. The last result is the number of negatives of each head over all ranks.

    Logits that are not kept are made again in the backward pass. The gradients of centres go to
    `add_gradient(number of the share, values)`; `factor` multiplies the gradient of the regions.
    """

    @staticmethod
    def forward(
        ctx: Any,
        regions: Float[Tensor, "n d"],
        shares: Sequence[RankShare],
        mesh: DeviceMesh | None,
        factor: float,
        add_gradient: Callable[[int, Tensor], None],
    ) -> tuple[Tensor, ...]:
        """See the class."""
        x = gathered(regions, mesh)
        with torch.autocast(x.device.type, enabled=False):
            results = [share.forward(x[share.regions]) for share in shares]
        sums = [tensor for total, cosines, _ in results for tensor in (total, cosines)]
        sums.append(
            torch.tensor(
                [share.negatives for share in shares], dtype=torch.float64, device=x.device
            )
        )
        flat = torch.cat([tensor.flatten() for tensor in sums])
        flat = summed(flat, mesh)  # one collective for all heads
        *sums, counts = (
            piece.view_as(tensor)
            for piece, tensor in zip(
                flat.split([tensor.numel() for tensor in sums]), sums, strict=True
            )
        )
        totals = sums[::2]
        ctx.save_for_backward(x, *totals)
        ctx.kept_terms = [kept_terms for _, _, kept_terms in results]
        ctx.shares, ctx.mesh, ctx.factor, ctx.add_gradient = shares, mesh, factor, add_gradient
        ctx.mark_non_differentiable(counts)
        ctx.set_materialize_grads(True)
        outputs: list[Tensor] = []
        for share, total, cosines in zip(shares, totals, sums[1::2], strict=True):
            outputs += [cosines.to(x.dtype), (total.log() + share.shift).to(x.dtype)]
        return *outputs, counts

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        """See the class."""
        x, *totals = ctx.saved_tensors
        dx = torch.zeros_like(x)
        with torch.autocast(x.device.type, enabled=False):
            for index, (share, total) in enumerate(zip(ctx.shares, totals, strict=True)):
                per_cosine, per_logsumexp = grads[2 * index], grads[2 * index + 1]
                per_term = torch.where(total > 0, per_logsumexp.double() / total, 0.0).to(x.dtype)
                region_gradient, values = share.backward(
                    x[share.regions], per_term, per_cosine, ctx.kept_terms[index]
                )
                dx.index_add_(0, share.regions, region_gradient)
                ctx.add_gradient(index, values)
        return scattered(dx, ctx.mesh) * ctx.factor, None, None, None, None
