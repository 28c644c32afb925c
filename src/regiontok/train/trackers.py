"""Trackers by name, beside the run's own log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from regiontok.system.choices import nearest
from regiontok.system.need import need

TRACKERS = {"tensorboard": "tensorboard", "trackio": "trackio", "wandb": "wandb"}


def check(name: str) -> None:
    """Say now, not after the first step, that a tracker cannot be had.

    Raises:
        ValueError: an unknown name.
        MissingPackage: its package is not installed.
    """
    if name and name not in TRACKERS:
        raise ValueError(
            f"unknown tracker {name!r}{nearest(name, TRACKERS)}; known: {', '.join(TRACKERS)}, or none"
        )
    if name:
        need(TRACKERS[name], extra="log" if name == "tensorboard" else name)


def trackers(name: str, folder: Path, stage: str) -> list[Any]:
    """Trainer's callbacks of a tracker whose place is ours to choose: TensorBoard's files lie in
    the run's folder."""
    check(name)
    if name != "tensorboard":
        return []
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    return [TensorBoardCallback(SummaryWriter(log_dir=str(folder / "tensorboard" / stage)))]
