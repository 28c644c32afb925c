"""Pretraining data: WebDataset shards with region side-cars, several sources with weights,
resumable at any step.

After: RICE, sections 3.1 and 3.2 (rows R1-R3).
Differs: the paper says nothing of reading. Here step, rank and workers do not matter to what a
sample is: the order is a function of (seed, position), its crop, flip and regions of (seed, shard,
image, how often its source was gone through before).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from regiontok.core.picture import PictureError
from regiontok.shards.order import Place, StreamOrder, steps
from regiontok.shards.sidecar import (
    GROUP,
    SUFFIX,
    ImageRegions,
    Report,
    RowGroup,
    read_group,
    read_report,
    report_path,
)
from regiontok.shards.tar import ShardError, TarIndex, index_of, size_of
from regiontok.shards.views import Kind, Labels, NoRegion, View, ViewSettings, view_of

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8

NEXT = 100  # images in a row that may be passed over; more is a broken source


@dataclass(frozen=True)
class Source:
    """Where shards are.

    Attributes:
        tars: the folder of the tars.
        sidecars: the folder of their side-cars; default: the same.
        weight: images an epoch, against 1.
        kind: use only regions of this kind.
    """

    tars: Path
    sidecars: Path | None = None
    weight: float = 1.0
    kind: Kind | None = None


@dataclass(frozen=True)
class Shard:
    """One tar and its side-car; `images` rows."""

    tar: Path
    sidecar: Path
    images: int

    @property
    def name(self) -> str:
        """The tar's name without its suffix."""
        return self.tar.stem

    @cached_property
    def words(self) -> list[int]:
        """A hash of the name, to draw from: the same in any order of shards and sources."""
        return _words(
            int.from_bytes(hashlib.blake2b(self.name.encode(), digest_size=8).digest(), "little")
        )


def find_shards(source: Source, *, skip: bool = False) -> tuple[list[Shard], list[str]]:
    """The shards of a source in the order of their names, and what is wrong with those left out.

    A shard is a side-car with its JSON; the tar must have the bytes that it states. Tars without a
    side-car are no part of the source.

    Raises:
        ShardError: a shard is missing or cut off and `skip` is not set; no shard at all.
    """
    folder = source.sidecars or source.tars
    found, wrong = [], []
    endings = (
        SUFFIX,
        report_path(folder, "").name,
    )  # a shard is named by either, so that one alone is noticed
    for name in sorted(
        {path.name.removesuffix(ending) for ending in endings for path in folder.glob(f"*{ending}")}
    ):
        tar, sidecar = source.tars / f"{name}.tar", folder / f"{name}{SUFFIX}"
        try:
            report = read_report(report_path(folder, name))
            _check_bytes(tar, report)
            if not sidecar.is_file():
                raise ShardError(f"{sidecar}: the side-car is missing")
            found.append(Shard(tar, sidecar, report.images))
        except ShardError as error:
            if not skip:
                raise
            wrong.append(str(error))
    if not found:
        raise ShardError(
            f"{folder}: no shard with a side-car (*{SUFFIX} and its JSON)"
            + "".join(f"; {one}" for one in wrong)
        )
    return found, wrong


def _check_bytes(tar: Path, report: Report) -> None:
    size = size_of(tar)
    if size < report.bytes:
        raise ShardError(f"{tar}: cut off: {size} bytes, its side-car was made of {report.bytes}")
    if size > report.bytes:
        raise ShardError(
            f"{tar}: another tar: {size} bytes, its side-car was made of {report.bytes}"
        )


class ShardViews(Dataset):
    """Position 0, 1, 2 ... -> `View`, without end; `order.samples` of them are an epoch.

    Args:
        sources: where the shards are.
        settings: of the views.
        labels: what labels mean.
        seed: of order and views.
        skip: leave out shards and pass over images that cannot be read (they are named in
            `left_out` and `View.skipped`).

    Raises:
        ShardError: see `find_shards`; when reading: an image that cannot be used, unless `skip` is
            set. A label out of range always.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        settings: ViewSettings,
        labels: Labels,
        *,
        seed: int = 0,
        skip: bool = False,
    ) -> None:
        self.sources, self.settings, self.labels, self.seed, self.skip = (
            tuple(sources),
            settings,
            labels,
            seed,
            skip,
        )
        found = [find_shards(source, skip=skip) for source in self.sources]
        self.shards = [shards for shards, _ in found]
        self.left_out = [reason for _, wrong in found for reason in wrong]
        counts = [[shard.images for shard in own] for own in self.shards]
        self.order = StreamOrder(
            counts, [source.weight for source in self.sources], seed=seed, block=GROUP
        )
        self._remember()

    def _remember(self) -> None:
        def group(source: int, shard: int, number: int) -> RowGroup:
            return read_group(self.shards[source][shard].sidecar, number)

        def index(source: int, shard: int) -> TarIndex:
            own = self.shards[source][shard]
            return index_of(own.tar, own.sidecar.parent)

        self._group = lru_cache(maxsize=self.order.window + 1)(group)
        self._index = lru_cache(maxsize=2 * self.order.window)(index)

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: value for name, value in self.__dict__.items() if name not in ("_group", "_index")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._remember()

    def __getitem__(self, position: int) -> View:
        skipped: list[str] = []
        for later in range(NEXT):
            place = self.order.at(position + later)
            try:
                view = self._view(place, later)
            except NoRegion as error:
                if self.settings.empty == "error":
                    raise
                skipped.append(str(error))
            except _Unreadable as error:
                if not self.skip:
                    raise ShardError(str(error)) from error.__cause__
                skipped.append(str(error))
            else:
                return replace(view, skipped=tuple(skipped)) if skipped else view
        raise ShardError(f"{NEXT} images in a row cannot be used, the last: {skipped[-1]}")

    def row(self, place: Place) -> ImageRegions:
        """What the side-car says of an image."""
        return self._group(place.source, place.shard, place.row // GROUP)[place.row % GROUP]

    def _view(self, place: Place, later: int) -> View:
        """`later` > 0 stands in for an image that cannot be used: it is drawn otherwise than in its
        own place."""
        source, shard = self.sources[place.source], self.shards[place.source][place.shard]
        try:
            row = self.row(place)
        except ShardError as error:
            raise _Unreadable(str(error)) from error
        entropy = [*_words(self.seed), 4, *shard.words, row.index, *_words(place.turn), later]
        rng = np.random.default_rng(np.array(entropy, np.uint32))

        def read() -> bytes:
            try:
                index = self._index(place.source, place.shard)
                _same(index, row, shard)
                return index.read(row.index)
            except ShardError as error:
                raise _Unreadable(str(error)) from error

        try:
            return view_of(
                row, read, self.settings, self.labels, rng, shard=shard.name, kind=source.kind
            )
        except PictureError as error:
            raise _Unreadable(str(error)) from error


def _words(number: int) -> list[int]:
    """The words of 32 bits that NumPy draws from for a number; as an array they cost half as much
    as a list of numbers."""
    return [number] if number < 2**32 else [number % 2**32, *_words(number // 2**32)]


class _Unreadable(ShardError):
    """An image or shard that `skip` passes over."""


def _same(index: TarIndex, row: ImageRegions, shard: Shard) -> None:
    if row.index >= len(index) or index.key(row.index) != row.key:
        has = index.key(row.index) if row.index < len(index) else f"only {len(index)} images"
        raise ShardError(
            f"{shard.tar}: image {row.index} is {row.key!r} in the side-car, the tar has {has}"
        )


@dataclass(frozen=True, eq=False)
class RegionBatch:
    """Views of one size.

    Attributes:
        pixels: `[b 3 H W]` uint8.
        boxes: `[b N 4]` float32, xyxy in pixels of the view.
        kinds: `[b N]` int8: 0 object, 1 text.
        labels: `[b N M]` int64, -1 for none.
        shares: `[b N h w]` float32, share of each patch inside a region; or None.
        images: (shard, index) of each view.
        dropped: regions that crops left outside.
        skipped: images passed over, with reasons.
    """

    pixels: UInt8[Tensor, "b 3 H W"]
    boxes: Float[Tensor, "b N 4"]
    kinds: Int[Tensor, "b N"]
    labels: Int[Tensor, "b N M"]
    shares: Float[Tensor, "b N h w"] | None
    images: tuple[tuple[str, int], ...]
    dropped: int
    skipped: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pixels)

    def pin_memory(self) -> RegionBatch:
        """In page-locked memory; DataLoader asks for it."""
        return self._each(lambda tensor: tensor.pin_memory())

    def to(self, device: str | torch.device) -> RegionBatch:
        """On another device; from page-locked memory without waiting."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def _each(self, move) -> RegionBatch:
        names = ("pixels", "boxes", "kinds", "labels", "shares")
        moved = {
            name: move(getattr(self, name)) for name in names if getattr(self, name) is not None
        }
        return replace(self, **moved)


def collate(views: Sequence[View]) -> RegionBatch:
    """Views of the same settings as one batch."""

    def stacked(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(view, name) for view in views]))

    return RegionBatch(
        _planes([view.pixels for view in views]),
        stacked("boxes"),
        stacked("kinds"),
        stacked("labels"),
        None if views[0].shares is None else stacked("shares"),
        tuple((view.shard, view.index) for view in views),
        sum(view.dropped for view in views),
        tuple(reason for view in views for reason in view.skipped),
    )


def _planes(pixels: Sequence[np.ndarray]) -> Tensor:
    """b times `[H W 3]` -> `[b 3 H W]`: channel by channel, 0.04 ms an image of 224 x 224; stacked
    and then permuted 0.18."""
    planes = np.empty((len(pixels), 3, *pixels[0].shape[:2]), np.uint8)
    for own, image in zip(planes, pixels, strict=True):
        for channel in range(3):
            own[channel] = image[..., channel]
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
    """This rank's part of the steps start..stop-1, in order; step t has the positions t * batch ..
    (t + 1) * batch - 1.

    Nothing is drawn from torch's random state.

    Raises:
        ValueError: a batch that the ranks cannot share evenly.
    """
    return iter(
        DataLoader(
            views,
            batch_sampler=steps(batch, start, stop, rank, ranks),  # type: ignore[arg-type]  # any iterable of indices does
            collate_fn=collate,
            num_workers=workers,
            pin_memory=pin,
            # workers' seeds come from here, and not from the state of training
            generator=torch.Generator(),
        )
    )
