"""Adam by rows for class centres: a step touches only the rows that it sampled.

A row is a unit vector again after each of its steps.

After: RICE, section 4.1 (row R8: AdamW) for the step; that rows are lazy is this project's.
Differs: there is no weight decay on centres, and rows that a step did not sample do not move: a
dense AdamW moves them by their momentum (30 degrees in 200 steps after one real step, measured).
Bias correction counts a row's own steps.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from regiontok.rice.class_head import RowGradient
from regiontok.rice.classes import ClassCentres
from regiontok.rice.ranks import sharded, summed

if TYPE_CHECKING:
    from jaxtyping import Float, Int

ROWS = 8192  # rows stepped at once: temporary memory does not grow with the rows of a step


class RowAdam:
    """Steps the centres by `centres.gradients`, and empties them.

    Args:
        centres: the centres whose rows are stepped; each rank holds state for its own rows only.
        lr: learning rate; a schedule sets the attribute.
        betas: decay of the two moments.
        eps: added to the root of the second moment.

    Raises:
        ValueError: If the rate is negative, or a decay lies outside [0, 1).
    """

    def __init__(
        self,
        centres: ClassCentres,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        if lr < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"needs lr >= 0 and betas in [0, 1), got lr={lr}, betas={betas}")
        self.centres, self.lr, self.betas, self.eps = centres, lr, betas, eps
        self._state: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
        for head in centres.heads:
            rows = centres.local(head.name)
            steps = torch.zeros(len(rows), dtype=torch.int32, device=rows.device)
            self._state[head.name] = (torch.zeros_like(rows), torch.zeros_like(rows), steps)

    def gradient_norm(self) -> Tensor:
        """The norm of the gradients of all centres of all ranks; a collective.

        It is a norm of its own, since a trunk's norm is of another kind and size.
        """
        device = self.centres.local(self.centres.heads[0].name).device
        total = torch.zeros((), dtype=torch.float64, device=device)
        for gradient in self.centres.gradients.values():
            total += gradient.values.norm().double().square()
        return summed(total, self.centres.mesh).sqrt()

    def clip(self, norm: float) -> Tensor:
        """Scale the centres' gradients down to a norm at most; returns their norm before.

        It is a collective.

        Raises:
            ValueError: If the norm is not above 0.
        """
        if not norm > 0:
            raise ValueError(f"clips to a norm above 0, got {norm}")
        unclipped = self.gradient_norm()
        factor = (norm / (unclipped + 1e-6)).clamp(max=1.0)
        for gradient in self.centres.gradients.values():
            gradient.values.mul_(factor.to(gradient.values.dtype))
        return unclipped

    @torch.no_grad()
    def step(self) -> None:
        """Step the rows that have a gradient; no rank waits for another."""
        for name, gradient in self.centres.gradients.items():
            for begin in range(0, len(gradient.rows), ROWS):
                chunk = slice(begin, begin + ROWS)
                self._step(name, RowGradient(gradient.rows[chunk], gradient.values[chunk]))
        self.zero_grad()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.centres.gradients.clear()

    def _step(self, name: str, gradient: RowGradient) -> None:
        mean, square, steps = self._state[name]
        rows, centres = gradient.rows, self.centres.local(name)
        steps[rows] += 1
        count = steps[rows, None].to(mean.dtype)
        first = mean[rows].lerp_(gradient.values, 1 - self.betas[0])
        second = square[rows].lerp_(gradient.values.square(), 1 - self.betas[1])
        mean[rows], square[rows] = first, second
        corrections = [
            1 - torch.exp(count * math.log(beta)) if beta else torch.ones_like(count)
            for beta in self.betas
        ]
        first.div_(corrections[0]).div_(second.div_(corrections[1]).sqrt_().add_(self.eps))
        centres[rows] = F.normalize(centres[rows] - self.lr * first, dim=1)

    def usage(self, name: str) -> Tensor:
        """The share of a head's centres that some step has sampled; a collective."""
        used = (self._state[name][2] > 0).sum().double()
        return summed(used, self.centres.mesh) / self.centres.head(name).classes

    def state_dict(self) -> dict[str, Float[Tensor, "K d"] | Int[Tensor, "K"]]:
        """The moments and steps of every head, as DTensors where there is a mesh.

        They share memory with the state, so that copying into them is all that loading needs.
        """
        return {
            f"{head.name}.{kind}": sharded(value, head.classes, self.centres.mesh)
            for head in self.centres.heads
            for kind, value in zip(("mean", "square", "steps"), self._state[head.name], strict=True)
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over a state of as many ranks.

        Raises:
            ValueError: If heads or shapes are others, as in a state of another K.
        """
        current = self.state_dict()
        shapes = {(key, tuple(value.shape)) for key, value in current.items()}
        other_shapes = {(key, tuple(value.shape)) for key, value in state.items()}
        if shapes != other_shapes:
            different = sorted(shapes ^ other_shapes)
            raise ValueError(f"the state is of other centres; these differ: {different}")
        for key, value in current.items():
            value.copy_(state[key])
