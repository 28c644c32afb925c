"""The options that both loops have: where and how a run is carried out, beside its recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from regiontok.system.devices import device_kind, resolve_device

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where and how a run is carried out; what is learned is the recipe's matter.

    Attributes:
        per_device: samples of one pass on one device; 0 leaves the number to the loop.
        save_every: steps between checkpoints.
        keep: checkpoints that stay.
        workers: processes that load data, for each process that trains; None leaves the number to
            the loop.
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        shard: the weights are divided among the devices (FSDP2) instead of being whole on each.
        cache: folder for files that several runs can share; "" takes the loop's default.
        stop_after: steps of this call, after which a checkpoint is written; None runs to the end.

    Raises:
        ValueError: If a number is out of its range, or the device is none of the three.
    """

    per_device: int = 0
    save_every: int = 500
    keep: int = 2
    workers: int | None = None
    device: str = "auto"
    shard: bool = False
    cache: str = ""
    stop_after: int | None = None

    def __post_init__(self) -> None:
        self._require_at_least(0, "per_device", "workers")
        self._require_at_least(1, "save_every", "keep", "stop_after")
        if device_kind(self.device) not in DEVICES or ":" in self.device:
            raise ValueError(
                f"a run takes device 'auto', 'cpu' or 'cuda', not {self.device!r}; one GPU of "
                "several is chosen by CUDA_VISIBLE_DEVICES=1, and several by the launcher"
            )

    @property
    def decisive(self) -> dict[str, Any]:
        """The options that decide what is learned: a resumed run must have the same ones."""
        return {}

    def check_device(self) -> None:
        """Raise if the device is not there.

        Raises:
            NoDevice: If a GPU is asked for by name and torch finds none.
        """
        resolve_device(self.device)

    def _require_at_least(self, least: int, *names: str) -> None:
        for name in names:
            number = getattr(self, name)
            if number is not None and number < least:
                expected = "0 or more" if least == 0 else f"at least {least}"
                raise ValueError(f"{name} is {expected}, not {number}")
