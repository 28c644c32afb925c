"""How a probe's weights are moved: AdamW or SGD in groups, with clipped gradients.

After: Loshchilov and Hutter 2019 (AdamW); detectron2's SGD with momentum.
Differs: nothing known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from regiontok.probe.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """The optimiser of a probe, its schedule and its batches.

    Attributes:
        schedule: the learning rate of each step, as a share of `rate`.
        rate: the highest learning rate.
        kind: "adamw", or "sgd" with `momentum`.
        betas: of AdamW.
        momentum: of SGD.
        decay: weight decay; with AdamW it is decoupled from the gradient.
        decay_vectors: whether norms and biases, all parameters of one axis, decay, too.
        factors: (prefix, factor) by which parameters whose name begins so learn at another rate;
            the first prefix that fits counts.
        clip: largest norm of all gradients together; 0 does not clip.
        batches: batches whose mean gradient makes a step; several processes share them.
        bfloat16: whether losses are computed under autocast to bfloat16.
        seed: seed of everything that is drawn at a step.

    Raises:
        ValueError: If a number is out of its range.
    """

    schedule: Schedule
    rate: float
    kind: Literal["adamw", "sgd"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.9
    decay: float = 0.0
    decay_vectors: bool = False
    factors: tuple[tuple[str, float], ...] = ()
    clip: float = 0.0
    batches: int = 1
    bfloat16: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rate <= 0 or self.decay < 0 or self.clip < 0:
            raise ValueError(
                f"expected rate > 0, decay >= 0 and clip >= 0, got rate={self.rate}, "
                f"decay={self.decay}, clip={self.clip}"
            )
        if self.batches < 1:
            raise ValueError(f"a step has at least one batch, not {self.batches}")

    def optimizer(self, module: nn.Module) -> Optimizer:
        """The optimiser of all parameters of a module that require a gradient.

        Each of its groups has, beside the rate, the `factor` that `set_rate` multiplies with.

        Raises:
            ValueError: If no parameter requires a gradient.
        """
        grouped: dict[tuple[float, float], list[Tensor]] = {}
        for name, parameter in learning(module).items():
            factor = next((f for prefix, f in self.factors if name.startswith(prefix)), 1.0)
            decays = parameter.ndim > 1 or self.decay_vectors
            grouped.setdefault((factor, self.decay if decays else 0.0), []).append(parameter)
        if not grouped:
            raise ValueError("no parameter of the probe requires a gradient: nothing can learn")
        groups = [
            {"params": parameters, "weight_decay": decay, "factor": factor}
            for (factor, decay), parameters in grouped.items()
        ]
        if self.kind == "sgd":
            return torch.optim.SGD(groups, lr=self.rate, momentum=self.momentum)
        return torch.optim.AdamW(groups, lr=self.rate, betas=self.betas)

    def set_rate(self, optimizer: Optimizer, step: int) -> float:
        """Give every group the learning rate of a step; returns that of factor 1."""
        rate = self.rate * self.schedule.share(step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        return rate


def learning(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that require a gradient, by name, in the module's order."""
    return {name: value for name, value in module.named_parameters() if value.requires_grad}


def learned_state(module: nn.Module) -> dict[str, Tensor]:
    """What a checkpoint holds of a module: parameters that learn, and persistent buffers."""
    frozen = {name for name, value in module.named_parameters() if not value.requires_grad}
    return {name: value for name, value in module.state_dict().items() if name not in frozen}


def optimizer_state(optimizer: Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """The optimiser's tensors as "parameter's name|tensor's name"."""
    names = {value: name for name, value in learning(module).items()}
    states: dict[Any, dict[str, Any]] = optimizer.state
    return {
        f"{names[parameter]}|{key}": value
        for parameter, state in states.items()
        for key, value in state.items()
        if isinstance(value, Tensor)
    }


def load_optimizer_state(
    optimizer: Optimizer, module: nn.Module, tensors: Mapping[str, Tensor]
) -> None:
    """Give an optimiser what `optimizer_state` gave of another one of the same parameters.

    Raises:
        ValueError: If a name is not that of a parameter which learns.
    """
    numbers = _numbers(optimizer, module)
    state: dict[int, dict[str, Any]] = {}
    for full_name, value in tensors.items():
        name, _, key = full_name.rpartition("|")
        if name not in numbers:
            raise ValueError(f"the optimiser's state is of {name!r}, which does not learn here")
        state.setdefault(numbers[name], {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _numbers(optimizer: Optimizer, module: nn.Module) -> dict[str, int]:
    """The number of each parameter in an optimiser's state, by name."""
    names = {value: name for name, value in learning(module).items()}
    parameters = (value for group in optimizer.param_groups for value in group["params"])
    return {names[value]: number for number, value in enumerate(parameters)}
