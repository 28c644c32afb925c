"""Pretraining data: the views of several sources of shards, with weights, resumable at any step.

After: RICE, sections 3.1 and 3.2 (rows R1-R3).
Differs: the paper says nothing of reading. Here step, rank and workers do not matter to what a
sample is: the order is a function of (seed, position), its crop, flip and regions of (seed, shard,
image, how often its source was gone through before).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from regiontok.core.picture import PictureError
from regiontok.shards.image_regions import ImageRegions
from regiontok.shards.order import ImageAddress, StreamOrder
from regiontok.shards.random_view import draw_view
from regiontok.shards.sidecar import GROUP, RowGroup, read_row_group
from regiontok.shards.sources import FoundShards, Shard, ShardSource, entropy_words, find_shards
from regiontok.shards.tar import ShardError, TarImage, TarIndex, open_index, read_images
from regiontok.shards.views import LabelSpace, NoRegion, View, ViewSettings
from regiontok.system.prefetch import map_ahead

MOST_SKIPPED = 100  # images in a row that may be passed over; more is a broken source
ASKED_AT_ONCE = 16  # tars in a store that are read side by side

ImageBytes = dict[ImageAddress, bytes]


class ShardViews(Dataset[View]):
    """Position 0, 1, 2 ... to `View`, without end; `order.samples` of them are an epoch.

    Args:
        sources: the sources of shards.
        settings: the settings of the views.
        labels: the labels that regions may have.
        seed: seed of order and views.
        skip: leave out shards and pass over images that cannot be read (they are named in
            `left_out` and `View.skipped`).
        shards_found: the shards of each source, where another process has looked for them.

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
        shards_found: Sequence[FoundShards] | None = None,
    ) -> None:
        self.sources, self.settings, self.labels = tuple(sources), settings, labels
        self.seed, self.skip = seed, skip
        if shards_found is None:
            shards_found = [find_shards(source, skip=skip) for source in self.sources]
        self.shards = [of_source.shards for of_source in shards_found]
        self.left_out = [text for of_source in shards_found for text in of_source.problems]
        self.notes = [text for of_source in shards_found for text in of_source.notes]
        counts = [[shard.images for shard in shards] for shards in self.shards]
        weights = [source.weight for source in self.sources]
        self.order = StreamOrder(counts, weights, seed=seed)
        self._make_caches()

    def _make_caches(self) -> None:
        def read_group(source: int, shard: int, number: int) -> RowGroup:
            return read_row_group(self.shards[source][shard].sidecar, number)

        def read_index(source: int, shard: int) -> TarIndex:
            files = self.shards[source][shard]
            return open_index(files.tar, files.source.folder)

        # what a window of every lane lies in; a worker sees only its own lanes
        groups = self.order.lanes * (self.order.window // GROUP + 1)
        self._row_group = lru_cache(maxsize=groups)(read_group)
        self._tar_index = lru_cache(maxsize=64)(read_index)

    def __getstate__(self) -> dict[str, Any]:
        caches = ("_row_group", "_tar_index")
        return {name: value for name, value in self.__dict__.items() if name not in caches}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._make_caches()

    def __getitem__(self, position: int) -> View:
        return self._at(position, {})

    def __getitems__(self, positions: Sequence[int]) -> list[View]:
        """Several views; images in a store are asked for together, before the first is drawn."""
        ahead = self._read_ahead([int(position) for position in positions])
        return [self._at(int(position), ahead) for position in positions]

    def _at(self, position: int, ahead: ImageBytes) -> View:
        skipped: list[str] = []
        for offset in range(MOST_SKIPPED):
            address = self.order.address(position + offset)
            try:
                view = self._view(address, offset, ahead)
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

    def _read_ahead(self, positions: Sequence[int]) -> ImageBytes:
        """The bytes of the images in stores; those that fail are left to be asked for alone."""
        if all(isinstance(source.tars, Path) for source in self.sources):
            return {}
        wanted: dict[tuple[int, int], dict[ImageAddress, TarImage]] = {}
        for address in map(self.order.address, positions):
            if isinstance(self.sources[address.source].tars, Path):
                continue
            try:
                place = self._place(address, self.row(address))
            except ShardError:
                continue
            wanted.setdefault((address.source, address.shard), {})[address] = place

        def read(of_shard: tuple[tuple[int, int], dict[ImageAddress, TarImage]]) -> ImageBytes:
            (source, shard), places = of_shard
            try:
                data = read_images(self.shards[source][shard].tar, [*places.values()])
            except ShardError:
                return {}
            return dict(zip(places, data, strict=True))

        ahead: ImageBytes = {}
        for images in map_ahead(read, wanted.items(), workers=ASKED_AT_ONCE, most=len(wanted) or 1):
            ahead |= images
        return ahead

    def _place(self, address: ImageAddress, row: ImageRegions) -> TarImage:
        """Where an image lies in its tar."""
        if row.place:
            return row.place
        index = self._tar_index(address.source, address.shard)
        shard = self.shards[address.source][address.shard]
        _check_same_image(index, row, shard)
        start, length = index.spans[row.index].tolist()
        return TarImage(row.index, row.key, start, length)

    def _view(self, address: ImageAddress, offset: int, ahead: ImageBytes) -> View:
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
            if address in ahead:
                return ahead[address]
            try:
                (data,) = read_images(shard.tar, [self._place(address, row)])
            except ShardError as error:
                raise _UnreadableImage(str(error)) from error
            return data

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
