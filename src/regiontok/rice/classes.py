"""Class centres of one or several heads, sharded over ranks, and the loss of regions against them.

After: RICE, section 3.3 and 4.1 (rows R5, R6, R7); how the classes are spread over ranks is not in
the text.
Differs: forward and backward go over the classes in chunks, the logits are made again in the
backward pass but for a fixed number that is kept, and only the rows a step touches get a gradient:
memory for logits does not grow with K. Ranks hold rows of the centres (DTensor, Shard(0)), gather
regions and labels, and add sums; results do not depend on how many ranks there are, beyond
rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.nn import functional as F

from regiontok.rice.class_head import ClassHead, DiscriminationLoss, HeadReport, RowGradient
from regiontok.rice.discriminate import Discriminate
from regiontok.rice.initial_centres import centred, random_centres
from regiontok.rice.positive_rows import PositiveRows
from regiontok.rice.rank_share import RankShare
from regiontok.rice.ranks import sharded
from regiontok.rice.targets import StepTargets, gathered_tables

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class ClassCentres(nn.Module):
    """The module `(regions [n d], labels by head, step) -> DiscriminationLoss`.

    After backward, `gradients` holds each head's `RowGradient`. The centres are no part of
    autograd's graph and need `RowAdam`. Keep this module outside DDP and FSDP, which would average
    or re-shard what ranks hold apart; its state dict holds DTensors, whose rows
    any number of ranks can read.

    Args:
        heads: the heads, in the order of the reports.
        width: d, the width of regions and centres.
        seed: seed of the random centres, which are the same on any number of ranks.
        mesh: one-dimensional mesh of the ranks that share the classes; None for one process.
        averaged: True if ranks average the trunk's gradients, as DDP and FSDP do, so that those of
            the regions are multiplied by the number of ranks; those of the centres are whole either
            way.
        dtype: type of the centres; float32 also for training in bfloat16, since steps are smaller
            than bfloat16's rounding.
        products: type of the large matrix products (`torch.bfloat16`); None takes `dtype`. Sums and
            positives stay in `dtype`.
        device: device of the centres; that of the mesh by default.

    Raises:
        ValueError: If there is no head, two heads have one name, the width is below 1, or the mesh
            has several dimensions.
    """

    def __init__(
        self,
        heads: Sequence[ClassHead],
        width: int,
        *,
        seed: int = 0,
        mesh: DeviceMesh | None = None,
        averaged: bool = True,
        dtype: torch.dtype = torch.float32,
        products: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        names = [head.name for head in heads]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"needs at least one head, each of its own name; got {names}")
        if width < 1:
            raise ValueError(f"width is at least 1, got {width}")
        if mesh is not None and mesh.ndim != 1:
            raise ValueError(
                f"classes are spread over a mesh of one dimension, got {mesh.ndim}: take one of "
                "it, mesh['name']"
            )
        self.heads, self.width, self.mesh, self.products = tuple(heads), width, mesh, products
        self.gradient_factor = float(mesh.size()) if mesh is not None and averaged else 1.0
        self.gradients: dict[str, RowGradient] = {}
        self.centres = nn.ParameterDict()
        if device is None and mesh is not None:
            device = mesh.device_type
        for head in heads:
            start, stop = self.span(head.name)
            local = random_centres(start, stop, width, seed, head.name).to(device, dtype)
            self.centres[head.name] = nn.Parameter(
                sharded(local, head.classes, mesh), requires_grad=False
            )

    def head(self, name: str) -> ClassHead:
        """The head of that name.

        Raises:
            ValueError: If there is none.
        """
        for head in self.heads:
            if head.name == name:
                return head
        raise ValueError(
            f"no head {name!r}; there are {', '.join(head.name for head in self.heads)}"
        )

    def span(self, name: str) -> tuple[int, int]:
        """The first class of this rank, and one past its last.

        They are equal on a rank without classes: there may be fewer than ranks need.
        """
        classes = self.head(name).classes
        if self.mesh is None:
            return 0, classes
        share = -(-classes // self.mesh.size())
        rank = self.mesh.get_local_rank()
        return min(rank * share, classes), min((rank + 1) * share, classes)

    def local(self, name: str) -> Float[Tensor, "k d"]:
        """This rank's rows; writing into them changes the centres."""
        centres = self.centres[name].data
        return centres.to_local() if isinstance(centres, DTensor) else centres

    @torch.no_grad()
    def start_from(self, name: str, centroids: Float[Tensor, "K d"]) -> None:
        """Let a head's centres start at k-means centroids, which are centred first (`centred`).

        Every rank gives all of them.

        Raises:
            ValueError: If their number or width is not the head's, or `centred` refuses them.
        """
        if tuple(centroids.shape) != (self.head(name).classes, self.width):
            raise ValueError(
                f"head {name!r} has {self.head(name).classes} centres of {self.width}, got "
                f"{list(centroids.shape)}"
            )
        start, stop = self.span(name)
        self.local(name).copy_(centred(centroids)[start:stop])

    def forward(
        self,
        regions: Float[Tensor, "n d"],
        labels: Mapping[str, Int[Tensor, "n m"]],
        step: int,
        excluded: Mapping[str, Int[Tensor, "n e"]] | None = None,
    ) -> DiscriminationLoss:
        """The loss of a batch.

        Args:
            regions: features of this rank's regions, of any length; every rank brings as many.
            labels: the labels of every head: `[n]` or `[n m]`, -1 where a region has none (a label
                that comes twice counts once); every rank brings as many a region. A region without
                any label takes no part in that head.
            step: step of the training; with the seed it decides which negatives are drawn.
            excluded: for some heads classes that are no negatives of a region beside its labels,
                -1 for none: the other tokens of a text of which M are labels. Ranks may bring
                tables of different widths.

        Raises:
            ValueError: If shapes do not fit, heads are missing or unknown, or labels lie outside
                the classes.
        """
        if regions.ndim != 2 or regions.shape[1] != self.width:
            raise ValueError(f"regions are [n {self.width}], got {list(regions.shape)}")
        return self.loss(regions, self.targets(labels, step, excluded))

    def targets(
        self,
        labels: Mapping[str, Int[Tensor, "n m"]],
        step: int,
        excluded: Mapping[str, Int[Tensor, "n e"]] | None = None,
    ) -> StepTargets:
        """What a step needs beside the regions: their labels on all ranks, and the classes drawn.

        It can be had before the regions are: ranks exchange labels, and a GPU waits for sizes,
        while the trunk has not begun; between trunk and loss only regions are sent then. For the
        arguments and errors see `forward`.
        """
        device = self.local(self.heads[0].name).device
        tables = gathered_tables(self.heads, labels, excluded or {}, self.mesh, device)
        labels_by_head, excluded_by_head = tables[::2], tables[1::2]
        shares = [
            RankShare.of(
                centres=self.local(head.name),
                start=self.span(head.name)[0],
                labels=head_labels,
                excluded=head_excluded,
                negatives=head.negatives,
                step=step,
                name=head.name,
                scale=head.loss.scale,
                filter=head.loss.filter,
                products=self.products,
            )
            for head, head_labels, head_excluded in zip(
                self.heads, labels_by_head, excluded_by_head, strict=True
            )
        ]
        return StepTargets(labels_by_head, shares, self._positive_rows(shares, labels_by_head))

    def loss(self, regions: Float[Tensor, "n d"], targets: StepTargets) -> DiscriminationLoss:
        """The loss of regions whose `targets` are known.

        Raises:
            ValueError: If there are other numbers of regions and labels.
        """
        ranks = self.mesh.size() if self.mesh is not None else 1
        if len(regions) * ranks != len(targets.labels[0]):
            raise ValueError(
                f"labels of {len(targets.labels[0]) // ranks} regions for {len(regions)} regions"
            )
        shares = targets.shares
        unit = F.normalize(regions.to(self.local(self.heads[0].name).dtype), dim=1)
        *results, counts = Discriminate.apply(
            unit,
            shares,
            targets.positives,
            self.mesh,
            self.gradient_factor,
            partial(self._add_gradient, shares),
        )
        loss, reports = unit.new_zeros(()), {}
        for index, (head, share) in enumerate(zip(self.heads, shares, strict=True)):
            cosine, negative = results[2 * index : 2 * index + 2]
            valid = targets.labels[index][share.regions] >= 0
            mean = head.loss(cosine, valid, negative).sum() / max(len(cosine), 1)
            loss = loss + head.weight * mean
            reports[head.name] = HeadReport(
                loss=mean.detach(),
                regions=len(cosine),
                rho=counts[index] / head.classes,
                positive=(cosine.detach() * valid).sum() / valid.sum().clamp_min(1),
            )
        return DiscriminationLoss(loss, reports)

    def _positive_rows(
        self, shares: Sequence[RankShare], labels: Sequence[Int[Tensor, "N m"]]
    ) -> list[PositiveRows]:
        """What ranks exchange in full precision; [] where all rows are gathered in it."""
        if self.mesh is None or self.products is None:
            return []
        return [
            PositiveRows.of(share, table, -(-head.classes // self.mesh.size()), self.mesh)
            for head, share, table in zip(self.heads, shares, labels, strict=True)
        ]

    def _add_gradient(self, shares: Sequence[RankShare], index: int, values: Tensor) -> None:
        """Add the gradient of the rows that share number `index` has touched."""
        name, gradient = self.heads[index].name, RowGradient(shares[index].rows, values)
        if name in self.gradients:
            gradient = self.gradients[name] + gradient
        self.gradients[name] = gradient
