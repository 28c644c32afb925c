"""Masks of many images, computed in this process or in several worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from regiontok.core.masks import masks_from
from regiontok.core.picture import Picture
from regiontok.jobs.masks.image_sources import ImageSource
from regiontok.maskstore.parquet_file import mask_row
from regiontok.methods import Segmenter
from regiontok.settings import registry
from regiontok.system.errors import UnusableModel
from regiontok.system.workers import worker_processes


@dataclass(frozen=True, eq=False, kw_only=True)
class ComputedMasks:
    """The masks of one image, or what is wrong with the image.

    Attributes:
        source: the image.
        key: hash of its bytes.
        masks: number of masks.
        row: the masks, packed as a row of the store; None if there is an error.
        error: why there are no masks.
    """

    source: ImageSource
    key: str | None = None
    masks: int = 0
    row: dict[str, Any] | None = None
    error: str | None = None


class MaskComputer(Protocol):
    """Computes the masks of chunks of images."""

    @property
    def most_waiting(self) -> int:
        """Number of chunks that may be under way at once."""

    def submit(self, images: Sequence[ImageSource]) -> Future[list[ComputedMasks]]:
        """Begin with a chunk; the future gives the masks of its images."""


@contextmanager
def mask_computer(spec: str, segmenter: Segmenter, workers: int) -> Iterator[MaskComputer]:
    """A computer of masks; its processes end with the block.

    Args:
        spec: the segmenter's spec, which every worker process builds anew.
        segmenter: the built segmenter, for this process.
        workers: processes, one thread each; 1 computes in this process.

    Raises:
        WorkerDied: If a process was killed.
    """
    if workers == 1:
        yield _InThisProcess(segmenter)
        return
    with worker_processes(workers, _start_worker, spec) as pool:
        yield _InWorkers(pool, 2 * workers)


@dataclass(frozen=True)
class _InThisProcess:
    """Computes at once, in this process."""

    segmenter: Segmenter
    most_waiting: int = 1

    def submit(self, images: Sequence[ImageSource]) -> Future[list[ComputedMasks]]:
        future: Future[list[ComputedMasks]] = Future()
        future.set_result(compute_masks(self.segmenter, images))
        return future


@dataclass(frozen=True)
class _InWorkers:
    """Computes in worker processes."""

    pool: ProcessPoolExecutor
    most_waiting: int

    def submit(self, images: Sequence[ImageSource]) -> Future[list[ComputedMasks]]:
        return self.pool.submit(_compute_in_worker, images)


def compute_masks(segmenter: Segmenter, images: Sequence[ImageSource]) -> list[ComputedMasks]:
    """The masks of each image, or what is wrong with it."""
    bad: list[ComputedMasks] = []
    readable: list[tuple[ImageSource, Picture]] = []
    for source in images:
        try:
            readable.append((source, Picture.of(source.read(), source.name)))
        except ValueError as error:
            bad.append(ComputedMasks(source=source, error=str(error)))
    return bad + _segment(segmenter, readable)


@torch.no_grad()
def _segment(
    segmenter: Segmenter, images: Sequence[tuple[ImageSource, Picture]]
) -> list[ComputedMasks]:
    if not images:
        return []
    try:
        masks_by_image = masks_from(segmenter, [picture for _, picture in images])
        return [
            ComputedMasks(
                source=source,
                key=picture.key,
                masks=len(masks),
                row=mask_row(picture.key, masks),
            )
            for (source, picture), masks in zip(images, masks_by_image, strict=True)
        ]
    except UnusableModel:
        raise
    except ValueError as error:
        if len(images) == 1:
            return [ComputedMasks(source=images[0][0], error=str(error))]
    # find the picture that spoils its batch
    return [computed for image in images for computed in _segment(segmenter, [image])]


_worker_segmenter: Segmenter | None = None  # each worker process has one


def _start_worker(spec: str) -> None:
    global _worker_segmenter
    torch.set_num_threads(1)
    _worker_segmenter = registry.build("segmenter", spec)


def _compute_in_worker(images: Sequence[ImageSource]) -> list[ComputedMasks]:
    assert _worker_segmenter is not None, "_start_worker runs first"
    return compute_masks(_worker_segmenter, images)
