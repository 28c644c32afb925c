"""Trackers that show a run's curves, beside its own log: TensorBoard, trackio, wandb."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regiontok.system.choices import nearest
from regiontok.system.need import need

PROJECT = "regiontok"  # under which trackio and wandb keep the runs of pretraining
SHOWN = ("step", "eval")  # entries of the log that are curves
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


def tensorboard_writer(run: Path, curve: str, *, purge_step: int | None = None) -> Any:
    """TensorBoard's writer for one curve, whose files lie in the run's folder.

    Args:
        run: the run's folder.
        curve: name of the curve, the folder of its files.
        purge_step: a step from which on what earlier files hold does not count.
    """
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(log_dir=str(run / "tensorboard" / curve), purge_step=purge_step)


def open_tracker(name: str, run: Path, *, start: int, config: Mapping[str, Any]) -> Tracker:
    """The tracker of a run that this project logs by itself.

    Args:
        name: the tracker's name; "" is one that shows nothing.
        run: the run's folder.
        start: steps that the run has taken: what was shown of later ones is shown anew.
        config: the run's settings, which wandb and trackio keep with it.

    Raises:
        ValueError: If the name is unknown.
        MissingPackage: If the tracker's package is not installed.
    """
    check_tracker(name)
    if not name:
        return Tracker(lambda values, step: None, lambda: None)
    if name == "tensorboard":
        writer = tensorboard_writer(run, "pretrain", purge_step=start + 1 if start else None)

        def add(values: Mapping[str, float], step: int) -> None:
            for tag, value in values.items():
                writer.add_scalar(tag, value, step)

        return Tracker(add, writer.close)
    package = need(TRACKERS[name], extra=name)
    words: dict[str, Any] = {"project": PROJECT, "name": run.resolve().name, "config": dict(config)}
    if name == "wandb":  # it tells runs by an identifier, and keeps its files in a folder
        identifier = hashlib.sha256(str(run.resolve()).encode()).hexdigest()[:16]
        words |= {"id": identifier, "dir": str(run)}
    package.init(**words, resume="allow")
    return Tracker(lambda values, step: package.log(dict(values), step=step), package.finish)


@dataclass(frozen=True)
class Tracker:
    """Shows the numbers of a run's log.

    Attributes:
        add: shows numbers by their names, of a step.
        close: writes what is left, at the run's end.
    """

    add: Callable[[Mapping[str, float], int], None]
    close: Callable[[], None]

    def record(self, entry: Mapping[str, Any]) -> None:
        """Show the finite numbers of an entry of the log, as "step/loss" or "eval/knn"."""
        numbers = {
            f"{entry['kind']}/{name}": float(value)
            for name, value in entry.items()
            if name != "step" and isinstance(value, int | float) and math.isfinite(value)
        }
        if numbers and entry["kind"] in SHOWN:
            self.add(numbers, int(entry["step"]))
