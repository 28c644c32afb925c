"""Arrays in JSON: their type, their shape, and their bytes in base64."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import torch

TYPES = ("uint8", "uint16", "uint32", "int32", "float16", "float32")


def packed(values: Any, kind: str) -> dict[str, Any]:
    """An array or tensor as an object of JSON.

    Args:
        values: an array, a tensor or a list.
        kind: one of `TYPES`, in which it is kept, little-endian.

    >>> packed([1, 2], "uint8")
    {'type': 'uint8', 'shape': [2], 'data': 'AQI='}

    Raises:
        ValueError: If the type is none of `TYPES`, or a number does not fit it.
    """
    array = as_array(values, kind)
    data = base64.b64encode(array.tobytes()).decode()
    return {"type": kind, "shape": list(array.shape), "data": data}


def as_array(values: Any, kind: str) -> np.ndarray:
    """The values as a little-endian array of a type, none of them changed by more than rounding.

    Raises:
        ValueError: If the type is none of `TYPES`, or a whole number does not fit it.
    """
    if kind not in TYPES:
        raise ValueError(f"arrays are kept as one of {', '.join(TYPES)}, not as {kind!r}")
    if isinstance(values, torch.Tensor):
        values = values.detach().float() if values.is_floating_point() else values.detach()
        values = values.cpu().numpy()
    array = np.ascontiguousarray(values)
    target = np.dtype(kind)
    if target.kind in "iu" and array.size:
        bounds = np.iinfo(target)
        if array.min() < bounds.min or array.max() > bounds.max:
            raise ValueError(f"numbers from {array.min()} to {array.max()} do not fit {kind}")
    if kind == "float16":  # a number beyond its range is its largest one, not infinity
        limit = float(np.finfo(np.float16).max)
        array = np.clip(array, -limit, limit)
    return array.astype(target.newbyteorder("<"), copy=False)


def unpacked(packed_array: dict[str, Any]) -> np.ndarray:
    """The array that `packed` made into text.

    >>> unpacked(packed([[1.5, 2.0]], "float32")).tolist()
    [[1.5, 2.0]]
    """
    kind = np.dtype(packed_array["type"]).newbyteorder("<")
    flat = np.frombuffer(base64.b64decode(packed_array["data"]), kind)
    return flat.reshape(packed_array["shape"])
