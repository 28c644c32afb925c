"""Work that threads do ahead of its use: the next pictures are decoded while these are encoded.

Threads are enough: reading, hashing, Pillow's decoders and its resize release Python's lock.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
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
    return _map_in_threads(work, items, workers, most)


def _map_in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, most: int
) -> Generator[Result, None, None]:
    remaining, pending = iter(items), deque[Future[Result]]()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ahead")
    try:
        while True:
            begun = islice(remaining, most - len(pending))
            pending.extend(pool.submit(work, item) for item in begun)
            if not pending:
                return
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
