"""`regiontok masks`: pixel masks computed once and kept in a store; resumed after any stop, by any
number of processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from regiontok.core.picture import Picture, key_of
from regiontok.jobs.masks.sources import Source
from regiontok.maskstore.care import set_aside_corrupt
from regiontok.maskstore.file import packed_row
from regiontok.maskstore.store import Maker, MaskStore, is_store, parts, shards
from regiontok.maskstore.writer import MaskWriter, compact, locked
from regiontok.settings import registry
from regiontok.system.files import replacing

SET_ASIDE = "set_aside.json"


@dataclass(frozen=True)
class Done:
    """What became of one image: its key; `resumed` if the store had it before; or why it was set
    aside."""

    source: Source
    key: str | None = None
    masks: int = 0
    resumed: bool = False
    error: str | None = None


def build(
    segmenter: str, images: Sequence[Source], out: Path, *, workers: int = 1, batch: int = 8
) -> Iterator[Done]:
    """Compute the masks that the store does not have, and yield each image when that is settled;
    then sort the store.

    A bad image is set aside with its reason. Whatever stops the run, calling it again goes on; once
    it ends, the files of the store are the same bytes whatever happened on the way. Several
    processes may do this at once: each looks for what the others have done.

    Args:
        segmenter: its spec.
        images: what `sources` found.
        out: the store, made if it is not there.
        workers: processes that compute, one thread each; 1 computes in this one.
        batch: pictures segmented together.

    Raises:
        ValueError: a spec that cannot be built, a store of another segmenter, a corrupt file in it.
        OSError: a worker process died.
    """
    built = registry.build("segmenter", segmenter)
    maker, failed = Maker.of(built), {}
    with (
        MaskWriter(out, maker) as writer,
        _busy(out) as alone,
        _computing(segmenter, built, workers) as compute,
    ):
        # beside another process in another order, so that the two seldom do the same image at the
        # same time
        order = (
            range(len(images))
            if alone
            else np.random.default_rng(os.getpid()).permutation(len(images)).tolist()
        )
        chunks = (order[start : start + batch] for start in range(0, len(order), batch))
        for done in _settled(
            compute,
            MaskStore(out, maker=maker),
            writer,
            ([images[i] for i in chunk] for chunk in chunks),
        ):
            if done.error:
                failed[done.source.name] = done.error
            yield done
    compact(out)
    note(out, failed, images)


def plan(segmenter: str, images: Sequence[Source], out: Path) -> dict[str, Any]:
    """What `build` would do, without doing it: images named, images in the store now."""
    maker = Maker.of(registry.build("segmenter", segmenter))
    stored = len(MaskStore(out, maker=maker)) if is_store(out) else 0
    return {
        "images": len(images),
        "stored": stored,
        "fingerprint": maker.fingerprint,
        "segmenter": maker.segmenter,
    }


def info(root: Path) -> dict[str, Any]:
    """What a store says of itself, and what can be counted without reading masks."""
    store = MaskStore(root)
    files = [*shards(store.folder), *parts(store.folder)]
    size = sum(path.stat().st_size for path in files)
    return {
        "store": str(root),
        "segmenter": store.maker.segmenter,
        "identity": store.maker.identity,
        "fingerprint": store.fingerprint,
        "images": len(store),
        "shards": len(shards(store.folder)),
        "parts": len(parts(store.folder)),
        "bytes": size,
        "bytes_per_image": round(size / len(store)) if len(store) else 0,
        "set_aside": len(set_aside(root)),
    }


def set_aside(root: Path) -> dict[str, str]:
    """The images that could not be done, and why: what the side file holds."""
    path = root / SET_ASIDE
    return json.loads(path.read_bytes()) if path.is_file() else {}


def recover(root: Path) -> list[str]:
    """Rename corrupt files of a store, so that `build` computes their images again; what was wrong
    with each."""
    return [str(verdict.problem) for verdict in set_aside_corrupt(root)] if is_store(root) else []


def note(out: Path, failed: dict[str, str], tried: Sequence[Source]) -> None:
    """Bring the side file up to date: this run speaks for the images it tried, earlier ones for
    theirs."""
    with locked(out):
        now = {source.name for source in tried}
        kept = {name: why for name, why in set_aside(out).items() if name not in now} | failed
        if kept:
            with replacing(out / SET_ASIDE) as part:
                part.write_text(
                    json.dumps(dict(sorted(kept.items())), indent=1, ensure_ascii=False) + "\n",
                    encoding="utf-8",
                )
        else:
            (out / SET_ASIDE).unlink(missing_ok=True)


@contextmanager
def _busy(out: Path) -> Iterator[bool]:
    """Hold a claim while computing; True if nobody else holds one. It falls with its process."""
    import fcntl  # not there on Windows

    with open(out / ".busy", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            alone = False
        yield alone


def _settled(
    compute: Any, store: MaskStore, writer: MaskWriter, chunks: Iterator[list[Source]]
) -> Iterator[Done]:
    """Images in the store, or unreadable, at once; the others as they come out of `compute`; second
    copies of an image last."""
    first: dict[str, Source] = {}
    copies: list[tuple[Source, str]] = []
    failed: dict[Source, str] = {}
    waiting: dict[Future, None] = {}
    for chunk in chunks:
        store.refresh()
        fresh = []
        for source in chunk:
            try:
                key = key_of(source.read())
            except ValueError as error:
                yield Done(source, error=str(error))
                continue
            if key in store:
                yield Done(source, key, resumed=True)
            elif key in first:
                copies.append((source, key))
            else:
                fresh.append(source)
                first[key] = source
        if fresh:
            waiting[compute.submit(fresh)] = None
        while len(waiting) >= compute.ahead:
            yield from _finished(waiting, writer, failed)
    while waiting:
        yield from _finished(waiting, writer, failed)
    for source, key in copies:
        problem = failed.get(first[key])
        yield Done(
            source, key, error=f"{source.name}: the same bytes as {problem}" if problem else None
        )


def _finished(
    waiting: dict[Future, None], writer: MaskWriter, failed: dict[Source, str]
) -> Iterator[Done]:
    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
        del waiting[future]
        try:
            answers = future.result()
        except BrokenExecutor:
            raise OSError(
                "a worker process died (out of memory?); what was done is kept: the same command goes on"
            ) from None
        for source, row, error in answers:
            if row is None:
                failed[source] = str(error)
                yield Done(source, error=error)
            else:
                writer.add_row(row)
                yield Done(source, row["key"], len(row["runs"]))


Answer = tuple[Source, dict[str, Any] | None, str | None]


def _compute(segmenter: Any, images: Sequence[Source]) -> list[Answer]:
    """The packed masks of each image, or what is wrong with it."""
    answers: list[Answer] = []
    pictures, good = [], []
    for source in images:
        try:
            pictures.append(Picture.of(source.read(), source.name))
            good.append(source)
        except ValueError as error:
            answers.append((source, None, str(error)))
    return answers + _segmented(segmenter, good, pictures)


@torch.no_grad()
def _segmented(
    segmenter: Any, images: Sequence[Source], pictures: Sequence[Picture]
) -> list[Answer]:
    if not images:
        return []
    try:
        found = segmenter(pictures)
        return [
            (s, packed_row(p.key, masks), None)
            for s, p, masks in zip(images, pictures, found, strict=True)
        ]
    except ValueError as error:
        if len(images) == 1:
            return [(images[0], None, str(error))]
    # find the picture that spoils its batch
    return [
        a for s, p in zip(images, pictures, strict=True) for a in _segmented(segmenter, [s], [p])
    ]


@dataclass(frozen=True)
class _Here:
    """Computes in this process, at once."""

    segmenter: Any
    ahead: int = 1

    def submit(self, images: Sequence[Source]) -> Future:
        future: Future = Future()
        future.set_result(_compute(self.segmenter, images))
        return future


@dataclass(frozen=True)
class _There:
    """Computes in worker processes; `ahead` chunks are under way at most."""

    pool: ProcessPoolExecutor
    ahead: int

    def submit(self, images: Sequence[Source]) -> Future:
        return self.pool.submit(_worker_compute, images)


@contextmanager
def _computing(segmenter: str, built: Any, workers: int) -> Iterator[_Here | _There]:
    if workers == 1:
        yield _Here(built)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, partial(_worker_start, segmenter))
    try:
        yield _There(pool, 2 * workers)
    finally:
        pool.shutdown(cancel_futures=True)


_segmenter: Any = None  # a worker's own


def _worker_start(segmenter: str) -> None:
    global _segmenter
    torch.set_num_threads(1)
    _segmenter = registry.build("segmenter", segmenter)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed cannot stop its workers, and they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _worker_compute(images: Sequence[Source]) -> list[Answer]:
    return _compute(_segmenter, images)
