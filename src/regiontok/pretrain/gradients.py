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

from regiontok.pretrain.batches import Batch
from regiontok.pretrain.build import Learner
from regiontok.rice.class_head import DiscriminationLoss

if TYPE_CHECKING:
    from jaxtyping import Float


def compute_gradients(
    learner: Learner,
    batch: Batch,
    step: int,
    *,
    per_pass: int,
    device: torch.device,
    in_bfloat16: bool,
) -> DiscriminationLoss:
    """The loss of a batch; its gradients are left in the parameters and in the centres.

    Args:
        learner: all that learns.
        batch: this rank's images.
        step: the step, from which negatives are drawn.
        per_pass: images of one pass; 0 takes all at once.
        device: the device of this rank.
        in_bfloat16: whether products are computed in bfloat16.
    """
    labels, excluded = (
        {name: values.flatten(0, 1).to(device) for name, values in tables.items()}
        for tables in (batch.labels, batch.excluded)
    )
    targets = learner.centres.targets(labels, step, excluded)  # while the trunk has not begun
    size = per_pass or len(batch)
    passes = [batch.select(slice(first, first + size)) for first in range(0, len(batch), size)]
    in_bfloat16 = in_bfloat16 and not learner.is_sharded  # FSDP2 casts by itself
    if len(passes) == 1:
        regions = embed(learner.model, batch, device, in_bfloat16)
        result = learner.centres.loss(regions, targets)
        result.loss.backward()
        return result
    with torch.no_grad():
        embedded = [embed(learner.transformer, images, device, in_bfloat16) for images in passes]
    regions = torch.cat(embedded).requires_grad_()
    result = learner.centres.loss(regions, targets)
    result.loss.backward()
    assert regions.grad is not None
    gradients = regions.grad.split([len(rows) for rows in embedded])
    for number, (images, gradient) in enumerate(zip(passes, gradients, strict=True)):
        with _exchanging(learner, number == len(passes) - 1):
            embed(learner.model, images, device, in_bfloat16).backward(gradient)
    return result


def embed(
    model: nn.Module, batch: Batch, device: torch.device, in_bfloat16: bool
) -> Float[Tensor, "k d"]:
    """The regions of a batch's images, as float32."""
    with autocast(device, in_bfloat16):
        return model(batch.normalised(device), batch.visible.to(device)).regions.float()


def autocast(device: torch.device, in_bfloat16: bool) -> Any:
    """A context in which products are computed in bfloat16, or one that does nothing."""
    return torch.autocast(device.type, torch.bfloat16) if in_bfloat16 else nullcontext()


def _exchanging(learner: Learner, is_last: bool) -> Any:
    """A context in which ranks exchange gradients, but only in the last pass."""
    if isinstance(learner.model, DistributedDataParallel) and not is_last:
        return learner.model.no_sync()
    if learner.is_sharded:
        learner.transformer.set_requires_gradient_sync(is_last)  # type: ignore[operator]
    return nullcontext()
