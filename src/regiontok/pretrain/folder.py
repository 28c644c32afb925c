"""What pretraining adds to a run's folder: checkpoints of all ranks, and the trained encoder.

::

    checkpoints/step-N    after N steps
    data/                 generated sources, unless a cache is named
    encoder/              the trained encoder, once the run is done
    curves.png            the log as a picture
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from regiontok.pretrain.going_on import resumable_changes
from regiontok.runs.checkpoints import CheckpointFolder
from regiontok.runs.folder import RunFolder
from regiontok.runs.same_recipe import Difference
from regiontok.settings.recipe import Recipe


class PretrainFolder(RunFolder):
    """The folder of one pretraining run."""

    @property
    def encoder(self) -> Path:
        """The trained encoder, for transformers and for this project."""
        return self.path / "encoder"

    def checkpoints(self, *, keep: int = 2) -> CheckpointFolder:
        """The checkpoints of the run."""
        return CheckpointFolder(self.path / "checkpoints", "step", keep)

    def allowed_changes(
        self, changes: Sequence[Difference], begun: Recipe, recipe: Recipe
    ) -> Sequence[Difference]:
        """Those that leave what was learnt and seen so far as it is; see `resumable_changes`."""
        assert begun.pretrain is not None
        if recipe.pretrain is None:
            return ()
        steps_taken = max(self.checkpoints().by_step(), default=0)
        return resumable_changes(changes, begun.pretrain, recipe.pretrain, steps_taken)

    def has_progress(self) -> bool:
        """True if a step has been taken; checkpoints are looked for before the long log."""
        return bool(self.checkpoints().by_step()) or super().has_progress()

    def rewind_to(self, step: int) -> None:
        """Drop what was logged after a checkpoint; after none, all of the log."""
        self.rewind(lambda entry: bool(step) and entry["step"] <= step)
