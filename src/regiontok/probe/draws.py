"""Random draws that are functions of a seed and of numbers, such as that of a step.

Nothing here reads or moves the state of a global generator, so that a training which goes on from a
step draws what it would have drawn without the stop.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def random_at(seed: int, *numbers: int) -> np.random.Generator:
    """A generator of its own for each seed and numbers: a purpose, a draw, a picture.

    >>> random_at(7, 1).integers(100) == random_at(7, 1).integers(100)
    np.True_
    """
    return np.random.default_rng([seed, *numbers])


def order_of_epoch(seed: int, epoch: int, count: int) -> np.ndarray:
    """A random order of `count` samples, another one in each epoch: `[count]` int64."""
    return random_at(seed, 1, epoch).permutation(count)


def samples_of(draw: int, batch: int, count: int, seed: int) -> list[int]:
    """Which of `count` samples are in a batch, where each epoch takes all of them once.

    A batch may end one epoch and begin the next.

    Args:
        draw: number of the batch, from 0.
        batch: samples in a batch.
        count: samples in all.
        seed: seed of the orders.

    >>> first, second = samples_of(0, 4, 6, seed=0), samples_of(1, 4, 6, seed=0)
    >>> sorted(first + second[:2])
    [0, 1, 2, 3, 4, 5]
    """
    places = range(draw * batch, (draw + 1) * batch)
    epochs = {place // count for place in places}
    orders = {epoch: order_of_epoch(seed, epoch, count) for epoch in epochs}
    return [int(orders[place // count][place % count]) for place in places]


@contextmanager
def torch_seeded(seed: int, *numbers: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Let torch's own draws in a block follow from a seed and numbers alone.

    Afterwards torch's generators are as they were before.

    Args:
        seed: the seed.
        numbers: what else the draws depend on, such as the step.
        device: the device whose generator is meant beside that of the CPU.
    """
    device = torch.device(device)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(random_at(seed, 2, *numbers).integers(2**63)))
        yield
