"""The tensors of a run in one safetensors file a rank; any number of ranks reads them.

A tensor that is divided among ranks by its rows (a DTensor) lies in the files of all ranks, each
with the number of its first row; every other one is the same on all ranks and lies in the first
rank's file. Nothing is pickled.

After: torch.distributed.checkpoint.
Differs: that library pickles its index, and so runs the code of whoever writes the folder. Here
each file's own header is the index, as JSON.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from regiontok.system.errors import RegiontokError, first_line
from regiontok.system.strict_json import parse_json
from regiontok.system.writing import clear_write_errors

PATTERN = "rank-*.safetensors"


class OtherCheckpoint(RegiontokError, ValueError):
    """A checkpoint of other classes, of another encoder, or of another version."""


def local_share(state: Mapping[str, Tensor], *, is_first: bool) -> dict[str, tuple[Tensor, int]]:
    """Copies of what this rank writes, by name: the values on the CPU, and their first row.

    Args:
        state: the tensors by name.
        is_first: whether this is the first rank, which also writes what all ranks have.
    """
    share = {}
    for name, value in state.items():
        local, first_row = _local_rows(value)
        if is_first or _is_divided(value):
            share[name] = local.detach().to("cpu", copy=True).contiguous(), first_row
    return share


def write_share(folder: Path, rank: int, share: Mapping[str, tuple[Tensor, int]]) -> None:
    """Write one rank's file.

    Raises:
        OSError: If it cannot be written.
    """
    path = folder / f"rank-{rank}.safetensors"
    first_rows = {name: first_row for name, (_, first_row) in share.items()}
    with clear_write_errors(path):
        save_file(
            {name: values for name, (values, _) in share.items()},
            path,
            metadata={"first_rows": json.dumps(first_rows)},
        )


def read_state(
    folder: Path,
    state: Mapping[str, Tensor],
    *,
    passed_over: Callable[[str], bool] = lambda name: False,
) -> None:
    """Write the values of a checkpoint's files into tensors, however many ranks wrote them.

    Args:
        folder: the checkpoint.
        state: the tensors by name; of a divided one only this rank's rows are read.
        passed_over: True of the names that the files may hold beside these.

    Raises:
        OtherCheckpoint: If the files do not hold exactly these tensors and those passed over.
    """
    rows_read: Counter[str] = Counter()
    for path in sorted(folder.glob(PATTERN)):
        try:
            with safe_open(path, framework="pt") as file:
                first_rows = parse_json(file.metadata()["first_rows"])
                for name in file.keys():  # noqa: SIM118 - the file is no mapping
                    if name not in state and passed_over(name):
                        continue
                    if name not in state:
                        raise OtherCheckpoint(f"{path} holds {name}, which this run does not have")
                    rows_read[name] += _read_rows(file, name, int(first_rows[name]), state[name])
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, OtherCheckpoint):
                raise
            raise OtherCheckpoint(f"{path} cannot be read ({first_line(error)})") from None
    for name, value in state.items():
        local, _ = _local_rows(value)
        rows = len(local) if local.dim() else 1
        if rows_read[name] != rows:
            raise OtherCheckpoint(
                f"{folder} holds {rows_read[name]} of the {rows} rows of {name}: it is not "
                "complete, or of another run"
            )


def _read_rows(file: Any, name: str, first_row: int, value: Tensor) -> int:
    """Copy the rows of one file that lie on this rank; returns how many they are."""
    local, local_first = _local_rows(value)
    stored = file.get_slice(name)
    shape = stored.get_shape()
    if list(shape[1:]) != list(local.shape[1:]) or len(shape) != local.dim():
        raise OtherCheckpoint(
            f"{name} has rows of shape {list(shape[1:])} in the checkpoint, "
            f"{list(local.shape[1:])} in this run"
        )
    if local.dim() == 0:
        local.copy_(file.get_tensor(name))
        return 1
    start = max(first_row, local_first)
    stop = min(first_row + shape[0], local_first + len(local))
    if start >= stop:
        return 0
    rows = stored[start - first_row : stop - first_row]
    if rows.dtype != local.dtype:
        raise OtherCheckpoint(f"{name} is {rows.dtype} in the checkpoint, {local.dtype} here")
    local[start - local_first : stop - local_first].copy_(rows)
    return stop - start


def _is_divided(value: Tensor) -> bool:
    return isinstance(value, DTensor) and any(place.is_shard() for place in value.placements)


def _local_rows(value: Tensor) -> tuple[Tensor, int]:
    """This rank's part of a tensor, which shares its memory, and the number of its first row."""
    if not isinstance(value, DTensor):
        return value, 0
    local = value.to_local()
    _, offset = compute_local_shape_and_global_offset(
        value.shape, value.device_mesh, value.placements
    )
    if list(local.shape[1:]) != list(value.shape[1:]):
        raise ValueError(f"tensors are divided by rows only, not as {value.placements}")
    return local, int(offset[0]) if offset else 0
