"""Checkpoints of a run as folders: each is whole or absent, and only the last ones stay."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CheckpointFolder:
    """A folder of checkpoints, `PREFIX-N` each after N steps.

    Attributes:
        path: the folder that holds them.
        prefix: the first part of a checkpoint's name.
        keep: how many checkpoints stay.
    """

    path: Path
    prefix: str
    keep: int = 2

    @property
    def staging(self) -> Path:
        """Where a checkpoint is written before it is published."""
        return self.path / ".writing"

    def by_step(self) -> dict[int, Path]:
        """The checkpoints by their steps, in order; whole ones only."""
        pattern = re.compile(rf"{re.escape(self.prefix)}-(\d+)")
        matches = {path: pattern.fullmatch(path.name) for path in self.path.glob("*")}
        return dict(sorted((int(match[1]), path) for path, match in matches.items() if match))

    def last_good(self) -> str:
        """The part of an error message that says which checkpoint a run can go on from."""
        paths = list(self.by_step().values())
        if not paths:
            return "there is no checkpoint before it"
        return f"the last good checkpoint is {paths[-1]}"

    def clear_staging(self) -> None:
        """Remove what a killed run left half-written or half-removed."""
        shutil.rmtree(self.staging, ignore_errors=True)

    def publish(self, staged: Path, step: int) -> Path:
        """Give a whole checkpoint in the staging folder its name, and remove the oldest ones.

        Its files are flushed to the disk before it is renamed.

        Args:
            staged: the checkpoint's folder within `staging`.
            step: steps that were taken before it.

        Returns:
            The checkpoint's path.
        """
        for path in staged.rglob("*"):
            if path.is_file():
                _flush(path)
        target = self.path / f"{self.prefix}-{step}"
        if target.exists():
            shutil.rmtree(target)
        staged.rename(target)
        _flush(self.path)
        for path in list(self.by_step().values())[: -self.keep]:
            # removed under another name: a half-removed folder is no checkpoint either
            path.rename(self.staging / f"removed-{path.name}")
        self.clear_staging()
        return target


def _flush(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
