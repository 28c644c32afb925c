"""Checkpoints of all ranks: written beside training, whole or absent, loaded on any number of
ranks.

After: torch.distributed.checkpoint.
Differs: written under another name and renamed when every rank is done and the bytes are on disk;
only the last ones stay; what the checkpoint is of stands in a JSON file and is compared before
anything is loaded.
"""

from __future__ import annotations

import json
import os
import re
import shutil
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
from regiontok.system.errors import RegiontokError

ABOUT = "about.json"


class OtherCheckpoint(RegiontokError, ValueError):
    """A checkpoint of other classes, or of another encoder."""


class Checkpoints:
    """The checkpoints of a run, `step-N` each, N steps done.

    Args:
        folder: theirs.
        ranks: of the run.
        about: what every checkpoint is of: shapes that must fit.
        keep: how many stay.
    """

    def __init__(self, folder: Path, ranks: Ranks, about: dict[str, Any], keep: int = 2) -> None:
        self.folder, self.ranks, self.about, self.keep = folder, ranks, about, keep
        self._running: tuple[Future, Path, int] | None = None

    def save(self, step: int, state: dict[str, Tensor], *, wait: bool = False) -> None:
        """Copy the state and write it beside training; `wait` for it to be there."""
        self.finish()
        part = self.folder / f".writing-{step}"
        if self.ranks.first:
            for left in self.folder.glob(".writing-*"):  # of a run that was killed
                shutil.rmtree(left)
            part.mkdir(parents=True)
            (part / ABOUT).write_text(
                json.dumps(self.about, indent=1, sort_keys=True) + "\n", encoding="utf-8"
            )
        self.ranks.wait()
        alone = self.ranks.mesh is None
        writer = FileSystemWriter(part, overwrite=True)
        found = dcp.async_save(
            state, storage_writer=writer, process_group=self.ranks.saving, no_dist=alone
        )
        assert isinstance(found, Future)
        self._running = (found, part, step)
        if wait:
            self.finish()

    def poll(self) -> None:
        """Give a checkpoint its name if it has been written meanwhile."""
        if self._running and self._running[0].done():
            self.finish()

    def finish(self) -> None:
        """Wait for the one that is being written, if any, and give it its name."""
        if self._running is None:
            return
        (future, part, step), self._running = self._running, None
        # all ranks have written when the first one's is done: it writes the metadata last
        future.result()
        if self.ranks.first:
            self._publish(part, step)

    def _publish(self, part: Path, step: int) -> None:
        target = self.folder / f"step-{step}"
        if target.exists():
            shutil.rmtree(target)
        part.rename(target)
        handle = os.open(self.folder, os.O_RDONLY)
        os.fsync(handle)  # the files themselves were synced by FileSystemWriter
        os.close(handle)
        for path in list(self.found().values())[: -self.keep]:
            gone = path.with_name(f".writing-{path.name}")  # half removed is no checkpoint either
            path.rename(gone)
            shutil.rmtree(gone)

    def found(self) -> dict[int, Path]:
        """Steps -> whole checkpoints, in order."""
        named = (
            (re.fullmatch(r"step-(\d+)", path.name), path) for path in self.folder.glob("step-*")
        )
        return dict(sorted((int(match[1]), path) for match, path in named if match))

    def load(self, path: Path, state: dict[str, Tensor]) -> None:
        """Write a checkpoint's values into the tensors of `state`.

        Raises:
            OtherCheckpoint: of another K, or of another encoder.
        """
        compare(path, self.about)
        alone = self.ranks.mesh is None
        dcp.load(
            state,
            storage_reader=FileSystemReader(path),
            process_group=self.ranks.saving,
            no_dist=alone,
        )


def compare(path: Path, about: dict[str, Any]) -> None:
    """Raise unless a checkpoint is of what `about` says.

    Raises:
        OtherCheckpoint: see there.
    """
    try:
        before = json.loads((path / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OtherCheckpoint(f"{path} is no checkpoint of a pretraining run: {error}") from None
    for key in sorted({*before, *about}):
        if before.get(key) != about.get(key):
            raise OtherCheckpoint(
                f"{path} is of {key} = {before.get(key)}, this run of {key} = {about.get(key)}: its centres and weights do not fit. "
                "Take the recipe it was made with, or another --out"
            )


@contextmanager
def quiet() -> Iterator[None]:
    """Around a whole run: one process writes without a group on purpose, and torch warns of it each
    time, in a thread of its own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield
