"""Shards from images: tars where images are files, and a side-car for each tar.

After: RICE, section 3.1 (rows R1, R2: what a region has).
Differs: labels here are categories of people or numbers of a table, not clusters of features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from regiontok.core.masks import masks_from
from regiontok.core.picture import Picture, PictureError
from regiontok.jobs.shards.classes import ClassNames
from regiontok.jobs.shards.region_table import RegionTable
from regiontok.methods import Segmenter
from regiontok.settings import registry
from regiontok.shards.image_regions import ImageRegions
from regiontok.shards.manifest import write_manifest
from regiontok.shards.report import (
    FailedImage,
    config_hash,
    read_report,
    report_path,
    write_report,
)
from regiontok.shards.sidecar import SUFFIX, write_sidecar
from regiontok.shards.tar import ShardError, open_index, sample_key, tar_bytes, write_tar

FORM = 1  # raise it with every change of what a side-car of the same settings holds


@dataclass(frozen=True, kw_only=True)
class ShardOptions:
    """How shards are made.

    Attributes:
        segmenter: spec of the segmenter whose masks are the regions, such as
            "stored('instances.json')"; "" where a table has the boxes.
        boxes: a table of boxes, see `RegionTable`; None where a segmenter finds the regions.
        classes: a JSON list of class names; None numbers names as they are met.
        images_per_shard: images of a tar, where images are files.
        min_edge: least pixels of the shorter side of an object's box (RICE: 128); text is kept.
        masks: whether masks are kept beside their boxes.
        name: what tars are called, in front of their number.

    Raises:
        ValueError: If there is not one source of regions, or a number is out of its range.
    """

    segmenter: str = ""
    boxes: Path | None = None
    classes: Path | None = None
    images_per_shard: int = 1000
    min_edge: float = 0.0
    masks: bool = True
    name: str = "images"

    def __post_init__(self) -> None:
        if bool(self.segmenter) == (self.boxes is not None):
            raise ValueError(
                "say where the regions come from: --segmenter SPEC (such as "
                "\"stored('instances.json')\"), or --boxes TABLE"
            )
        if self.images_per_shard < 1 or not self.min_edge >= 0:
            raise ValueError(
                f"images_per_shard ({self.images_per_shard}) is at least 1, and min_edge "
                f"({self.min_edge}) at least 0"
            )


@dataclass(frozen=True)
class ShardImage:
    """What became of one image.

    Attributes:
        name: the image.
        regions: how many regions it has.
        resumed: True if its shard was there before.
        error: why it was set aside; None if it was done.
    """

    name: str
    regions: int = 0
    resumed: bool = False
    error: str | None = None


class ShardBuilder:
    """Makes shards of files, and side-cars of tars.

    Args:
        out: folder of the shards, or of the side-cars.
        options: how they are made.

    Raises:
        ValueError: If a spec cannot be built, or a table or the class names cannot be read.
    """

    def __init__(self, out: Path, options: ShardOptions) -> None:
        self.out, self.options = out, options
        self.classes = ClassNames.open(out, options.classes)
        self._table = RegionTable(options.boxes) if options.boxes else None
        self._segmenter: Segmenter | None = None
        if options.segmenter:
            self._segmenter = registry.build("segmenter", options.segmenter)
        self.config = {
            "form": FORM,
            "segmenter": options.segmenter,
            "identity": self._segmenter.identity if self._segmenter else "",
            "boxes": config_hash({"": options.boxes.read_bytes().hex()}) if options.boxes else "",
            "classes": self.classes.names if options.classes else [],
            "min_edge": options.min_edge,
            "masks": options.masks,
        }

    def build(self, files: Sequence[Path], tars: Sequence[Path]) -> Iterator[ShardImage]:
        """Make all shards, and yield each image when its shard is there.

        Shards that are there already, of the same images and settings, are not made again.

        Args:
            files: image files, of which tars are made.
            tars: tars that lie where they are, and get a side-car.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        size = self.options.images_per_shard
        shards = []
        for number, start in enumerate(range(0, len(files), size)):
            tar = self.out / f"{self.options.name}-{number:06d}.tar"
            shards.append(tar)
            yield from self._of_files(tar, files[start : start + size])
        for tar in tars:
            shards.append(tar)
            yield from self._of_tar(tar)
        for tar in shards:  # the number of classes is known now
            path = report_path(self.out, tar.stem)
            if path.is_file():
                write_report(path, replace(read_report(path), classes=self.classes.count or None))
        write_manifest(self.out)

    def _of_files(self, tar: Path, files: Sequence[Path]) -> Iterator[ShardImage]:
        status = [path.stat() for path in files]
        listing = [
            [str(path), stat.st_size, stat.st_mtime_ns]
            for path, stat in zip(files, status, strict=True)
        ]
        config = {**self.config, "images": config_hash({"": listing})}
        if self._is_done(tar, config):
            yield from (ShardImage(str(path), resumed=True) for path in files)
            return
        contents: list[tuple[str, bytes]] = []
        outcomes: list[ShardImage] = []
        rows: list[ImageRegions] = []
        for path in files:
            # keys are numbers: names of two folders may be equal
            name = f"{len(contents):06d}{path.suffix.lower()}"
            try:
                data = path.read_bytes()
                row = self._row(len(contents), name, str(path), data)
            except (OSError, ValueError) as error:
                outcomes.append(ShardImage(str(path), error=_reason(error, str(path))))
                continue
            contents.append((name, data))
            rows.append(row)
            outcomes.append(ShardImage(str(path), len(row)))
        if contents:
            write_tar(tar, contents)
            self._write(tar, rows, config)
        yield from outcomes

    def _of_tar(self, tar: Path) -> Iterator[ShardImage]:
        config = {**self.config, "tar": tar_bytes(tar)}
        index = open_index(tar, self.out)
        names = [f"{tar}/{name}" for name in index.names]
        if self._is_done(tar, config):
            yield from (ShardImage(name, resumed=True) for name in names)
            return
        outcomes: list[ShardImage] = []
        rows: list[ImageRegions] = []
        errors: list[FailedImage] = []
        for number, name in enumerate(names):
            try:
                row = self._row(number, index.names[number], name, index.read(number))
            except ShardError:
                raise
            except (OSError, ValueError) as error:
                reason = _reason(error, name)
                errors.append(FailedImage(number, index.key(number), reason))
                outcomes.append(ShardImage(name, error=reason))
                continue
            rows.append(row)
            outcomes.append(ShardImage(name, len(row)))
        self._write(tar, rows, config, errors)
        yield from outcomes

    def _is_done(self, tar: Path, config: dict[str, Any]) -> bool:
        """True if the shard is there, of these images and settings."""
        try:
            report = read_report(report_path(self.out, tar.stem))
            return (
                report.config_hash == config_hash(config)
                and report.bytes == tar_bytes(tar)
                and (self.out / f"{tar.stem}{SUFFIX}").is_file()
            )
        except ShardError:
            return False

    def _row(self, number: int, name: str, source: str, data: bytes) -> ImageRegions:
        """The regions of one image."""
        picture = Picture.of(data, source)
        row = (
            self._from_table(number, name, picture)
            if self._table
            else self._from_masks(number, name, picture)
        )
        row = _clipped(row)
        edges = (row.boxes[:, 2:] - row.boxes[:, :2]).min(1, initial=np.inf)
        keep = (edges > 0) & ((edges >= self.options.min_edge) | (row.kinds == 1))
        return _taken(row, np.flatnonzero(keep))

    def _from_table(self, number: int, name: str, picture: Picture) -> ImageRegions:
        assert self._table is not None
        regions = self._table.of(picture.name)
        return ImageRegions(
            index=number,
            key=sample_key(name),
            size=picture.size,
            boxes=np.array([region.box for region in regions], np.float32),
            labels=np.array([self.classes.number(region.label) for region in regions], np.int64),
            texts=[region.text for region in regions],
            confidences=np.array([region.confidence for region in regions], np.float32),
        )

    def _from_masks(self, number: int, name: str, picture: Picture) -> ImageRegions:
        assert self._segmenter is not None
        (masks,) = masks_from(self._segmenter, [picture])
        names: Sequence[str | None] = masks.names or [None] * len(masks)
        scores = masks.scores if masks.scores is not None else np.ones(len(masks))
        return ImageRegions(
            index=number,
            key=sample_key(name),
            size=picture.size,
            boxes=masks.boxes.astype(np.float32),
            labels=np.array([self.classes.number(word) for word in names], np.int64),
            masks=masks.counts if self.options.masks else (),
            confidences=np.nan_to_num(np.asarray(scores, np.float32), nan=1.0),
        )

    def _write(
        self,
        tar: Path,
        rows: Sequence[ImageRegions],
        config: dict[str, Any],
        errors: Sequence[FailedImage] = (),
    ) -> None:
        self.classes.save(self.out)  # before the shard counts as done: its labels go by them
        write_sidecar(
            tar,
            rows,
            self.out,
            config=config,
            errors=errors,
            classes=self.classes.count or None,
        )


def _clipped(row: ImageRegions) -> ImageRegions:
    """The boxes cut to the image; what lies outside it becomes empty.

    Raises:
        PictureError: If a box is not finite.
    """
    if not np.isfinite(row.boxes).all():
        region = int(np.flatnonzero(~np.isfinite(row.boxes).all(1))[0])
        raise PictureError(f"box {region} is {row.boxes[region].tolist()}")
    height, width = row.size
    limits = np.array([width, height, width, height], np.float32)
    return replace(row, boxes=np.clip(row.boxes, 0, limits))


def _taken(row: ImageRegions, regions: np.ndarray) -> ImageRegions:
    """Some regions of an image."""
    return replace(
        row,
        boxes=row.boxes[regions],
        kinds=row.kinds[regions],
        labels=row.labels[regions],
        masks=[row.masks[region] for region in regions],
        texts=[row.texts[region] for region in regions],
        confidences=row.confidences[regions],
    )


def _reason(error: Exception, name: str) -> str:
    """Why an image is set aside, without its name, which stands beside it."""
    return str(error).removeprefix(f"{name}: ")
