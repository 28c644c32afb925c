"""One thread in torch's kernels, by which a piece gets the same bytes in every process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch work in one thread for a while: two threads round sums differently.

    A worker that is given a further piece may have been told otherwise since it started.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
