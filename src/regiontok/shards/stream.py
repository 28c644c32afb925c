"""Pretraining data: the views of several sources of shards, with weights, resumable at any step.

After: RICE, sections 3.1 and 3.2 (rows R1-R3).
Differs: the paper says nothing of reading. Here step, rank and workers do not matter to what a
sample is: the order is a function of (seed, position), its crop, flip and regions of (seed, shard,
image, how often its source was gone through before).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from regiontok.core.picture import PictureError
from regiontok.shards.order import ImageAddress, StreamOrder, step_positions
from regiontok.shards.random_view import draw_view
from regiontok.shards.sidecar import GROUP, ImageRegions, RowGroup, read_row_group
from regiontok.shards.sources import Shard, ShardSource, entropy_words, find_shards
from regiontok.shards.tar import ShardError, TarIndex, open_index
from regiontok.shards.views import LabelSpace, NoRegion, View, ViewSettings

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8

MOST_SKIPPED = 100  # images in a row that may be passed over; more is a broken source


class ShardViews(Dataset[View]):
    """Position 0, 1, 2 ... to `View`, without end; `order.samples` of them are an epoch.

    Args:
        sources: the sources of shards.
        settings: the settings of the views.
        labels: the labels that regions may have.
        seed: seed of order and views.
        skip: leave out shards and pass over images that cannot be read (they are named in
            `left_out` and `View.skipped`).

    Raises:
        ShardError: See `find_shards`. When reading: if an image cannot be used, unless `skip` is
            set; if a label is out of range, always.
    """

    def __init__(
        self,
        sources: Sequence[ShardSource],
        settings: ViewSettings,
        labels: LabelSpace,
        *,
        seed: int = 0,
        skip: bool = False,
    ) -> None:
        self.sources, self.settings, self.labels = tuple(sources), settings, labels
        self.seed, self.skip = seed, skip
        self.shards: list[list[Shard]] = []
        self.left_out: list[str] = []
        for source in self.sources:
            shards, problems = find_shards(source, skip=skip)
            self.shards.append(shards)
            self.left_out += problems
        counts = [[shard.images for shard in shards] for shards in self.shards]
        weights = [source.weight for source in self.sources]
        self.order = StreamOrder(counts, weights, seed=seed, block=GROUP)
        self._make_caches()

    def _make_caches(self) -> None:
        def read_group(source: int, shard: int, number: int) -> RowGroup:
            return read_row_group(self.shards[source][shard].sidecar, number)

        def read_index(source: int, shard: int) -> TarIndex:
            files = self.shards[source][shard]
            return open_index(files.tar, files.sidecar.parent)

        self._row_group = lru_cache(maxsize=self.order.window + 1)(read_group)
        self._tar_index = lru_cache(maxsize=2 * self.order.window)(read_index)

    def __getstate__(self) -> dict[str, Any]:
        caches = ("_row_group", "_tar_index")
        return {name: value for name, value in self.__dict__.items() if name not in caches}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._make_caches()

    def __getitem__(self, position: int) -> View:
        skipped: list[str] = []
        for offset in range(MOST_SKIPPED):
            address = self.order.address(position + offset)
            try:
                view = self._view(address, offset)
            except NoRegion as error:
                if self.settings.empty == "error":
                    raise
                skipped.append(str(error))
            except _UnreadableImage as error:
                if not self.skip:
                    raise ShardError(str(error)) from error.__cause__
                skipped.append(str(error))
            else:
                return replace(view, skipped=tuple(skipped)) if skipped else view
        raise ShardError(f"{MOST_SKIPPED} images in a row cannot be used, the last: {skipped[-1]}")

    def row(self, address: ImageAddress) -> ImageRegions:
        """The regions of an image, from the side-car."""
        group, row = divmod(address.row, GROUP)
        return self._row_group(address.source, address.shard, group)[row]

    def _view(self, address: ImageAddress, offset: int) -> View:
        """A view of an image.

        With `offset` > 0 it stands in for an image that cannot be used, and is drawn otherwise than
        at its own position.
        """
        source = self.sources[address.source]
        shard = self.shards[address.source][address.shard]
        try:
            row = self.row(address)
        except ShardError as error:
            raise _UnreadableImage(str(error)) from error
        entropy = [
            *entropy_words(self.seed),
            4,
            *shard.words,
            row.index,
            *entropy_words(address.round),
            offset,
        ]
        rng = np.random.default_rng(np.array(entropy, np.uint32))

        def read_image() -> bytes:
            try:
                index = self._tar_index(address.source, address.shard)
                _check_same_image(index, row, shard)
                return index.read(row.index)
            except ShardError as error:
                raise _UnreadableImage(str(error)) from error

        try:
            return draw_view(
                row,
                read_image,
                self.settings,
                self.labels,
                rng,
                shard=shard.name,
                kind=source.kind,
            )
        except PictureError as error:
            raise _UnreadableImage(str(error)) from error


class _UnreadableImage(ShardError):
    """An image or shard that `skip` passes over."""


def _check_same_image(index: TarIndex, row: ImageRegions, shard: Shard) -> None:
    if row.index >= len(index) or index.key(row.index) != row.key:
        content = index.key(row.index) if row.index < len(index) else f"only {len(index)} images"
        raise ShardError(
            f"{shard.tar}: image {row.index} is {row.key!r} in the side-car, the tar has {content}"
        )


@dataclass(frozen=True, eq=False)
class RegionBatch:
    """Views of one size, stacked.

    Attributes:
        pixels: `[b 3 H W]` uint8.
        boxes: `[b N 4]` float32, xyxy in pixels of the view.
        kinds: `[b N]` int8: 0 for an object, 1 for text.
        labels: `[b N M]` int64, -1 for none.
        excluded: `[b N E]` int64, a text's other token ids, -1 for none.
        has_mask: `[b N]` bool: True where the shares are of a mask, not of a box.
        shares: `[b N h w]` float32, share of each patch inside a region; or None.
        images: (shard, index) of each view.
        dropped: number of regions that crops left outside.
        skipped: images passed over, with reasons.
    """

    pixels: UInt8[Tensor, "b 3 H W"]
    boxes: Float[Tensor, "b N 4"]
    kinds: Int[Tensor, "b N"]
    labels: Int[Tensor, "b N M"]
    excluded: Int[Tensor, "b N E"]
    has_mask: Bool[Tensor, "b N"]
    shares: Float[Tensor, "b N h w"] | None
    images: tuple[tuple[str, int], ...]
    dropped: int
    skipped: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pixels)

    def pin_memory(self) -> RegionBatch:
        """The batch in page-locked memory; DataLoader asks for it."""
        return self._mapped(lambda tensor: tensor.pin_memory())

    def to(self, device: str | torch.device) -> RegionBatch:
        """The batch on another device; from page-locked memory without waiting."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def _mapped(self, function: Callable[[Tensor], Tensor]) -> RegionBatch:
        tensors = {
            name: getattr(self, name)
            for name in ("pixels", "boxes", "kinds", "labels", "excluded", "has_mask", "shares")
        }
        mapped: dict[str, Any] = {
            name: function(tensor) for name, tensor in tensors.items() if tensor is not None
        }
        return replace(self, **mapped)


def collate(views: Sequence[View]) -> RegionBatch:
    """Stack views of the same settings."""

    def stacked(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(view, name) for view in views]))

    return RegionBatch(
        pixels=_planes([view.pixels for view in views]),
        boxes=stacked("boxes"),
        kinds=stacked("kinds"),
        labels=stacked("labels"),
        excluded=_excluded([view.excluded for view in views]),
        has_mask=stacked("has_mask"),
        shares=None if views[0].shares is None else stacked("shares"),
        images=tuple((view.shard, view.index) for view in views),
        dropped=sum(view.dropped for view in views),
        skipped=tuple(reason for view in views for reason in view.skipped),
    )


def _excluded(tables: Sequence[np.ndarray]) -> Tensor:
    """Tables `[N E]` of different widths as one `[b N E]`, filled up with -1."""
    widest = max(table.shape[1] for table in tables)
    stacked = np.full((len(tables), len(tables[0]), widest), -1, np.int64)
    for rows, table in zip(stacked, tables, strict=True):
        rows[:, : table.shape[1]] = table
    return torch.from_numpy(stacked)


def _planes(pixels: Sequence[np.ndarray]) -> Tensor:
    """Images `[H W 3]` as `[b 3 H W]`.

    Channel by channel it takes 0.04 ms an image of 224 x 224; stacked and then permuted 0.18.
    """
    planes = np.empty((len(pixels), 3, *pixels[0].shape[:2]), np.uint8)
    for image_planes, image in zip(planes, pixels, strict=True):
        for channel in range(3):
            image_planes[channel] = image[..., channel]
    return torch.from_numpy(planes)


def load_steps(
    views: ShardViews,
    *,
    batch: int,
    start: int,
    stop: int,
    rank: int = 0,
    ranks: int = 1,
    workers: int = 0,
    pin: bool = False,
) -> Iterator[RegionBatch]:
    """One rank's part of the steps from `start` to `stop` - 1, in order.

    Step t has the positions t * batch to (t + 1) * batch - 1. Nothing is drawn from torch's random
    state.

    Args:
        views: the views.
        batch: images of a step, over all ranks.
        start: the first step.
        stop: the step behind the last one.
        rank: number of this process.
        ranks: number of processes.
        workers: processes that read; 0 reads in this one.
        pin: put batches into page-locked memory.

    Raises:
        ValueError: If the ranks cannot share a batch evenly.
    """
    positions = step_positions(batch, start, stop, rank, ranks)
    return iter(
        DataLoader(
            views,
            batch_sampler=positions,  # type: ignore[arg-type]  # any iterable of indices will do
            collate_fn=collate,
            num_workers=workers,
            pin_memory=pin,
            # workers' seeds come from here, and not from the state of training
            generator=torch.Generator(),
        )
    )
