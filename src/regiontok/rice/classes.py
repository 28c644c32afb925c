"""Class centres of one or several heads, sharded over ranks, and the loss of a batch of regions
against them.

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
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard
from torch.nn import functional as F

from regiontok.rice.discriminate import Discriminate, Share, gathered
from regiontok.rice.loss import RegionLoss
from regiontok.rice.sampling import Negatives

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# rows drawn at once: a rank draws the blocks it holds a part of, so that all numbers of ranks begin
# alike
_BLOCK = 1024


@dataclass(frozen=True)
class Head:
    """One set of class centres: objects (one label a region), OCR tokens (several).

    Attributes:
        name: an identifier; it names the centres in checkpoints.
        classes: how many, K.
        loss: from cosines to the loss of a region.
        negatives: which centres push.
        weight: of this head's mean in the sum over heads.

    Raises:
        ValueError: a name that is no identifier, or no class.
    """

    name: str
    classes: int
    loss: RegionLoss = field(default_factory=RegionLoss)
    negatives: Negatives = field(default_factory=Negatives)
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"a head's name is an identifier such as 'object', got {self.name!r}")
        if self.classes < 1:
            raise ValueError(f"head {self.name!r} needs at least one class, got {self.classes}")


@dataclass(frozen=True, eq=False)
class RowGradient:
    """The gradient of a rank's centres: rows [r], ascending or not but none twice, counted from the
    rank's first; values [r d]."""

    rows: Int[Tensor, "r"]
    values: Float[Tensor, "r d"]

    def __add__(self, other: RowGradient) -> RowGradient:
        rows, place = torch.cat([self.rows, other.rows]).unique(return_inverse=True)
        values = self.values.new_zeros(len(rows), self.values.shape[1])
        return RowGradient(
            rows, values.index_add_(0, place, torch.cat([self.values, other.values]))
        )


@dataclass(frozen=True, eq=False)
class HeadReport:
    """What one head did in a step, over all ranks.

    Attributes:
        loss: mean over its regions, without weight and gradient; 0 without regions.
        regions: that had a label.
        rho: the effective rate: distinct classes used as negatives, over K.
        positive: mean cosine of regions with their positives, before the margin.
    """

    loss: Tensor
    regions: int
    rho: Tensor
    positive: Tensor


@dataclass(frozen=True, eq=False)
class Discriminated:
    """The result of a step: `loss`, to call backward on (the same on every rank), and each head's
    report."""

    loss: Tensor
    heads: dict[str, HeadReport]


class ClassCentres(nn.Module):
    """`(regions [n d], labels by head, step) -> Discriminated`; after backward, `gradients` holds
    each head's `RowGradient`.

    The centres are no part of autograd's graph and need `RowAdam`. Keep this module outside DDP and
    FSDP, which would average or re-shard what ranks hold apart; its state dict holds DTensors,
    which `torch.distributed.checkpoint` loads on any number of ranks.

    Args:
        heads: in the order of the reports.
        width: of regions and centres, d.
        seed: of the random centres; the same for any number of ranks.
        mesh: one-dimensional, of the ranks that share the classes; None for one process.
        averaged: ranks average the trunk's gradients, as DDP and FSDP do, so those of the regions
            are multiplied by their number; those of the centres are whole either way.
        dtype: of the centres; float32 also for training in bfloat16, since steps are smaller than
            bfloat16's rounding.
        products: type of the large matrix products (`torch.bfloat16`); None for `dtype`. Sums and
            positives stay in `dtype`.
        device: of the centres; that of the mesh by default.

    Raises:
        ValueError: no head, two of one name, a width below 1, or a mesh of several dimensions.
    """

    def __init__(
        self,
        heads: Sequence[Head],
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
                f"classes are spread over a mesh of one dimension, got {mesh.ndim}: take one of it, mesh['name']"
            )
        self.heads, self.width, self.mesh, self.products = tuple(heads), width, mesh, products
        self.factor = float(mesh.size()) if mesh is not None and averaged else 1.0
        self.gradients: dict[str, RowGradient] = {}
        self.centres = nn.ParameterDict()
        device = device if device is not None else (mesh.device_type if mesh is not None else None)
        for head in heads:
            start, stop = self.span(head.name)
            local = random_rows(start, stop, width, seed, head.name).to(device, dtype)
            self.centres[head.name] = nn.Parameter(
                sharded(local, head.classes, mesh), requires_grad=False
            )

    def head(self, name: str) -> Head:
        """By its name.

        Raises:
            ValueError: there is none.
        """
        for head in self.heads:
            if head.name == name:
                return head
        raise ValueError(
            f"no head {name!r}; there are {', '.join(head.name for head in self.heads)}"
        )

    def span(self, name: str) -> tuple[int, int]:
        """First class of this rank, and one past its last; equal where there are fewer classes than
        ranks need."""
        classes = self.head(name).classes
        if self.mesh is None:
            return 0, classes
        each = -(-classes // self.mesh.size())
        rank = self.mesh.get_local_rank()
        return min(rank * each, classes), min((rank + 1) * each, classes)

    def local(self, name: str) -> Float[Tensor, "k d"]:
        """This rank's rows; writing into them changes the centres."""
        centres = self.centres[name].data
        return centres.to_local() if isinstance(centres, DTensor) else centres

    @torch.no_grad()
    def start_from(self, name: str, centroids: Float[Tensor, "K d"]) -> None:
        """Take a head's centres from k-means centroids, centred (`centred`) first; every rank gives
        all of them.

        Raises:
            ValueError: another number or width than the head's, or centroids that `centred`
                refuses.
        """
        if tuple(centroids.shape) != (self.head(name).classes, self.width):
            raise ValueError(
                f"head {name!r} has {self.head(name).classes} centres of {self.width}, got {list(centroids.shape)}"
            )
        start, stop = self.span(name)
        self.local(name).copy_(centred(centroids)[start:stop])

    def forward(
        self, regions: Float[Tensor, "n d"], labels: Mapping[str, Int[Tensor, "n m"]], step: int
    ) -> Discriminated:
        """The loss of a batch.

        Args:
            regions: of this rank, of any length; every rank brings as many.
            labels: of every head: [n] or [n m], -1 where a region has none (a label given twice
                counts once); every rank brings as many a region. A region without any takes no part
                in that head.
            step: of the training; with the seed it decides which negatives are drawn.

        Raises:
            ValueError: shapes that do not fit, heads missing or unknown, labels outside the
                classes.
        """
        found = self._gathered(regions, labels)
        shares = [
            Share.of(
                self.local(head.name),
                self.span(head.name)[0],
                own,
                head.negatives,
                step,
                head.name,
                head.loss.scale,
                self.products,
            )
            for head, own in zip(self.heads, found, strict=True)
        ]
        unit = F.normalize(regions.to(self.local(self.heads[0].name).dtype), dim=1)
        *parts, counts = Discriminate.apply(
            unit, shares, self.mesh, self.factor, partial(self._deliver, shares)
        )
        loss, reports = unit.new_zeros(()), {}
        for at, (head, share) in enumerate(zip(self.heads, shares, strict=True)):
            cosine, negative, valid = (
                parts[2 * at],
                parts[2 * at + 1],
                found[at][share.regions] >= 0,
            )
            mean = head.loss(cosine, valid, negative).sum() / max(len(cosine), 1)
            loss = loss + head.weight * mean
            positive = (cosine.detach() * valid).sum() / valid.sum().clamp_min(1)
            reports[head.name] = HeadReport(
                mean.detach(), len(cosine), counts[at] / head.classes, positive
            )
        return Discriminated(loss, reports)

    def _gathered(self, regions: Tensor, labels: Mapping[str, Tensor]) -> list[Int[Tensor, "N m"]]:
        """Labels of all ranks, by head; those that repeat in a region are -1. Checked after
        gathering, so that all ranks raise alike."""
        if regions.ndim != 2 or regions.shape[1] != self.width:
            raise ValueError(f"regions are [n {self.width}], got {list(regions.shape)}")
        if set(labels) != {head.name for head in self.heads}:
            raise ValueError(
                f"labels are for {sorted(labels)}, heads are {sorted(head.name for head in self.heads)}"
            )
        own = [labels[head.name].long().view(len(labels[head.name]), -1) for head in self.heads]
        for head, each in zip(self.heads, own, strict=True):
            if len(each) != len(regions):
                raise ValueError(
                    f"head {head.name!r}: labels of {len(each)} regions for {len(regions)} regions"
                )
        whole = gathered(torch.cat(own, dim=1).to(regions.device), self.mesh)
        found = list(whole.split([each.shape[1] for each in own], dim=1))
        for at, head in enumerate(self.heads):
            low, high = (int(v) for v in found[at].aminmax()) if found[at].numel() else (-1, -1)
            if low < -1 or high >= head.classes:
                raise ValueError(
                    f"head {head.name!r}: labels lie in 0 ... {head.classes - 1} (-1: none), got {low} ... {high}"
                )
            sort = found[at].sort(1).values
            found[at] = torch.where(F.pad(sort[:, 1:] == sort[:, :-1], (1, 0)), -1, sort)
        return found

    def _deliver(self, shares: list[Share], at: int, values: Tensor) -> None:
        name, gradient = self.heads[at].name, RowGradient(shares[at].rows, values)
        self.gradients[name] = (
            self.gradients[name] + gradient if name in self.gradients else gradient
        )


def sharded(local: Tensor, rows: int, mesh: DeviceMesh | None) -> Tensor:
    """A rank's part of `rows` rows as a DTensor, Shard(0); without a mesh as it is."""
    if mesh is None:
        return local
    shape = torch.Size((rows, *local.shape[1:]))
    stride = torch.empty(shape, device="meta").stride()
    return DTensor.from_local(local, mesh, [Shard(0)], run_check=False, shape=shape, stride=stride)


def random_rows(
    start: int, stop: int, width: int, seed: int, name: str = ""
) -> Float[Tensor, "k d"]:
    """Rows start ... stop - 1 of random unit centres: the same rows whatever else is asked for."""
    found = torch.empty(stop - start, width)
    for block in range(start // _BLOCK, -(-stop // _BLOCK) if stop > start else 0):
        key = int.from_bytes(f"{name}".encode(), "big") * 1_000_003 + block
        rows = torch.randn(
            _BLOCK,
            width,
            generator=torch.Generator().manual_seed((key * 1_000_003 + seed) % (1 << 63)),
        )
        low, high = max(start, block * _BLOCK), min(stop, (block + 1) * _BLOCK)
        found[low - start : high - start] = rows[low - block * _BLOCK : high - block * _BLOCK]
    return F.normalize(found, dim=1)


def centred(centroids: Float[Tensor, "K d"]) -> Float[Tensor, "K d"]:
    """Unit centroids without their mean, made unit again.

    CLIP's centroids have a mean cosine far above 0; `twosided` starts with a loss of about 64 times
    that.

    Raises:
        ValueError: a centroid is not finite, or nothing is left of it without the mean.

    >>> centred(torch.tensor([[3.0, 1.0], [3.0, -1.0]]))
    tensor([[ 0.,  1.],
            [ 0., -1.]])
    """
    unit = F.normalize(centroids, dim=1)
    moved = unit - unit.mean(0)
    lengths = moved.norm(dim=1)
    bad = ~(lengths > 1e-6)
    if bad.any():
        raise ValueError(
            f"{int(bad.sum())} centroids are not finite, or equal to the mean, the first is {int(bad.nonzero()[0])}"
        )
    return moved / lengths[:, None]
