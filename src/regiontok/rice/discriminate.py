"""Cosines with positives and log-sum-exp over negatives, forward and backward, over all ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from regiontok.rice.positive_rows import PositiveRows
from regiontok.rice.rank_share import RankShare
from regiontok.rice.ranks import gathered, scattered, summed

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class Discriminate(torch.autograd.Function):
    """Unit regions `[n d]` of this rank -> cosines and log-sum-exp of each share, and counts.

    For each share the results are the cosines with positives `[N m]` and the log-sum-exp over
    negatives `[N]`, where N are the regions of all ranks that the share names; every rank gets the
    same. The last result is the number of negatives of each head over all ranks.

    With `positives`, of each share, rows are gathered in the type of the products, and those that
    meet their positives come in full from the ranks they are of; without, all are gathered in full.

    Logits that are not kept are made again in the backward pass. The gradients of centres go to
    `add_gradient(number of the share, values)`; `factor` multiplies the gradient of the regions.
    """

    @staticmethod
    def forward(
        ctx: Any,
        regions: Float[Tensor, "n d"],
        shares: Sequence[RankShare],
        positives: Sequence[PositiveRows],
        mesh: DeviceMesh | None,
        factor: float,
        add_gradient: Callable[[int, Tensor], None],
    ) -> tuple[Tensor, ...]:
        """See the class."""
        # what is multiplied in a narrower type is sent in it
        narrow = (shares[0].products or regions.dtype) if positives else regions.dtype
        x = gathered(regions.to(narrow), mesh).to(regions.dtype)
        ctx.regions = len(x)
        # Head by head, so that each has a slice of them and no copy: objects and texts are apart.
        order = _order(shares, len(x))
        x = x if order is None else x[order]
        with torch.autocast(x.device.type, enabled=False):
            by_head = _by_head(x, shares)
            exact = (
                [rows_of.exchange(regions) for rows_of in positives]
                if positives
                else [rows[share.region] for share, rows in zip(shares, by_head, strict=True)]
            )
            results = [
                share.forward(rows, of_positives)
                for share, rows, of_positives in zip(shares, by_head, exact, strict=True)
            ]
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
        ctx.save_for_backward(x, *totals, *exact)
        ctx.kept_terms = [kept_terms for _, _, kept_terms in results]
        ctx.shares, ctx.mesh, ctx.factor, ctx.add_gradient = shares, mesh, factor, add_gradient
        ctx.mark_non_differentiable(counts)
        ctx.set_materialize_grads(True)
        outputs: list[Tensor] = []
        for share, total, cosines in zip(shares, totals, sums[1::2], strict=True):
            outputs += [cosines.to(x.dtype), (total.log() + share.shift).to(x.dtype)]
        return *outputs, counts

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        """See the class."""
        x, *saved = ctx.saved_tensors
        totals, exact = saved[: len(ctx.shares)], saved[len(ctx.shares) :]
        gradient = torch.zeros_like(x)
        slices = zip(_by_head(x, ctx.shares), _by_head(gradient, ctx.shares), strict=True)
        with torch.autocast(x.device.type, enabled=False):
            for index, (rows, of_rows) in enumerate(slices):
                per_cosine, per_logsumexp = grads[2 * index], grads[2 * index + 1]
                total = totals[index]
                per_term = torch.where(total > 0, per_logsumexp.double() / total, 0.0).to(x.dtype)
                values = ctx.shares[index].backward(
                    rows, exact[index], per_term, per_cosine, ctx.kept_terms[index], of_rows
                )
                ctx.add_gradient(index, values)
        order, dx = _order(ctx.shares, ctx.regions), gradient
        if order is not None:
            dx = x.new_zeros(ctx.regions, x.shape[1])
            dx.index_add_(0, order, gradient)
        return scattered(dx, ctx.mesh) * ctx.factor, None, None, None, None, None


def _by_head(
    rows: Float[Tensor, "m d"], shares: Sequence[RankShare]
) -> tuple[Float[Tensor, "n d"], ...]:
    """The rows of each head, which lie one head after the other."""
    return rows.split([len(share.regions) for share in shares])


def _order(shares: Sequence[RankShare], regions: int) -> Int[Tensor, "m"] | None:
    """The gathered regions one head after the other; None if that is how they lie already."""
    order = torch.cat([share.regions for share in shares])
    if len(order) == regions and len(shares) == 1:
        return None  # a head's regions ascend
    return order
