"""Generated scenes as shards: small pretraining data whose labels are known, or clusters.

After: RICE, section 3.1 (rows R1, R2) in small: labels are true attributes, or k-means over region
features of `lite`; a word, drawn into the picture, is the text region.
Differs: scenes are generated, features are not CLIP's, and k-means is flat.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from regiontok.core.masks import PixelMasks
from regiontok.encoders.lite import Lite
from regiontok.miniworld.scenes import SCENES_VERSION, Scene, make_scene
from regiontok.miniworld.words import BACKGROUNDS, COLOURS, SHAPES, SIZES, TEXTURES
from regiontok.pretrain.clusters import cluster_labels, region_features, save_features
from regiontok.settings.binding import from_text
from regiontok.shards.image_regions import ImageRegions
from regiontok.shards.report import report_path
from regiontok.shards.sidecar import write_sidecar
from regiontok.shards.tar import write_tar

if TYPE_CHECKING:
    from jaxtyping import Int

VERSION = 3  # raise it with every change of what is drawn or how labels are made
ATTRIBUTES = {"shape": SHAPES, "colour": COLOURS, "texture": TEXTURES, "size": SIZES}
WORDS = (*SHAPES, *COLOURS, *SIZES, *TEXTURES, *BACKGROUNDS)
PER_SHARD = 256  # images of a shard
NO_LABEL = -1

Box = tuple[float, float, float, float]


def is_scenes(text: str) -> bool:
    """True for "scenes(...)"."""
    return text.strip().partition("(")[0] == "scenes"


@dataclass(frozen=True)
class Scenes:
    """Generated pictures with regions.

    Attributes:
        n: how many pictures there are.
        start: seed of the first; sources that do not overlap are a training and a held-out part.
        size: side of a picture in pixels.
        fewest: objects of a picture at least.
        most: objects of a picture at most.
        labels: what makes a class: names of `ATTRIBUTES`, joined by "+".
        kmeans: labels are so many clusters of region features of `lite` instead; 0: true ones.
        words: a word is drawn into every picture.
        whole: the only object region is the whole picture, as in image-level cluster
            discrimination; needs `kmeans`.

    Raises:
        ValueError: If there is no picture, an attribute is unknown, or pictures are whole without
            clusters.

    >>> scenes = Scenes.of("scenes(8, size=64)")
    >>> scenes.n, scenes.size, scenes.labels, scenes.classes
    (8, 64, 'colour+texture', 40)
    """

    n: int
    start: int = 0
    size: int = 96
    fewest: int = 2
    most: int = 5
    labels: str = "colour+texture"
    kmeans: int = 0
    words: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        if self.n < 1 or self.start < 0 or self.kmeans < 0:
            raise ValueError(f"expected at least one scene, from a seed >= 0, got {self}")
        if unknown := [name for name in self.labels.split("+") if name not in ATTRIBUTES]:
            raise ValueError(
                f"unknown {unknown[0]!r} in labels; they are of {', '.join(ATTRIBUTES)}, "
                f"joined by +, got {self}"
            )
        if self.whole and not self.kmeans:
            raise ValueError(f"a whole picture has no {self.labels}: give kmeans, got {self}")

    @classmethod
    def of(cls, text: str) -> Scenes:
        """The scenes of a text such as "scenes(400, size=96)".

        Raises:
            SpecError: If the text has another form, or an argument that scenes do not take.
            ValueError: See `Scenes`.
        """
        return from_text(cls, text, "source")

    @property
    def classes(self) -> int:
        """How many classes there are; labels lie below this."""
        return self.kmeans or math.prod(len(ATTRIBUTES[name]) for name in self.labels.split("+"))

    def shards(self, folder: Path) -> Path:
        """The folder below `folder` that holds the scenes as shards; it is written if need be."""
        shard_folder = folder / f"scenes-{self._key()}"
        starts = range(0, self.n, PER_SHARD)
        names = [f"{start // PER_SHARD:05}" for start in starts]
        if all(report_path(shard_folder, name).exists() for name in names):
            return shard_folder
        shard_folder.mkdir(parents=True, exist_ok=True)
        pictures = [self._picture(seed) for seed in range(self.start, self.start + self.n)]
        labels = (
            self._cluster_labels(pictures, folder)
            if self.kmeans
            else [self._true_labels(picture.scene) for picture in pictures]
        )
        for name, start in zip(names, starts, strict=True):
            shard = slice(start, start + PER_SHARD)
            self._write_shard(shard_folder / f"{name}.tar", pictures[shard], labels[shard])
        return shard_folder

    def _write_shard(
        self, tar: Path, pictures: Sequence[_ScenePicture], labels: Sequence[np.ndarray]
    ) -> None:
        write_tar(tar, [(f"{picture.scene.seed:07}.png", picture.png) for picture in pictures])
        rows = [
            picture.row(index, picture_labels)
            for index, (picture, picture_labels) in enumerate(zip(pictures, labels, strict=True))
        ]
        write_sidecar(tar, rows, config=asdict(self), classes=self.kmeans or None)

    def _picture(self, seed: int) -> _ScenePicture:
        scene = make_scene(seed, self.size, (self.fewest, self.most))
        masks = np.ones((1, *scene.labels.shape), bool) if self.whole else scene.masks
        pixels, box, word = scene.pixels, None, ""
        if self.words:
            rng = np.random.default_rng([VERSION, seed])
            word = WORDS[int(rng.random() * len(WORDS))]
            pixels, box = draw_word(pixels, word, rng)
        with io.BytesIO() as file:
            Image.fromarray(pixels).save(file, "png")
            return _ScenePicture(scene, masks, png=file.getvalue(), word=word, word_box=box)

    def _true_labels(self, scene: Scene) -> Int[np.ndarray, "k"]:
        """A number for each object's attributes."""
        names = self.labels.split("+")
        indices = np.array(
            [
                [ATTRIBUTES[name].index(getattr(thing, name)) for name in names]
                for thing in scene.objects
            ]
        )
        return np.ravel_multi_index(tuple(indices.T), [len(ATTRIBUTES[name]) for name in names])

    def _cluster_labels(
        self, pictures: Sequence[_ScenePicture], folder: Path
    ) -> list[Int[np.ndarray, "k"]]:
        """The cluster of each region of each picture."""
        # the features are the same for any number of clusters
        path = folder / f"features-{replace(self, kmeans=1)._key()}.npy"
        if not path.exists():
            encoder = Lite()
            save_features(
                path,
                [region_features(one.scene.pixels, one.masks, encoder) for one in pictures],
            )
        counts = [len(picture.masks) for picture in pictures]
        return cluster_labels(np.load(path, allow_pickle=False), self.kmeans, counts)

    def _key(self) -> str:
        """A hash of all that decides the scenes."""
        text = json.dumps([VERSION, SCENES_VERSION, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True, eq=False)
class _ScenePicture:
    """One picture of a scene, with its regions.

    Attributes:
        scene: the scene.
        masks: `[k H W]` masks of the object regions.
        png: the picture's file.
        word: the word in the picture, or "".
        word_box: the word's plate, if there is one.
    """

    scene: Scene
    masks: np.ndarray
    png: bytes
    word: str
    word_box: Box | None

    def row(self, index: int, labels: np.ndarray) -> ImageRegions:
        """The picture's row in the side-car; a word is one more region."""
        coded = PixelMasks.from_dense(self.masks)
        boxes, masks = coded.boxes.tolist(), list(coded.counts)
        texts, region_labels = [""] * len(masks), labels.tolist()
        if self.word_box is not None:
            boxes.append(self.word_box)
            masks.append(b"")
            texts.append(self.word)
            region_labels.append(NO_LABEL)
        return ImageRegions(
            index=index,
            key=f"{self.scene.seed:07}",
            size=self.scene.labels.shape,
            boxes=np.array(boxes, np.float32),
            kinds=np.array([bool(text) for text in texts], np.int8),
            labels=np.array(region_labels, np.int64),
            masks=masks,
            texts=texts,
        )


def draw_word(pixels: np.ndarray, word: str, rng: np.random.Generator) -> tuple[np.ndarray, Box]:
    """Draw a word on a white plate somewhere in a picture.

    Args:
        pixels: `[H W 3]` uint8; it is not changed.
        word: the word.
        rng: from which the place is drawn.

    Returns:
        A copy of the picture with the word, and the plate's box, xyxy in pixels.
    """
    picture = Image.fromarray(pixels.copy())
    font = ImageFont.load_default(size=max(8, picture.height // 8))
    left, top, right, bottom = font.getbbox(word)
    plate_width, plate_height = int(right - left) + 4, int(bottom - top) + 4
    x = int(rng.random() * max(picture.width - plate_width, 1))
    y = int(rng.random() * max(picture.height - plate_height, 1))
    x_end = min(x + plate_width, picture.width)
    y_end = min(y + plate_height, picture.height)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((x, y, x_end - 1, y_end - 1), fill="white")
    draw.text((x + 2 - left, y + 2 - top), word, fill="black", font=font)
    return np.asarray(picture), (float(x), float(y), float(x_end), float(y_end))
