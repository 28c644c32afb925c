"""Generated scenes as shards: small pretraining data whose labels are known, or clustered as RICE
clusters its regions.

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
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.encoders.lite import Lite
from regiontok.miniworld.scenes import SCENES_VERSION, Scene, make_scene
from regiontok.miniworld.words import BACKGROUNDS, COLOURS, SHAPES, SIZES, TEXTURES
from regiontok.settings import spec
from regiontok.shards.report import report_path
from regiontok.shards.sidecar import ImageRegions, write_sidecar
from regiontok.shards.tar import write_tar
from regiontok.system.files import replacing
from regiontok.system.need import need

if TYPE_CHECKING:
    from jaxtyping import Float

VERSION = 2  # raise it with every change of what is drawn or how labels are made
ATTRIBUTES = {"shape": SHAPES, "colour": COLOURS, "texture": TEXTURES, "size": SIZES}
WORDS = (*SHAPES, *COLOURS, *SIZES, *TEXTURES, *BACKGROUNDS)
EACH = 256  # images a shard

_KINDS = {"int": "a whole number", "bool": "True or False", "str": "text"}


def is_scenes(text: str) -> bool:
    """True for "scenes(...)"."""
    return text.strip().partition("(")[0] == "scenes"


@dataclass(frozen=True)
class Scenes:
    """`n` generated pictures with regions.

    Attributes:
        n: pictures.
        start: seed of the first; sources that do not overlap are a training and a held-out part.
        size: side in pixels.
        fewest, most: objects a picture.
        labels: what makes a class, of `ATTRIBUTES`, joined by "+".
        kmeans: labels are so many clusters of region features of `lite` instead; 0: true ones.
        words: a word is drawn into every picture.
        whole: the only object region is the whole picture, as in image-level cluster
            discrimination; needs `kmeans`.

    Raises:
        ValueError: no picture, an unknown attribute, or whole pictures without clusters.

    >>> Scenes.of("scenes(8, size=64)")
    Scenes(n=8, start=0, size=64, fewest=2, most=5, labels='colour+texture', kmeans=0, words=False,
    whole=False)
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
                f"unknown {unknown[0]!r} in labels; they are of {', '.join(ATTRIBUTES)}, joined by +, got {self}"
            )
        if self.whole and not self.kmeans:
            raise ValueError(f"a whole picture has no {self.labels}: give kmeans, got {self}")

    @classmethod
    def of(cls, text: str) -> Scenes:
        """From its text.

        Raises:
            ValueError: not of this form, or an argument that it does not have.
        """
        (call,) = spec.parse(text)
        kinds = {field.name: str(field.type) for field in fields(cls)}
        given = dict(zip(kinds, call.args, strict=False)) | dict(call.kwargs)
        if unknown := sorted(set(given) - set(kinds)):
            raise ValueError(
                f"{text}: unknown {', '.join(unknown)}; scenes takes {', '.join(kinds)}"
            )
        if wrong := [key for key, value in given.items() if type(value).__name__ != kinds[key]]:
            raise ValueError(f"{text}: {wrong[0]} is {_KINDS[kinds[wrong[0]]]}")
        if "n" not in given:
            raise ValueError(f"{text}: say how many, scenes(400)")
        return cls(**given)  # type: ignore[arg-type]

    @property
    def classes(self) -> int:
        """Labels lie below this."""
        return self.kmeans or math.prod(len(ATTRIBUTES[name]) for name in self.labels.split("+"))

    def shards(self, folder: Path) -> Path:
        """The folder below `folder` that holds them as shards; written now if it does not."""
        place = folder / f"scenes-{self._key()}"
        starts = range(0, self.n, EACH)
        if all(report_path(place, f"{at // EACH:05}").exists() for at in starts):
            return place
        place.mkdir(parents=True, exist_ok=True)
        made = [self._picture(seed) for seed in range(self.start, self.start + self.n)]
        labels = (
            self._clustered(made, folder)
            if self.kmeans
            else [self._true(one.scene) for one in made]
        )
        for at in starts:
            tar, part = place / f"{at // EACH:05}.tar", slice(at, at + EACH)
            write_tar(tar, [(f"{one.scene.seed:07}.png", one.png) for one in made[part]])
            rows = [
                one.row(index, own)
                for index, (one, own) in enumerate(zip(made[part], labels[part], strict=True))
            ]
            write_sidecar(tar, rows, config=asdict(self))
        return place

    def _picture(self, seed: int) -> _Made:
        scene = make_scene(seed, self.size, (self.fewest, self.most))
        pixels, box, word = scene.pixels, None, ""
        if self.words:
            rng = np.random.default_rng([VERSION, seed])
            word = WORDS[int(rng.random() * len(WORDS))]
            pixels, box = written(pixels, word, rng)
        with io.BytesIO() as file:
            Image.fromarray(pixels).save(file, "png")
            return _Made(scene, self._masks(scene), file.getvalue(), word, box)

    def _masks(self, scene: Scene) -> np.ndarray:
        return np.ones((1, *scene.labels.shape), bool) if self.whole else scene.masks

    def _true(self, scene: Scene) -> np.ndarray:
        names = self.labels.split("+")
        numbers = np.array(
            [
                [ATTRIBUTES[name].index(getattr(one, name)) for name in names]
                for one in scene.objects
            ]
        )
        return np.ravel_multi_index(tuple(numbers.T), [len(ATTRIBUTES[name]) for name in names])

    def _clustered(self, made: Sequence[_Made], folder: Path) -> list[np.ndarray]:
        kept = (
            folder / f"features-{replace(self, kmeans=1)._key()}.npy"
        )  # the same for any number of clusters
        if not kept.exists():
            with replacing(kept) as part, part.open("wb") as file:
                np.save(
                    file, np.concatenate([region_features(one.scene, one.masks) for one in made])
                )
        table = np.load(kept, allow_pickle=False)
        if len(table) < self.kmeans:
            raise ValueError(
                f"{len(table)} regions do not make {self.kmeans} clusters: more scenes, or fewer clusters"
            )
        cluster = need("sklearn.cluster", extra="sklearn")
        found = (
            cluster.KMeans(self.kmeans, n_init=1, random_state=0)
            .fit_predict(table)
            .astype(np.int64)
        )
        return np.split(found, np.cumsum([len(one.masks) for one in made])[:-1])

    def _key(self) -> str:
        said = json.dumps([VERSION, SCENES_VERSION, asdict(self)], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:12]


@dataclass(frozen=True, eq=False)
class _Made:
    scene: Scene
    masks: np.ndarray
    png: bytes
    word: str
    box: tuple[float, float, float, float] | None

    def row(self, index: int, labels: np.ndarray) -> ImageRegions:
        coded = PixelMasks.from_dense(self.masks)
        boxes, masks = coded.boxes.tolist(), list(coded.counts)
        texts, own = [""] * len(masks), labels.tolist()
        if self.box is not None:
            boxes, masks, texts, own = (
                [*boxes, self.box],
                [*masks, b""],
                [*texts, self.word],
                [*own, -1],
            )
        kinds = np.array([bool(text) for text in texts], np.int8)
        return ImageRegions(
            index,
            f"{self.scene.seed:07}",
            self.scene.labels.shape,
            np.array(boxes, np.float32),
            kinds=kinds,
            labels=np.array(own, np.int64),
            masks=masks,
            texts=texts,
        )


def region_features(scene: Scene, masks: np.ndarray) -> Float[np.ndarray, "k d"]:
    """Mean `lite` features under each mask, of length 1."""
    (grid,) = Lite().encode([Picture.of(scene.pixels)])
    shares = grid.frame.to_grid(PixelMasks.from_dense(masks)).flatten(1)
    pooled = shares.to(grid.features.dtype) @ grid.features.flatten(0, 1)
    return torch.nn.functional.normalize(pooled, dim=1).numpy()


def written(
    pixels: np.ndarray, word: str, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """A copy with a word on a white plate somewhere, and the plate's box."""
    picture = Image.fromarray(pixels.copy())
    font = ImageFont.load_default(size=max(8, pixels.shape[0] // 8))
    left, top, right, bottom = font.getbbox(word)
    wide, high = int(right - left) + 4, int(bottom - top) + 4
    x, y = (
        int(rng.random() * max(side - own, 1))
        for side, own in ((pixels.shape[1], wide), (pixels.shape[0], high))
    )
    box = (x, y, min(x + wide, pixels.shape[1]), min(y + high, pixels.shape[0]))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill="white")
    draw.text((x + 2 - left, y + 2 - top), word, fill="black", font=font)
    return np.asarray(picture), tuple(map(float, box))  # type: ignore[return-value]
