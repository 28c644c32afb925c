"""Cosines with positives and log-sum-exp over negatives, chunk by chunk of the classes, forward and
backward; over ranks, if there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from regiontok.rice.sampling import Negatives

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# Logits a chunk: 4 MB in float32 stay in a processor's cache; a GPU wants large products.
_LOGITS = {"cpu": 1 << 20}
_LOGITS_ELSEWHERE = 1 << 26
# Logits a head keeps for the backward pass, whatever K is: 134 MB in float32, 1 GB on a GPU; the
# rest are made again.
_KEPT = {"cpu": 32 << 20}
_KEPT_ELSEWHERE = 1 << 28
# They lie in blocks that the C library gives back to the system at once (over 32 MB): while rows'
# gradients fill, logits leave.
_TOGETHER = 9 << 20
_SMALLEST = 256  # classes a chunk, however many regions there are
# e^64 times a billion classes fits into float32; e^-64 does too, so that no term is lost below it
_EXP_SAFE = 64.0


@dataclass(frozen=True, eq=False)
class Share:
    """What one rank does for one head in one step. Classes are counted from the rank's first.

    Attributes:
        centres: the rank's rows.
        scale: of the cosines.
        products: type of the large matrix products; None for that of the centres.
        regions: which of the gathered regions have a label of this head.
        slots: labels a region at most.
        rows: classes touched: first the negatives, ascending, then the positives that are none.
        negatives: how many of `rows` are negatives.
        region, slot, spot: of every positive on this rank: where in `regions`, which of its labels,
            where in `rows`; by `spot`.
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
        centres: Tensor,
        start: int,
        labels: Int[Tensor, "n m"],
        draw: Negatives,
        step: int,
        name: str,
        scale: float,
        products: torch.dtype | None,
    ) -> Share:
        """From the gathered labels, -1 for none and none twice in a region; `start` is the rank's
        first class."""
        stop = start + len(centres)
        regions = (labels >= 0).any(1).nonzero().flatten()
        labels = labels[regions]
        region, slot = ((labels >= start) & (labels < stop)).nonzero(as_tuple=True)
        own = labels[region, slot]
        mask = draw.chosen(step, start, stop, own, name)
        chosen, positives = mask.nonzero().flatten(), (own - start).unique()
        rows = torch.cat([chosen, positives[~mask[positives]]])
        place = torch.empty(len(centres), dtype=torch.long, device=labels.device)
        place[rows] = torch.arange(len(rows), device=labels.device)
        spot, order = place[own - start].sort(stable=True)
        return cls(
            centres,
            scale,
            products,
            regions,
            labels.shape[1],
            rows,
            len(chosen),
            region[order],
            slot[order],
            spot,
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
        self, x: Float[Tensor, "n d"], kept: list[Tensor]
    ) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """Negatives in pieces: where in `rows`, their centres [c d], one over their lengths [c],
        exp(scale cos - shift) [n c].

        The tensors are overwritten by the next piece. A region's own positives have 0. `kept` are
        the terms of the first pieces, if they were made before; they are taken out.
        """
        size = min(
            max(_SMALLEST, _LOGITS.get(x.device.type, _LOGITS_ELSEWHERE) // max(len(x), 1)),
            max(self.negatives, 1),
        )
        logits, gathered = x.new_empty(len(x) * size), None
        cast = x.to(self.products or x.dtype)
        whole = self.negatives == len(self.centres)
        for begin in range(0, self.negatives, size):
            end = min(begin + size, self.negatives)
            if whole:
                centres = self.centres[begin:end]
            else:
                gathered = (
                    self.centres.new_empty(size, self.centres.shape[1])
                    if gathered is None
                    else gathered
                )
                centres = torch.index_select(
                    self.centres, 0, self.rows[begin:end], out=gathered[: end - begin]
                )
            inverse = 1 / torch.linalg.vector_norm(centres, dim=1)
            terms = kept.pop(0) if kept else self.terms(cast, centres, inverse, begin, logits)
            yield slice(begin, end), centres, inverse, terms

    def terms(
        self, x: Float[Tensor, "n d"], centres: Tensor, inverse: Tensor, begin: int, space: Tensor
    ) -> Float[Tensor, "n c"]:
        """exp(scale cos - shift) of one piece of the negatives, which begins at `begin`; made in
        `space`."""
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
        """This rank's part of the sum of exponentials and of the positive cosines, in float64, so
        that ranks only have to be added; and the terms that are kept for `backward`."""
        total, kept = torch.zeros(len(x), dtype=torch.float64, device=x.device), []
        room, block = _KEPT.get(x.device.type, _KEPT_ELSEWHERE), x.new_empty(0)
        for _, _, _, terms in self.chunks(x, []):
            total += terms.sum(1)
            room -= terms.numel()
            if room >= 0:
                if len(block) < terms.numel():
                    block = x.new_empty(max(_TOGETHER, terms.numel()))
                kept.append(block[: terms.numel()].view_as(terms).copy_(terms))
                block = block[terms.numel() :]
        cosines = torch.zeros(len(x), self.slots, dtype=torch.float64, device=x.device)
        rows, inverse = self.positive_centres()
        cosines[self.region, self.slot] = ((x[self.region] * rows).sum(1) * inverse[:, 0]).double()
        return total, cosines, kept

    def backward(
        self,
        x: Float[Tensor, "n d"],
        per_term: Float[Tensor, "n"],
        per_cosine: Float[Tensor, "n m"],
        kept: list[Tensor],
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "r d"]]:
        """Gradients of the regions and of the touched rows, from those of the sum of exponentials
        and of the positive cosines.

        `kept` is used up.
        """
        values, dx = x.new_empty(len(self.rows), x.shape[1]), torch.zeros_like(x)
        values[self.negatives :] = 0
        cast, part = x.to(self.products or x.dtype), torch.empty_like(x)
        for at, centres, inverse, terms in self.chunks(x, kept):
            terms.mul_((per_term * self.scale)[:, None])
            own = values[at]
            multiply(terms.to(cast.dtype).T, cast, out=own)
            along = torch.linalg.vecdot(own, centres) * inverse.pow(3)
            own.mul_(inverse[:, None]).addcmul_(centres, along[:, None], value=-1)
            terms.mul_(inverse)
            dx.add_(multiply(terms.to(cast.dtype), centres.to(cast.dtype), out=part))
        rows, inverse = self.positive_centres()
        unit, mine = rows * inverse, x[self.region]
        slope = per_cosine[self.region, self.slot][:, None]
        dx.index_add_(0, self.region, slope * unit)
        values.index_add_(
            0, self.spot, slope * inverse * (mine - (mine * unit).sum(1, keepdim=True) * unit)
        )
        return dx, values


def multiply(a: Tensor, b: Tensor, *, out: Tensor) -> Tensor:
    """`a @ b` into `out`, which may be of a wider type."""
    return torch.mm(a, b, out=out) if a.dtype == out.dtype else out.copy_(a @ b)


class Discriminate(torch.autograd.Function):
    """(unit regions [n d] of this rank) -> for each share: cosines with positives [N m],
    log-sum-exp over negatives [N]; and counts.

    N are the regions of all ranks that the share names; every rank gets the same results. The last
    result is the number of negatives of each head over all ranks. Logits that are not kept are made
    again in the backward pass; gradients of the centres go to `deliver(number of the share,
    values)`. `factor` multiplies the gradient of the regions.
    """

    @staticmethod
    def forward(
        ctx: Any,
        regions: Float[Tensor, "n d"],
        shares: Sequence[Share],
        mesh: DeviceMesh | None,
        factor: float,
        deliver: Callable[[int, Tensor], None],
    ) -> tuple[Tensor, ...]:
        x = gathered(regions, mesh)
        with torch.autocast(x.device.type, enabled=False):
            made = [share.forward(x[share.regions]) for share in shares]
        parts = [part for total, cosines, _ in made for part in (total, cosines)]
        counts = torch.tensor(
            [share.negatives for share in shares], dtype=torch.float64, device=x.device
        )
        flat = torch.cat([*(part.flatten() for part in parts), counts])
        flat = summed(flat, mesh)  # one collective for all heads
        *parts, counts = (
            piece.view_as(like)
            for piece, like in zip(
                flat.split([part.numel() for part in [*parts, counts]]),
                [*parts, counts],
                strict=True,
            )
        )
        totals = parts[::2]
        ctx.save_for_backward(x, *totals)
        ctx.kept = [kept for _, _, kept in made]
        ctx.shares, ctx.mesh, ctx.factor, ctx.deliver = shares, mesh, factor, deliver
        ctx.mark_non_differentiable(counts)
        ctx.set_materialize_grads(True)
        found: list[Tensor] = []
        for share, total, cosines in zip(shares, totals, parts[1::2], strict=True):
            found += [cosines.to(x.dtype), (total.log() + share.shift).to(x.dtype)]
        return *found, counts

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        x, *totals = ctx.saved_tensors
        dx = torch.zeros_like(x)
        with torch.autocast(x.device.type, enabled=False):
            for at, (share, total) in enumerate(zip(ctx.shares, totals, strict=True)):
                per_term = torch.where(total > 0, grads[2 * at + 1].double() / total, 0.0).to(
                    x.dtype
                )
                own, values = share.backward(
                    x[share.regions], per_term, grads[2 * at], ctx.kept[at]
                )
                dx.index_add_(0, share.regions, own)
                ctx.deliver(at, values)
        return scattered(dx, ctx.mesh) * ctx.factor, None, None, None, None


def gathered(values: Tensor, mesh: DeviceMesh | None) -> Tensor:
    """Of all ranks, laid end to end; as many on each."""
    if mesh is None:
        return values
    whole = values.new_empty(len(values) * mesh.size(), *values.shape[1:])
    dist.all_gather_into_tensor(whole, values.contiguous(), group=mesh.get_group())
    return whole


def summed(values: Tensor, mesh: DeviceMesh | None) -> Tensor:
    """Added up over all ranks, in place."""
    if mesh is not None:
        dist.all_reduce(values, group=mesh.get_group())
    return values


def scattered(values: Float[Tensor, "N d"], mesh: DeviceMesh | None) -> Float[Tensor, "n d"]:
    """Added up over all ranks; of the sum this rank's part, as `gathered` laid them."""
    if mesh is None:
        return values
    own = values.new_empty(len(values) // mesh.size(), *values.shape[1:])
    dist.reduce_scatter_tensor(own, values, group=mesh.get_group())
    return own
