"""Where a recipe's class centres start: at centroids of a file, or at the centres of another run.

After: RICE, section 3.1 (rows R1, R2: classes are clusters of region features); that centres may
start at the centroids is this project's.
Differs: centroids are unit vectors without their mean (`rice.initial_centres.centred`); those of
the encoder's own width go through the projection of region rows first, as region rows do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn import functional as F

from regiontok.pretrain.build import Learner, recipe_heads
from regiontok.pretrain.checkpoint import CLASSES_OF, read_shapes
from regiontok.pretrain.state_files import read_state
from regiontok.rice.class_head import ClassHead
from regiontok.runs.checkpoints import damage_of
from regiontok.settings.pretrain_recipe import Pretrain
from regiontok.system.errors import RegiontokError, first_line

CHUNK = 8192  # centroids that are read at once
SHORTEST = 1e-6  # of a unit centroid without the mean: shorter is nothing but rounding


class OtherCentres(RegiontokError, ValueError):
    """Centroids or centres that do not fit the head that was to start at them."""


def start_centres(table: Pretrain, learner: Learner, *, without: Collection[str]) -> list[str]:
    """Let the heads that name `centres` start at them; every rank reads its own rows.

    Args:
        table: the `[pretrain]` table of the recipe.
        learner: all that learns.
        without: the heads that were loaded from a checkpoint of this run, which stay as they are.

    Returns:
        What was done, for the log.

    Raises:
        OtherCentres: If a file cannot be read, or is of another number of classes or another width.
    """
    notes = []
    for name, settings in recipe_heads(table).items():
        if not settings.centres or name in without:
            continue
        path, head = Path(settings.centres), learner.centres.head(name)
        if path.is_dir():
            _start_at_checkpoint(path, head, learner)
        else:
            _start_at_centroids(path, head, learner)
        notes.append(f"the centres of {name} start at {path}")
    return notes


def _start_at_checkpoint(path: Path, head: ClassHead, learner: Learner) -> None:
    classes = read_shapes(path).get(f"{CLASSES_OF}{head.name}")
    if classes != head.classes:
        raise OtherCentres(
            f"{path} has {classes or 'no'} classes of {head.name}, the recipe has {head.classes}"
        )
    if damage := damage_of(path):
        raise OtherCentres(f"{path} is no whole checkpoint: {damage}")
    key = f"centres.{head.name}"
    rows = learner.centres.centres[head.name].detach()
    read_state(path, {key: rows}, passed_over=lambda name: name != key)


def _start_at_centroids(path: Path, head: ClassHead, learner: Learner) -> None:
    """Two passes over the file, a chunk at a time: the mean of all rows, and this rank's rows."""
    centroids = _opened(path)
    width = learner.centres.width
    projection = _projection(learner)
    widths = [width] if projection is None else [width, len(projection)]
    if centroids.ndim != 2 or len(centroids) != head.classes or centroids.shape[1] not in widths:
        raise OtherCentres(
            f"{path} holds centroids of shape {list(centroids.shape)}, the head {head.name} starts "
            f"at [{head.classes} {' or '.join(map(str, widths))}]: the width of the centres"
            f"{', or that of the encoder in front of its projection' * (len(widths) > 1)}"
        )
    through = None if centroids.shape[1] == width else projection
    mean = torch.zeros(width, dtype=torch.float64)
    for _, rows in _unit_rows(centroids, range(head.classes), through):
        mean += rows.sum(0)
    mean /= head.classes
    start, stop = learner.centres.span(head.name)
    local = learner.centres.local(head.name)
    for first, rows in _unit_rows(centroids, range(start, stop), through):
        moved = rows - mean
        lengths = moved.norm(dim=1, keepdim=True)
        bad = (~(lengths[:, 0] > SHORTEST)).nonzero()
        if len(bad):
            raise OtherCentres(
                f"{path}: centroid {first + int(bad[0])} is not finite, or equal to the mean"
            )
        local[first - start : first - start + len(rows)] = (moved / lengths).to(local)


def _unit_rows(
    centroids: np.ndarray, numbers: range, through: Tensor | None
) -> Iterator[tuple[int, Tensor]]:
    """Chunks of unit centroids in float64, behind the projection, and each one's first number."""
    for first in range(numbers.start, numbers.stop, CHUNK):
        chunk = np.array(centroids[first : min(first + CHUNK, numbers.stop)])
        rows = torch.from_numpy(chunk).double()
        yield first, F.normalize(rows if through is None else rows @ through, dim=1)


def _opened(path: Path) -> np.ndarray:
    """The array of a file, which is read where it is asked for."""
    try:
        centroids = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise OtherCentres(
            f"{path}: expected a .npy of centroids or a folder RUN/checkpoints/step-N "
            f"({first_line(error)})"
        ) from None
    if not isinstance(centroids, np.ndarray) or centroids.dtype.kind != "f":
        raise OtherCentres(f"{path}: expected one array of floating numbers in a .npy")
    return centroids


def _projection(learner: Learner) -> Tensor | None:
    """The projection of region rows, whole, in float64 on the CPU; a collective where divided."""
    projection = learner.transformer.projection
    if projection is None:
        return None
    whole = projection.full_tensor() if isinstance(projection, DTensor) else projection
    return whole.detach().cpu().double()
