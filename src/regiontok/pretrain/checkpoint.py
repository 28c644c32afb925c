"""Checkpoints of all ranks: written beside training, loaded on any number of ranks.

After: torch.distributed.checkpoint.
Differs: a checkpoint is whole or absent (see `regiontok.runs.checkpoints`); shapes that must fit
are in a JSON file beside the tensors and are compared before anything is loaded.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter

from regiontok.pretrain.ranks import Ranks
from regiontok.runs.checkpoints import CheckpointFolder
from regiontok.system.errors import RegiontokError

SHAPES = "about.json"


class OtherCheckpoint(RegiontokError, ValueError):
    """A checkpoint of other classes, or of another encoder."""


class Checkpoints:
    """Writes and loads the checkpoints of a run.

    Args:
        folder: where they lie.
        ranks: the processes of the run.
        shapes: what must fit for a checkpoint to be loaded, by name.
    """

    def __init__(self, folder: CheckpointFolder, ranks: Ranks, shapes: dict[str, Any]) -> None:
        self.folder, self.ranks, self.shapes = folder, ranks, shapes
        self._running: tuple[Future, Path, int] | None = None

    def save(self, step: int, state: dict[str, Tensor], *, wait: bool = False) -> None:
        """Copy the state and write it beside training.

        Args:
            step: steps that were taken.
            state: the tensors by name.
            wait: return only when the checkpoint is there.
        """
        self.finish()
        staged = self.folder.staging / f"step-{step}"
        if self.ranks.is_first:
            self.folder.clear_staging()
            staged.mkdir(parents=True)
            text = json.dumps(self.shapes, indent=1, sort_keys=True) + "\n"
            (staged / SHAPES).write_text(text, encoding="utf-8")
        self.ranks.wait()
        future = dcp.async_save(
            state,
            storage_writer=FileSystemWriter(staged, overwrite=True),
            process_group=self.ranks.checkpoint_group,
            no_dist=self.ranks.mesh is None,
        )
        assert isinstance(future, Future)
        self._running = (future, staged, step)
        if wait:
            self.finish()

    def poll(self) -> None:
        """Publish the checkpoint that is being written, if it is done by now."""
        if self._running and self._running[0].done():
            self.finish()

    def finish(self) -> None:
        """Wait for the checkpoint that is being written, if any, and publish it."""
        if self._running is None:
            return
        (future, staged, step), self._running = self._running, None
        # all ranks have written when the first one's is done: it writes the metadata last
        future.result()
        if self.ranks.is_first:
            self.folder.publish(staged, step)

    def load_last(self, state: dict[str, Tensor]) -> int:
        """Write the last checkpoint's values into tensors.

        Args:
            state: the tensors by name.

        Returns:
            Steps that were taken before the checkpoint; 0 if there is none.

        Raises:
            OtherCheckpoint: If the checkpoint is of another K, or of another encoder.
        """
        by_step = self.folder.by_step()
        if not by_step:
            return 0
        step, path = max(by_step.items())
        check_shapes(path, self.shapes)
        dcp.load(
            state,
            storage_reader=FileSystemReader(path),
            process_group=self.ranks.checkpoint_group,
            no_dist=self.ranks.mesh is None,
        )
        return step


def check_shapes(path: Path, shapes: dict[str, Any]) -> None:
    """Raise unless a checkpoint has these shapes.

    Raises:
        OtherCheckpoint: If the checkpoint has other shapes, or does not say which it has.
    """
    try:
        saved = json.loads((path / SHAPES).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OtherCheckpoint(f"{path} is no checkpoint of a pretraining run: {error}") from None
    for key in sorted({*saved, *shapes}):
        if saved.get(key) != shapes.get(key):
            raise OtherCheckpoint(
                f"{path} is of {key} = {saved.get(key)}, this run of {key} = {shapes.get(key)}: "
                "its centres and weights do not fit. "
                "Take the recipe it was made with, or another --out"
            )


@contextmanager
def without_group_warnings() -> Iterator[None]:
    """Silence torch's warning about writing without a process group, around a whole run.

    One process writes so on purpose, and torch warns of it each time, in a thread of its own.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield
