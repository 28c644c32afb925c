"""Pictures of the generated world as shards: pretraining data with masks, labels and signs.

After: RICE, section 3.1 (rows R1, R2) in small: labels are true attributes, or k-means clusters of
region features of `lite`; a sign is a text region.
Differs: pictures are generated, features are not CLIP's, and k-means is flat.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from regiontok.core.masks import PixelMasks
from regiontok.encoders.lite import Lite
from regiontok.miniworld.words import COLOURS, SHAPES, SIZES, TEXTURES
from regiontok.miniworld.world import WORLD_VERSION, World, WorldPicture
from regiontok.pretrain.clusters import (
    cluster_labels,
    picture_features,
    region_features,
    save_features,
)
from regiontok.settings.binding import from_text
from regiontok.shards.image_regions import ImageRegions
from regiontok.shards.report import report_path
from regiontok.shards.sidecar import write_sidecar
from regiontok.shards.tar import write_tar

if TYPE_CHECKING:
    from jaxtyping import Float, Int

VERSION = 2  # raise it with every change of what is written or how labels are made
ATTRIBUTES = {"shape": SHAPES, "colour": COLOURS, "texture": TEXTURES, "size": SIZES}
PER_SHARD = 1000  # pictures of a tar
NO_CLASS = -1


@dataclass(frozen=True)
class WorldPictures:
    """The first pictures of a split of the world, or further ones, with regions.

    Attributes:
        n: how many pictures there are.
        start: number of the first picture in its split.
        split: name of the split.
        seed: seed of the world.
        size: side of a picture in pixels.
        labels: what makes a class: names of `ATTRIBUTES`, joined by "+".
        kmeans: labels are so many clusters of region features of `lite` instead; 0: true ones.
        whole: the only region is the whole picture, as in image-level cluster discrimination; needs
            `kmeans`.

    Raises:
        ValueError: If the split has not so many pictures, an attribute is unknown, or pictures are
            whole without clusters.

    >>> pictures = WorldPictures.of("world(8, size=128)")
    >>> pictures.n, pictures.split, pictures.labels, pictures.classes
    (8, 'train', 'colour+shape', 64)
    """

    n: int
    start: int = 0
    split: str = "train"
    seed: int = 0
    size: int = 192
    labels: str = "colour+shape"
    kmeans: int = 0
    whole: bool = False

    def __post_init__(self) -> None:
        most = len(self.world)
        if self.n < 1 or self.start < 0 or self.start + self.n > most or self.kmeans < 0:
            raise ValueError(
                f"the split {self.split} has {most} pictures, and at least one is needed, got "
                f"{self}"
            )
        if unknown := [name for name in self.labels.split("+") if name not in ATTRIBUTES]:
            raise ValueError(
                f"unknown {unknown[0]!r} in labels; they are of {', '.join(ATTRIBUTES)}, "
                f"joined by +, got {self}"
            )
        if self.whole and not self.kmeans:
            raise ValueError(f"a whole picture has no {self.labels}: give kmeans, got {self}")

    @classmethod
    def of(cls, text: str) -> WorldPictures:
        """The pictures of a text such as "world(4000, size=192)".

        Raises:
            SpecError: If the text has another form, or an argument that the world does not take.
            ValueError: See `WorldPictures`.
        """
        return from_text(cls, text, "source")

    @property
    def world(self) -> World:
        """The split that they are of."""
        return World(self.split, self.seed, self.size)

    @property
    def classes(self) -> int:
        """How many classes there are; labels lie below this."""
        return self.kmeans or len(class_names(self.labels))

    def shards(self, folder: Path) -> Path:
        """The folder below `folder` that holds the pictures as shards; written if need be."""
        shard_folder = folder / f"world-{self._key()}"
        starts = range(0, self.n, PER_SHARD)
        names = [f"{start // PER_SHARD:05}" for start in starts]
        if all(report_path(shard_folder, name).exists() for name in names):
            return shard_folder
        shard_folder.mkdir(parents=True, exist_ok=True)
        clusters = self._clusters(folder) if self.kmeans else []
        for name, start in zip(names, starts, strict=True):
            tar, rows = [], []
            for place, picture in enumerate(self._pictures(start, PER_SHARD)):
                tar.append((f"{picture.name}.png", png_of(picture)))
                labels = clusters[start + place] if clusters else true_labels(picture, self.labels)
                rows.append(self._row(picture, place, labels))
            path = shard_folder / f"{name}.tar"
            write_tar(path, tar)
            write_sidecar(path, rows, config=asdict(self), classes=self.kmeans or None)
        return shard_folder

    def _pictures(self, first: int = 0, most: int | None = None) -> Iterator[WorldPicture]:
        """Pictures one by one: of a large world not all are in memory."""
        last = self.n if most is None else min(first + most, self.n)
        world = self.world
        return (world[self.start + number] for number in range(first, last))

    def _row(self, picture: WorldPicture, index: int, labels: Int[np.ndarray, "k"]) -> ImageRegions:
        if not self.whole:
            return regions_of(picture, index, labels)
        height, width = picture.labels.shape
        return ImageRegions(
            index=index,
            key=picture.name,
            size=(height, width),
            boxes=np.array([[0, 0, width, height]], np.float32),
            kinds=np.zeros(1, np.int8),
            labels=labels,
            masks=[b""],
            texts=[""],
        )

    def _clusters(self, folder: Path) -> list[Int[np.ndarray, "k"]]:
        """The clusters of each picture's regions."""
        # the features are the same for any number of clusters
        path = folder / f"features-{replace(self, kmeans=1)._key()}.npy"
        counts = []
        encoder, features = Lite(size=self.size), []
        is_there = path.exists()
        for picture in self._pictures():
            counts.append(1 if self.whole else len(picture.objects))
            if not is_there:
                features.append(self._features(picture, encoder))
        if not is_there:
            save_features(path, features)
        return cluster_labels(np.load(path, allow_pickle=False), self.kmeans, counts)

    def _features(self, picture: WorldPicture, encoder: Lite) -> Float[np.ndarray, "k d"]:
        if self.whole:
            return picture_features(picture.pixels, encoder)
        return region_features(picture.pixels, picture.masks[: len(picture.objects)], encoder)

    def _key(self) -> str:
        """A hash of all that decides the shards."""
        text = json.dumps([VERSION, WORLD_VERSION, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def class_names(labels: str) -> tuple[str, ...]:
    """The names of the true classes, in the order of their numbers.

    Args:
        labels: names of `ATTRIBUTES`, joined by "+".

    >>> class_names("colour+shape")[:2]
    ('red circle', 'red square')
    """
    words = (ATTRIBUTES[name] for name in labels.split("+"))
    return tuple(" ".join(chosen) for chosen in product(*words))


def true_labels(picture: WorldPicture, labels: str) -> Int[np.ndarray, "k"]:
    """The number of each object's class, see `class_names`."""
    names, attributes = class_names(labels), labels.split("+")
    words = (" ".join(getattr(item, name) for name in attributes) for item in picture.objects)
    return np.array([names.index(chosen) for chosen in words], np.int64)


def png_of(picture: WorldPicture) -> bytes:
    """A picture's file."""
    with io.BytesIO() as file:
        Image.fromarray(picture.pixels).save(file, "png", compress_level=1)
        return file.getvalue()


def regions_of(picture: WorldPicture, index: int, labels: Int[np.ndarray, "k"]) -> ImageRegions:
    """A picture's row in a side-car: its objects, and its signs as text regions.

    Args:
        picture: the picture.
        index: its number in its tar.
        labels: the class of each object.
    """
    coded = PixelMasks.from_dense(picture.masks)
    objects, texts = picture.objects, picture.texts
    return ImageRegions(
        index=index,
        key=picture.name,
        size=(picture.labels.shape[0], picture.labels.shape[1]),
        boxes=np.array([item.box for item in objects] + [plate.box for plate in texts], np.float32),
        kinds=np.array([0] * len(objects) + [1] * len(texts), np.int8),
        labels=np.array([*labels, *[NO_CLASS] * len(texts)], np.int64),
        masks=[*coded.counts[: len(objects)], *[b""] * len(texts)],
        texts=[""] * len(objects) + [plate.text for plate in texts],
    )
