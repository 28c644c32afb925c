"""Where and how a probe's run is carried out; what is learned is the probe's own matter."""

from __future__ import annotations

from dataclasses import dataclass

from regiontok.system.devices import resolve_device


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """Options that do not decide the result.

    Attributes:
        save_every: steps between checkpoints.
        keep: checkpoints that stay.
        workers: threads that read batches ahead; 0 reads each when it is wanted.
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        cache: folder of frozen features that several runs can share; "" keeps none.
        stop_after: steps of this call, after which a checkpoint is written; None runs to the end.
        tracker: "tensorboard", "trackio" or "wandb" beside the log; "" is none.

    Raises:
        ValueError: If a number is out of its range.
        NoDevice: If the device is not in this machine.
    """

    save_every: int = 500
    keep: int = 2
    workers: int = 0
    device: str = "auto"
    cache: str = ""
    stop_after: int | None = None
    tracker: str = ""

    def __post_init__(self) -> None:
        for name, least in (("save_every", 1), ("keep", 1), ("workers", 0), ("stop_after", 1)):
            number = getattr(self, name)
            if number is not None and number < least:
                raise ValueError(f"{name} is at least {least}, not {number}")
        resolve_device(self.device)
