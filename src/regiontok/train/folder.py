"""What training adds to a run's folder: checkpoints and a saved model for each stage.

::

    1_NAME/                             the saved model of a stage, once it is whole
    .checkpoints/1_NAME/checkpoint-N    after N steps of a stage, while it runs
    .measured/                          lengths of records, and records that others stand in for
    metrics.json                        the metrics of each finished stage
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regiontok.runs.checkpoints import CheckpointFolder
from regiontok.runs.folder import RunFolder


class TrainFolder(RunFolder):
    """The folder of one training run; stages are counted from 0."""

    @property
    def measured(self) -> Path:
        """The folder of what was measured of the records."""
        return self.path / ".measured"

    def stage_model(self, index: int, name: str) -> Path:
        """The folder of a finished stage's model."""
        return self.path / f"{index + 1}_{name}"

    def checkpoints(self, index: int, name: str, *, keep: int = 2) -> CheckpointFolder:
        """The checkpoints of a running stage."""
        path = self.path / ".checkpoints" / f"{index + 1}_{name}"
        return CheckpointFolder(path, "checkpoint", keep)

    def has_progress(self) -> bool:
        """True if a stage is done, or a step of one has been taken."""
        saved = ("[0-9]*_*/config.json", ".checkpoints/*/checkpoint-*")
        return any(any(self.path.glob(name)) for name in saved) or super().has_progress()

    def rewind_to(self, index: int, step: int) -> None:
        """Drop what was logged of a stage after a checkpoint of it; after none, all of the stage.

        Args:
            index: the stage.
            step: steps of the stage that the checkpoint holds.
        """

        def keep(entry: dict[str, Any]) -> bool:
            if entry["stage"] == index + 1:
                return bool(step) and entry["step"] <= step
            return entry["stage"] <= index

        self.rewind(keep)

    def add_metrics(self, stage: str, metrics: Mapping[str, Any]) -> None:
        """Add the metrics of a finished stage to `metrics.json`."""
        self.write_json("metrics.json", self.read_json("metrics.json", {}) | {stage: metrics})
