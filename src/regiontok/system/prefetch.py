"""Work that threads do ahead of its use: the next pictures are decoded while these are encoded.

Threads are enough: reading, hashing, Pillow's decoders and its resize release Python's lock.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
WORKERS = max(2, min(16, os.cpu_count() or 2))


def map_ahead(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int = WORKERS,
    most: int | None = None,
    weight: Callable[[Item], int] | None = None,
    most_weight: int = 0,
) -> Generator[Result, None, None]:
    """`work(item)` of every item, in the order of the items, begun before it is asked for.

    What `work` raises is raised in its item's turn and ends the iteration. Closing the iterator
    early (Ctrl-C does that too) begins no further item and returns when the running ones are done.
    Close it where it may not be read to its end: `with contextlib.closing(...)`.

    Args:
        work: the function; threads call it, so it must not depend on the order of its calls.
        items: what it is called with; read in the caller's thread, at most `most` items ahead.
        workers: number of threads; with 0 the caller's thread does the work when it is asked for.
        most: largest number of results that wait or are being worked on, which bounds the memory;
            by default twice the workers.
        weight: what an item's result weighs (pixels, say), asked in the caller's thread; None lets
            all weigh nothing.
        most_weight: largest weight of results that wait or are being worked on; a heavier one is
            worked on alone.

    Raises:
        ValueError: If `workers` is negative or `most` is below 1; nothing has begun by then.

    >>> list(map_ahead(str.upper, "abc", workers=2))
    ['A', 'B', 'C']
    """
    most = 2 * workers if most is None else most
    if workers < 0 or (workers and most < 1):
        raise ValueError(
            "expected 0 or more workers and room for at least 1 result, "
            f"got workers={workers}, most={most}"
        )
    if not workers:
        return (work(item) for item in items)
    weights = ((item, weight(item) if weight else 0) for item in items)
    return _map_in_threads(work, weights, workers, most, most_weight)


def _map_in_threads(
    work: Callable[[Item], Result],
    weighed: Iterator[tuple[Item, int]],
    workers: int,
    most: int,
    most_weight: int,
) -> Generator[Result, None, None]:
    pending, too_heavy = deque[tuple[Future[Result], int]](), deque[tuple[Item, int]]()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ahead")
    begun_weight = 0
    try:
        while True:
            while len(pending) < most:
                entry = too_heavy.pop() if too_heavy else next(weighed, None)
                if entry is None:
                    break
                item, item_weight = entry
                if pending and item_weight and begun_weight + item_weight > most_weight:
                    too_heavy.append(entry)
                    break
                pending.append((pool.submit(work, item), item_weight))
                begun_weight += item_weight
            if not pending:
                return
            future, item_weight = pending.popleft()
            begun_weight -= item_weight
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
