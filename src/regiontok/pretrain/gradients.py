"""The gradient of one step: of all regions of all ranks, in as many passes as memory asks for.

After: GradCache (Gao et al. 2021, arXiv:2101.06983) for batches that do not fit.
Differs: nothing known. Such a batch is embedded without gradient first, so that the loss sees all
of its regions, and then once more: the result is that of one pass, to rounding, for a third more
time.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from regiontok.pretrain.build import Learner
from regiontok.pretrain.feed import Batch
from regiontok.rice.classes import DiscriminationLoss

if TYPE_CHECKING:
    from jaxtyping import Float


def gradients(
    learner: Learner, batch: Batch, step: int, each: int, device: torch.device, half: bool
) -> DiscriminationLoss:
    """The loss of a batch, its gradients left in the parameters and in the centres.

    Args:
        each: images of one pass; 0: all.
        half: products in bfloat16.
    """
    labels = {name: own.flatten(0, 1).to(device) for name, own in batch.labels.items()}
    size = each or len(batch)
    parts = [batch.part(slice(at, at + size)) for at in range(0, len(batch), size)]
    half = half and not learner.sharded  # FSDP2 casts by itself
    if len(parts) == 1:
        found = learner.centres(embed(learner.model, batch, device, half), labels, step)
        found.loss.backward()
        return found
    with torch.no_grad():
        ahead = [embed(learner.bare, part, device, half) for part in parts]
    regions = torch.cat(ahead).requires_grad_()
    found = learner.centres(regions, labels, step)
    found.loss.backward()
    assert regions.grad is not None
    for at, (part, own) in enumerate(
        zip(parts, regions.grad.split([len(one) for one in ahead]), strict=True)
    ):
        with _together(learner, at == len(parts) - 1):
            embed(learner.model, part, device, half).backward(own)
    return found


def embed(model: nn.Module, batch: Batch, device: torch.device, half: bool) -> Float[Tensor, "k d"]:
    """float32 regions of a batch's images."""
    with autocast(device, half):
        return model(batch.normalised(device), batch.visible.to(device)).regions.float()


def autocast(device: torch.device, half: bool) -> Any:
    """bfloat16 products, or nothing."""
    return torch.autocast(device.type, torch.bfloat16) if half else nullcontext()


def _together(learner: Learner, last: bool) -> Any:
    """Ranks exchange gradients in the last pass only."""
    if isinstance(learner.model, DistributedDataParallel) and not last:
        return learner.model.no_sync()
    if learner.sharded:
        learner.bare.set_requires_gradient_sync(last)  # type: ignore[operator]
    return nullcontext()
