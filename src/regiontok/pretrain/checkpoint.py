"""Checkpoints of all ranks: written beside training, loaded on any number of ranks.

After: torch.distributed.checkpoint.
Differs: a checkpoint is whole or absent (see `regiontok.runs.checkpoints`), and nothing of it is
pickled (see `regiontok.pretrain.state_files`); shapes that must fit are in a JSON file beside the
tensors and are compared before anything is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import Tensor

from regiontok.pretrain.ranks import Ranks
from regiontok.pretrain.state_files import OtherCheckpoint, local_share, read_state, write_share
from regiontok.runs.checkpoints import CheckpointFolder
from regiontok.runs.errors import RunStopped
from regiontok.system.strict_json import parse_json
from regiontok.system.writing import clear_write_errors

SHAPES = "about.json"
CLASSES_OF = "classes of "  # the key of a head's number of classes begins so


class Checkpoints:
    """Writes and loads the checkpoints of a run.

    Args:
        folder: where they lie.
        ranks: the processes of the run.
        shapes: what must fit for a checkpoint to be loaded, by name.
    """

    def __init__(self, folder: CheckpointFolder, ranks: Ranks, shapes: dict[str, Any]) -> None:
        self.folder, self.ranks, self.shapes = folder, ranks, shapes
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._running: tuple[Future[None], Path, int] | None = None

    def save(self, step: int, state: dict[str, Tensor], *, wait: bool = False) -> None:
        """Copy the state and write it beside training.

        Args:
            step: steps that were taken.
            state: the tensors by name.
            wait: return only when the checkpoint is there.

        Raises:
            RunStopped: If the checkpoint before could not be written, or this one under `wait`.
        """
        self.finish()
        staged = self.folder.staging / f"step-{step}"
        share = local_share(state, is_first=self.ranks.is_first)
        self._running = self._writer.submit(self._write, staged, share), staged, step
        if wait:
            self.finish()

    def poll(self) -> None:
        """Publish the checkpoint that is being written, if it is done by now."""
        if self._running and self._running[0].done():
            self.finish()

    def finish(self) -> None:
        """Wait for the checkpoint that is being written, if any, and publish it.

        Raises:
            RunStopped: If some rank could not write it; the checkpoints before it stay.
        """
        if self._running is None:
            return
        (future, staged, step), self._running = self._running, None
        try:
            future.result()
            if self.ranks.is_first:
                with clear_write_errors(staged):
                    self.folder.publish(staged, step)
        except OSError as error:
            if self.ranks.is_first:
                self.folder.clear_staging()
            raise RunStopped(
                f"the checkpoint of step {step} is not saved: {error}; {self.folder.last_good()}. "
                "Go on with --resume"
            ) from error

    def _write(self, staged: Path, share: dict[str, tuple[Tensor, int]]) -> None:
        """Write this rank's share, in a thread; returns when all ranks have written theirs.

        Raises:
            OSError: If this rank, or another one, could not write.
        """
        failure: Exception | None = None
        try:
            if self.ranks.is_first:
                self.folder.clear_staging()
                with clear_write_errors(staged):
                    staged.mkdir(parents=True)
                    text = json.dumps(self.shapes, indent=1, sort_keys=True) + "\n"
                    (staged / SHAPES).write_text(text, encoding="utf-8")
        except OSError as error:
            failure = error
        if self.ranks.all_written(failure is None):
            try:
                write_share(staged, self.ranks.rank, share)
            except OSError as error:
                failure = error
            if self.ranks.all_written(failure is None):
                return
        raise failure or OSError("another process could not write its share of it")

    def load_last(self, state: dict[str, Tensor]) -> tuple[int, frozenset[str]]:
        """Write the last checkpoint's values into tensors.

        A head that the checkpoint does not have stays as it is, and one that this run does not have
        is passed over.

        Args:
            state: the tensors by name.

        Returns:
            Steps that were taken before the checkpoint, the same in all processes, and the names of
            the heads that it has; 0 and none if there is no checkpoint.

        Raises:
            RunStopped: If this process does not see the checkpoint that the first one goes on from.
            OtherCheckpoint: If the checkpoint is of another K, or of another encoder.
        """
        step = int(self.ranks.from_first(lambda: str(max(self.folder.by_step(), default=0))))
        if not step:
            return 0, frozenset()
        path = self.folder.by_step().get(step)
        if path is None:
            raise RunStopped(
                f"process {self.ranks.rank} does not see the checkpoint of step {step}, which the "
                f"first one goes on from: all machines need the same folder at "
                f"{self.folder.path}"
            )
        saved, configured = heads_of(check_shapes(path, self.shapes)), heads_of(self.shapes)
        new, gone = (
            tuple(map(head_prefixes, heads)) for heads in (configured - saved, saved - configured)
        )
        state = {name: value for name, value in state.items() if not is_of(name, new)}
        read_state(path, state, passed_over=lambda name: is_of(name, gone))
        return step, saved


def heads_of(shapes: Mapping[str, Any]) -> frozenset[str]:
    """The names of the heads whose classes stand in a checkpoint's shapes."""
    return frozenset(key.removeprefix(CLASSES_OF) for key in shapes if key.startswith(CLASSES_OF))


def head_prefixes(name: str) -> tuple[str, str]:
    """With what the names of a head's tensors begin: its centres, and their moments."""
    return f"centres.{name}", f"rows.{name}."


def is_of(tensor: str, heads: Sequence[tuple[str, str]]) -> bool:
    """Whether a tensor belongs to one of the heads of these prefixes."""
    return any(tensor == centres or tensor.startswith(rows) for centres, rows in heads)


def read_shapes(path: Path) -> dict[str, Any]:
    """The shapes of a checkpoint.

    Raises:
        OtherCheckpoint: If it does not say which it has.
    """
    try:
        saved = parse_json((path / SHAPES).read_text(encoding="utf-8"))
        return dict(saved)
    except (OSError, ValueError, TypeError) as error:
        raise OtherCheckpoint(f"{path} is no checkpoint of a pretraining run: {error}") from None


def check_shapes(path: Path, shapes: Mapping[str, Any]) -> dict[str, Any]:
    """The shapes of a checkpoint, which must be these.

    A head may be new or gone, fields that a later version added are not compared, and the size of
    the pictures is no shape of the weights.

    Raises:
        OtherCheckpoint: If the checkpoint has other shapes, or does not say which it has.
    """
    saved = read_shapes(path)
    for key in sorted(saved.keys() & shapes.keys()):
        old, new = _compared(saved[key], shapes[key]), _compared(shapes[key], saved[key])
        if old != new:
            raise OtherCheckpoint(
                f"{path} is of {key} = {old}, this run of {key} = {new}: "
                "its centres and weights do not fit. "
                "Take the recipe it was made with, or another --out"
            )
    return saved


def _compared(shape: Any, other: Any) -> Any:
    """What is compared of a shape: of a table the fields that the other one has, too."""
    if not isinstance(shape, Mapping) or not isinstance(other, Mapping):
        return shape
    return {name: value for name, value in shape.items() if name in other and name != "image_size"}
