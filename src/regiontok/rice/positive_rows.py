"""Rows of regions in full precision, for the ranks whose classes are their positives.

Rows are gathered in the type of the products, which is enough for millions of negatives. A region
meets its positives in the precision of its own rank: each rank sends its rows to the ranks that
hold their positives, few to each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from regiontok.rice.rank_share import RankShare

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclass(frozen=True, eq=False)
class PositiveRows:
    """What one rank sends and gets for one head.

    Attributes:
        send: which of this rank's regions it sends, rank after rank.
        sent: how many rows go to each rank.
        received: how many rows come from each.
        place: for every positive of the share its row among those that come.
        mesh: the ranks.
    """

    send: Int[Tensor, "s"]
    sent: list[int]
    received: list[int]
    place: Int[Tensor, "p"]
    mesh: DeviceMesh

    @classmethod
    def of(
        cls, share: RankShare, labels: Int[Tensor, "N m"], classes: int, mesh: DeviceMesh
    ) -> PositiveRows:
        """From the gathered labels of a head, -1 for none.

        Args:
            share: this rank's share of the head.
            labels: the labels of the regions of all ranks.
            classes: classes of each rank but the last ones, which may have fewer.
            mesh: the ranks.
        """
        ranks, rank = mesh.size(), mesh.get_local_rank()
        regions = len(labels) // ranks  # of each rank
        mine = labels[rank * regions : (rank + 1) * regions]
        holder = torch.where(mine >= 0, mine // classes, ranks)  # the last column is for none
        goes = torch.zeros(regions, ranks + 1, dtype=torch.bool, device=labels.device)
        goes = goes.scatter_(1, holder, True)[:, :ranks]
        with_positive = share.regions[share.region]
        wanted = with_positive.unique()  # ascending, as the ranks that send them
        return cls(
            send=goes.T.nonzero()[:, 1],
            sent=goes.sum(0).tolist(),
            received=torch.bincount(wanted // regions, minlength=ranks).tolist(),
            place=torch.searchsorted(wanted, with_positive),
            mesh=mesh,
        )

    def exchange(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "p d"]:
        """The row of every positive's region, from this rank's rows and those of all others."""
        received = rows.new_empty(sum(self.received), rows.shape[1])
        dist.all_to_all_single(
            received, rows[self.send], self.received, self.sent, group=self.mesh.get_group()
        )
        return received[self.place]
