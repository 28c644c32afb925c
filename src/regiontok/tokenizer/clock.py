"""Seconds that each stage of a run takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

STAGES = ("decode", "segment", "encode", "regions", "pool")


class Clock:
    """Seconds by stage; the end of a stage waits for the GPU, so that its own work is counted.

    Attributes:
        seconds: seconds spent so far in each stage of `STAGES`.
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time of a `with` block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
                torch.cuda.synchronize()
            self.seconds[stage] += time.perf_counter() - start
