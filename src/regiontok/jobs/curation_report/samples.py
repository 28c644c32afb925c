"""Small pictures for the page: crops of regions, lines of text, images that were left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from regiontok.core.picture import Picture, PictureError
from regiontok.curate.sources import Source
from regiontok.curate.tars import Curation
from regiontok.jobs.curation_report.tables import LineTable, RegionTable
from regiontok.jobs.html_page import data_uri
from regiontok.shards.tar import ShardError

if TYPE_CHECKING:
    from jaxtyping import Int

SIDE = 144  # pixels of a sample's longer side: twice what the page shows, for sharp screens
LINE_HEIGHT, LINE_WIDTH = 64, 560  # pixels of a line of text at most
CLUSTERS = 4  # large, of median size, and small


@dataclass(frozen=True)
class Sample:
    """One small picture.

    Attributes:
        uri: the picture; "" where it cannot be decoded.
        text: what stands below it.
        note: what is said of it under the pointer.
        is_used: False greys it.
    """

    uri: str
    text: str = ""
    note: str = ""
    is_used: bool = True


@dataclass(frozen=True)
class ClusterSample:
    """Some regions of a cluster, from the nearest to its centre to the farthest.

    Attributes:
        number: the cluster.
        size: how many regions it has.
        crops: some of them.
    """

    number: int
    size: int
    crops: Sequence[Sample]


class Images:
    """Decoded images of a curation; the last one is kept.

    Args:
        curation: the curation.
        tars: the tars that are read, by their numbers.
    """

    def __init__(self, curation: Curation, tars: Sequence[Source]) -> None:
        self._curation, self._tars = curation, tars

    def name(self, tar: int, image: int) -> str:
        """What an image is called."""
        return self._curation.index(self._tars[tar]).key(image)

    def read(self, tar: int, image: int) -> Image.Image | None:
        """An image, upright; None where it cannot be decoded."""
        try:
            return Picture.of(self._curation.index(self._tars[tar]).read(image)).pil
        except (PictureError, ShardError):
            return None


def small_jpeg(image: Image.Image, side: tuple[int, int] = (SIDE, SIDE)) -> str:
    """A small copy of an image, (width, height) at most, as text for `src`."""
    small = image.convert("RGB")
    small.thumbnail(side)
    return data_uri(small, "JPEG")


def crop(image: Image.Image, box: Sequence[float]) -> Image.Image:
    """The part of an image in an xyxy box, of one pixel at least."""
    x0, y0 = (int(np.floor(value)) for value in box[:2])
    x1, y1 = (int(np.ceil(value)) for value in box[2:])
    x0, y0 = min(max(x0, 0), image.width - 1), min(max(y0, 0), image.height - 1)
    return image.crop(
        (x0, y0, max(min(x1, image.width), x0 + 1), max(min(y1, image.height), y0 + 1))
    )


def sampled_clusters(
    images: Images, regions: RegionTable, crops: int
) -> dict[str, list[ClusterSample]]:
    """Some of the largest, of the middle and of the smallest clusters that have regions.

    Args:
        images: the images.
        regions: their regions.
        crops: how many regions of a cluster are shown.
    """
    numbers, sizes = np.unique(regions.labels[regions.labels >= 0], return_counts=True)
    by_size = numbers[sizes.argsort(kind="stable")[::-1]]
    count = min(CLUSTERS, len(by_size) // 3)
    middle = (len(by_size) - count) // 2
    groups = {
        "the largest": by_size[:count],
        "of median size": by_size[middle : middle + count],
        "the smallest": by_size[len(by_size) - count :],
    }
    if not count:
        groups = {"all": by_size}
    return {
        name: [_cluster(images, regions, int(number), crops) for number in group]
        for name, group in groups.items()
    }


def _cluster(images: Images, regions: RegionTable, number: int, crops: int) -> ClusterSample:
    members = np.flatnonzero(regions.labels == number)
    members = members[np.argsort(-regions.cosines[members], kind="stable")]
    chosen = members[spread(len(members), crops)]
    samples = [_region(images, regions, int(place)) for place in chosen]
    return ClusterSample(number, len(members), [sample for sample in samples if sample])


def _region(images: Images, regions: RegionTable, place: int) -> Sample | None:
    tar, number = int(regions.tar[place]), int(regions.image[place])
    image = images.read(tar, number)
    if image is None:
        return None
    note = f"{images.name(tar, number)}, cosine {regions.cosines[place]:.3f}"
    return Sample(small_jpeg(crop(image, regions.boxes[place].tolist())), note=note)


def sampled_lines(images: Images, lines: LineTable, score: float, most: int) -> list[Sample]:
    """Lines of text from the surest to those that are just not used, a line an image if it can be.

    Args:
        images: the images.
        lines: their lines.
        score: lines above it are used.
        most: how many are shown; a quarter of them are not used.
    """
    samples = []
    order = np.argsort(-lines.scores, kind="stable")
    is_used = lines.scores[order] > score
    unused = most // 4
    for part, count in ((order[is_used], most - unused), (order[~is_used], unused)):
        for place in part[spread(len(part), count)].tolist():
            tar, number = int(lines.tar[place]), int(lines.image[place])
            image = images.read(tar, number)
            if image is None:
                continue
            corners = lines.polygons[place]
            box = [*(corners.min(0) - 2), *(corners.max(0) + 2)]
            uri = small_jpeg(crop(image, box), (LINE_WIDTH, LINE_HEIGHT))
            confidence = f"{lines.scores[place]:.2f}"
            used = bool(lines.scores[place] > score)
            samples.append(Sample(uri, lines.texts[place], confidence, used))
    return samples


def spread(count: int, most: int) -> Int[np.ndarray, "s"]:
    """Places among `count`, evenly spread, the first and the last among them.

    >>> spread(10, 4).tolist(), spread(2, 4).tolist()
    ([0, 3, 6, 9], [0, 1])
    """
    chosen: np.ndarray = np.linspace(0, max(count - 1, 0), min(most, count)).round().astype(int)
    return chosen
