"""Work done ahead by threads, in order and bounded: the next pictures are decoded while these are
encoded.

Threads are enough: reading, hashing, Pillow's decoders and its resize let go of Python's lock.
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


def ahead(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int = WORKERS,
    most: int | None = None,
) -> Generator[Result, None, None]:
    """`work(item)` of each item, in the order of the items, up to `most` of them begun before they
    are asked for.

    What `work` raises is raised in its item's turn, and ends the iteration. Closing the iterator
    early (also Ctrl-C) begins nothing more and returns when the items in work are done. Close it
    where it may not be read to its end: `with contextlib.closing(...)`.

    Args:
        work: is called in threads; must not depend on the order of its calls.
        items: is read in the caller's thread, no further than `most` items ahead.
        workers: threads; 0 does the work in the caller's thread when it is asked for.
        most: results that wait or are in work, what bounds memory; twice the workers if not given.

    Raises:
        ValueError: negative workers, or `most` below 1; before anything is begun.

    >>> list(ahead(str.upper, "abc", workers=2))
    ['A', 'B', 'C']
    """
    most = 2 * workers if most is None else most
    if workers < 0 or (workers and most < 1):
        raise ValueError(
            f"expected 0 or more workers and room for at least 1 result, got workers={workers}, most={most}"
        )
    return _pooled(work, items, workers, most) if workers else (work(item) for item in items)


def _pooled(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, most: int
) -> Generator[Result, None, None]:
    source, begun = iter(items), deque[Future[Result]]()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ahead")
    try:
        while True:
            begun.extend(pool.submit(work, item) for item in islice(source, most - len(begun)))
            if not begun:
                return
            yield begun.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
