"""The processes of a probe's run: one, or those that `accelerate launch` or torchrun started."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from regiontok.system.need import need


@dataclass(frozen=True)
class Processes:
    """This process among those of the run.

    Attributes:
        rank: the number of this process.
        count: how many there are.
        device: the device of this process.
    """

    rank: int
    count: int
    device: torch.device

    @classmethod
    def join(cls, device: str = "auto") -> Processes:
        """Join the processes that the launcher's environment names, by `accelerate`.

        Args:
            device: "cpu", or "auto" and "cuda" for a GPU where there is one.

        Raises:
            MissingPackage: If accelerate is not installed.
        """
        state = need("accelerate", extra="probe").PartialState(cpu=device == "cpu")
        return cls(state.process_index, state.num_processes, state.device)

    @property
    def is_first(self) -> bool:
        """True in the process that does what must be done once."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.count > 1:
            need("accelerate.utils", extra="probe").wait_for_everyone()

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a tensor over all processes."""
        if self.count == 1:
            return values
        mean: Tensor = need("accelerate.utils", extra="probe").reduce(values, "mean")
        return mean

    def on_any(self, condition: bool) -> bool:
        """True in every process if the condition holds in one of them."""
        if self.count == 1:
            return condition
        return bool(self.mean(torch.tensor(float(condition), device=self.device)) > 0)

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Let every process have the mean gradient of all; a missing one counts as zero."""
        if self.count == 1:
            return
        learning = list(parameters)
        gradients = [
            torch.zeros_like(value) if value.grad is None else value.grad for value in learning
        ]
        flat = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = flat.split([value.numel() for value in learning])
        for value, part in zip(learning, parts, strict=True):
            value.grad = part.view_as(value)

    def mean_numbers(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """The mean of each number over all processes, which have the same names."""
        if self.count == 1:
            return dict(numbers)
        values = torch.tensor(list(numbers.values()), dtype=torch.float32, device=self.device)
        return dict(zip(numbers, self.mean(values).tolist(), strict=True))
