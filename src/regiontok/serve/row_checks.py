"""Rows that a server would take without a word, or die of, are refused before they are sent.

vLLM 0.32 casts a tensor of integers, answers NaN with NaN, and says 500 to an empty one; rows of a
wrong width end the engine of Qwen3-VL.

After: nothing.
Differs: nothing known.
"""

from __future__ import annotations

from torch import Tensor

from regiontok.system.errors import RegiontokError


class UnusableRows(RegiontokError, ValueError):
    """A tensor is no row of tokens that the language model could read."""


def check_rows(rows: Tensor, width: int, name: str) -> None:
    """Refuse what are no tokens of the language model's width.

    Args:
        rows: what should be `[k width]`.
        width: of a row.
        name: what messages call it.

    Raises:
        UnusableRows: If it has another shape or type, no row, or a number that is not finite.
    """
    if rows.ndim != 2 or rows.shape[1] != width:
        raise UnusableRows(f"{name} is {list(rows.shape)}, expected [k, {width}]")
    if not rows.is_floating_point():
        raise UnusableRows(f"{name} is of {rows.dtype}, expected floating point")
    if not len(rows):
        raise UnusableRows(f"{name} has no token")
    if not bool(rows.isfinite().all()):
        raise UnusableRows(f"{name} holds numbers that are not finite (NaN or infinite)")
