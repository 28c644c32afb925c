"""`regiontok masks`: pixel masks computed once and kept in a store.

A run may be stopped at any moment and started again, by any number of processes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regiontok.core.picture import key_of
from regiontok.core.pixel_budget import in_groups
from regiontok.jobs.masks.compute import ComputedMasks, MaskComputer, mask_computer
from regiontok.jobs.masks.image_sources import ImageSource
from regiontok.jobs.masks.store_state import write_set_aside
from regiontok.maskstore.layout import SegmenterRecord, is_store
from regiontok.maskstore.store import MaskStore
from regiontok.maskstore.writer import MaskWriter, compact
from regiontok.settings import registry

LOOKING = 0.05  # share of the time that goes into looking for what others have done
Waiting = dict[Future[list[ComputedMasks]], None]  # chunks that are under way, in their order


@dataclass(frozen=True, kw_only=True)
class MaskOutcome:
    """What became of one image.

    Attributes:
        source: the image.
        key: hash of its bytes; None if it cannot be read.
        masks: number of masks that were computed.
        resumed: True if the store had them before.
        error: why it was set aside; None if it was done.
    """

    source: ImageSource
    key: str | None = None
    masks: int = 0
    resumed: bool = False
    error: str | None = None


def build_store(
    segmenter: str,
    images: Sequence[ImageSource],
    out: str | Path,
    *,
    workers: int = 1,
    batch: int = 8,
) -> Iterator[MaskOutcome]:
    """Compute the masks that a store does not have, and yield each image when that is settled.

    A bad image is set aside with its reason. Whatever stops the run, calling it again goes on; in
    the end the store is sorted, and its files are the same bytes whatever happened on the way.
    Several processes may do this at once: each looks for what the others have done.

    Args:
        segmenter: its spec.
        images: what `image_sources` returned.
        out: folder of the store, made if it is not there.
        workers: processes that compute, one thread each; 1 computes in this process.
        batch: pictures segmented together.

    Raises:
        ValueError: If the spec cannot be built, or the store is of another segmenter or has a
            corrupt file.
        OSError: If a worker process dies.
    """
    out, built = Path(out), registry.build("segmenter", segmenter)
    record = SegmenterRecord.of(built)
    failed: dict[str, str] = {}
    with (
        MaskWriter(out, record) as writer,
        _claim(out) as alone,
        mask_computer(segmenter, built, workers) as computer,
    ):
        chunks = _chunks(images, batch, shuffled=not alone)
        for outcome in _settle(computer, MaskStore(out, segmenter=record), writer, chunks):
            if outcome.error:
                failed[outcome.source.name] = outcome.error
            yield outcome
    compact(out)
    write_set_aside(out, failed, (source.name for source in images))


def plan_store(segmenter: str, images: Sequence[ImageSource], out: str | Path) -> dict[str, Any]:
    """What `build_store` would do: how many images were named, and how many the store has.

    Raises:
        ValueError: If the spec cannot be built, or the store is of another segmenter.
    """
    out, record = Path(out), SegmenterRecord.of(registry.build("segmenter", segmenter))
    stored = len(MaskStore(out, segmenter=record)) if is_store(out) else 0
    return {
        "images": len(images),
        "stored": stored,
        "fingerprint": record.fingerprint,
        "segmenter": record.spec,
    }


def _chunks(
    images: Sequence[ImageSource], batch: int, *, shuffled: bool
) -> Iterator[list[ImageSource]]:
    """The images in batches, smaller ones where they are of many pixels.

    They are shuffled where another process does the same ones at the same time.
    """
    order = list(range(len(images)))
    if shuffled:
        order = np.random.default_rng(os.getpid()).permutation(len(images)).tolist()
    yield from in_groups((images[index] for index in order), ImageSource.announced_pixels, batch)


@contextmanager
def _claim(out: Path) -> Iterator[bool]:
    """Hold a claim while computing; True if nobody else holds one. It falls with its process."""
    import fcntl  # not there on Windows

    with open(out / ".busy", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            alone = False
        yield alone


def _settle(
    computer: MaskComputer,
    store: MaskStore,
    writer: MaskWriter,
    chunks: Iterator[list[ImageSource]],
) -> Iterator[MaskOutcome]:
    """Yield the images in an order that never waits without need.

    Images that are in the store, or cannot be read, come at once, others as they are computed, and
    second copies of an image last.
    """
    first_by_key: dict[str, ImageSource] = {}
    copies: list[tuple[ImageSource, str]] = []
    failed: dict[ImageSource, str] = {}
    waiting: Waiting = {}
    refresh = _Refresh(store)
    for chunk in chunks:
        refresh()
        missing = []
        for source in chunk:
            try:
                key = key_of(source.read())
            except ValueError as error:
                yield MaskOutcome(source=source, error=str(error))
                continue
            if key in store:
                yield MaskOutcome(source=source, key=key, resumed=True)
            elif key in first_by_key:
                copies.append((source, key))
            else:
                missing.append(source)
                first_by_key[key] = source
        if missing:
            waiting[computer.submit(missing)] = None
        while len(waiting) >= computer.most_waiting:
            yield from _write_finished(waiting, writer, failed)
    while waiting:
        yield from _write_finished(waiting, writer, failed)
    for source, key in copies:
        problem = failed.get(first_by_key[key])
        if problem:
            problem = f"{source.name}: the same bytes as {problem}"
        yield MaskOutcome(source=source, key=key, error=problem)


@dataclass
class _Refresh:
    """Looks for what other processes have done, and spends a small share of the time on it.

    A look costs the more the larger the store is (113 ms at 4,000 parts): before every chunk it
    would take most of the time of a store of 100,000 images. What is not seen in time is computed
    twice, and stored once.

    Attributes:
        store: the store.
        due: when it is looked at next.
    """

    store: MaskStore
    due: float = 0.0

    def __call__(self) -> None:
        begun = time.monotonic()
        if begun >= self.due:
            self.store.refresh()
            self.due = begun + (time.monotonic() - begun) / LOOKING


def _write_finished(
    waiting: Waiting, writer: MaskWriter, failed: dict[ImageSource, str]
) -> Iterator[MaskOutcome]:
    """Wait for a chunk, and write what is done; fills `failed`."""
    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
        del waiting[future]
        try:
            chunk = future.result()
        except BrokenExecutor:
            raise OSError(
                "a worker process died (out of memory?); what was done is kept: the same command "
                "goes on"
            ) from None
        for computed in chunk:
            source = computed.source
            if computed.row is None:
                failed[source] = str(computed.error)
                yield MaskOutcome(source=source, error=computed.error)
            else:
                writer.add_row(computed.row)
                yield MaskOutcome(source=source, key=computed.key, masks=computed.masks)
