"""A running average of what learns, which takes the place of the last weights at a stage's end.

After: Polyak and Juditsky 1992; Izmailov et al. 2018, arXiv:1803.05407; as an exponential average.
Differs: nothing known.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerCallback

AVERAGE = "average.safetensors"


class WeightAverage(TrainerCallback):
    """After each step the average becomes `decay * average + (1 - decay) * weights`.

    Until there are enough steps it is their plain mean, so that the first weights weigh no more
    than others.

    Args:
        model: a model whose trainable parts are set; its weights are not copied but once.
        decay: share of the average that stays at a step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._weights = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        self._average = {name: value.detach().clone() for name, value in self._weights.items()}

    @torch.no_grad()
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take the weights of a step in."""
        share = max(1 - self.decay, 1 / max(state.global_step, 1))
        torch._foreach_lerp_(list(self._average.values()), self._values(), share)

    @torch.no_grad()
    def apply(self) -> None:
        """Give the model its averaged weights."""
        torch._foreach_copy_(self._values(), list(self._average.values()))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has its averaged weights inside the block, and those that it came with after.

        What is measured of them in the middle of a stage is then what the stage would leave behind.
        """
        weights = [value.clone() for value in self._values()]
        self.apply()
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self._values(), weights)

    def save(self, folder: Path) -> None:
        """Write the average into a checkpoint."""
        save_file(
            {name: value.contiguous() for name, value in self._average.items()}, folder / AVERAGE
        )

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        """Read the average of a checkpoint.

        Raises:
            ValueError: If it is of other weights.
        """
        saved: dict[str, Tensor] = load_file(folder / AVERAGE)
        if saved.keys() != self._average.keys():
            raise ValueError(f"{folder / AVERAGE} holds other weights than this stage trains")
        for name, value in self._average.items():
            value.copy_(saved[name])

    def _values(self) -> list[Tensor]:
        return [value.data for value in self._weights.values()]
