"""Trackers that show a run's curves, beside its own log: TensorBoard, trackio, wandb."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from regiontok.system.choices import nearest
from regiontok.system.need import need

TRACKERS = {"tensorboard": "tensorboard", "trackio": "trackio", "wandb": "wandb"}


def check_tracker(name: str) -> None:
    """Raise now, and not after the first step, if a tracker cannot be had; "" is no tracker.

    Raises:
        ValueError: If the name is unknown.
        MissingPackage: If the tracker's package is not installed.
    """
    if name and name not in TRACKERS:
        raise ValueError(
            f"unknown tracker {name!r}{nearest(name, TRACKERS)}; "
            f"known: {', '.join(TRACKERS)}, or none"
        )
    if name:
        need(TRACKERS[name], extra="log" if name == "tensorboard" else name)


def tensorboard_writer(run: Path, curve: str) -> Any:
    """TensorBoard's writer for one curve, whose files lie in the run's folder.

    Args:
        run: the run's folder.
        curve: name of the curve, the folder of its files.
    """
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(log_dir=str(run / "tensorboard" / curve))
