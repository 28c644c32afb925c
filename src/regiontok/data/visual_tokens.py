"""The number of visual tokens that a region tokenizer makes of an image, before training.

After: nothing.
Differs: nothing known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from regiontok.core.picture import Picture, PictureError
from regiontok.core.tokens import REGION, Tokens
from regiontok.data.cache import FeatureCache
from regiontok.data.generated import is_generated
from regiontok.data.records import open_picture
from regiontok.settings import registry
from regiontok.settings.recipe import TokenizerSettings
from regiontok.system.errors import UnusableModel, first_line
from regiontok.system.files import replacing_shared
from regiontok.tokenizer.region_tokenizer import RegionTokenizer

NO_REGIONS = "picture: its regions cannot be made"  # how the reason begins
# Sizes of the grey pictures that tell whether the count depends on the picture: a frame that pads
# or keeps ratios gives them different grids.
_PROBE_SIZES = ((64, 64), (48, 512), (512, 48))


class VisualCounter(Protocol):
    """Whatever counts the visual tokens of images for `measure`.

    `VisualTokens` does it for one setting.
    """

    @property
    def folder(self) -> Path | None:
        """The folder where measured numbers are kept."""

    def __call__(self, images: Sequence[str]) -> list[int | str]:
        """Number of tokens of each image, or the reason why it has none."""

    @property
    def images_without_masks(self) -> int:
        """How many of the images counted so far have no mask at all, though masks are read."""

    def check_masks(self) -> None:
        """Raise if an image counted so far has more masks than the settings have positions for."""

    def save(self) -> None:
        """Keep the measured numbers on disk."""


class VisualTokens:
    """`visual_tokens(images)` gives the number of visual tokens of each image.

    It is one number where the settings fix it; otherwise the tokenizer runs once an image.

    With `partition_on="normed"` regions follow a norm that training changes: then what is measured
    is where training starts.

    Args:
        settings: settings of the region tokenizer.
        folder: folder where measured numbers are kept (`measure` keeps its own there too), by file
            (path, size, time of change) and settings; None keeps them in memory.
        device: device that encodes pictures.
        features: features and masks of these settings, which are then made and kept once for
            counting and for training; None encodes each picture for counting alone.
    """

    def __init__(
        self,
        settings: TokenizerSettings,
        folder: str | Path | None = None,
        *,
        device: str = "cpu",
        features: FeatureCache | None = None,
    ) -> None:
        places = registry.resolve_pipeline("place", settings.place_tokens)
        limits = [place.most_masks for place in places if place.most_masks is not None]
        self._most_masks = min(limits, default=None)
        # A full table ends a forward; here images are counted first and named together.
        unlimited = [place for place in places if place.most_masks is None]
        counted = {"place_tokens": registry.render_pipeline(unlimited)}
        self.tokenizer = RegionTokenizer(**settings.model_dump() | counted, device=device)
        self._features = features
        self.fixed = self._fixed_count()
        identity = json.dumps([self.tokenizer.regionizer.fingerprint, settings.model_dump()])
        name = f"visual-{sha256(identity.encode()).hexdigest()[:16]}.json"
        self.place_tokens = settings.place_tokens
        self.folder = Path(folder) if folder else None
        self._path = self.folder / name if self.folder else None
        stored = read_json(self._path)
        self._counts: dict[str, int] = stored.get("counts", {})
        self._unmasked = set[str](stored.get("without_masks", []))
        self._masks: dict[str, int] = stored.get("masks", {})
        self._met = set[str]()  # keys of the images of this process, which may be fewer

    def __call__(self, images: Sequence[str], *, batch: int = 16) -> list[int | str]:
        """Number of tokens of each image, or the reason why it has none."""
        if self.fixed is not None:
            return [self.fixed] * len(images)
        keys = [_content_key(image) for image in images]
        self._met.update(keys)
        failures: dict[str, str] = {}
        waiting: dict[str, Picture] = {}
        for image, key in zip(images, keys, strict=True):
            if key not in self._counts and key not in failures and key not in waiting:
                try:
                    waiting[key] = open_picture(image)
                except PictureError as error:
                    failures[key] = str(error).replace(f"{image}: ", "picture: ", 1)
            if len(waiting) >= batch:
                failures |= self._count(waiting)
        failures |= self._count(waiting)
        return [failures.get(key) or self._counts[key] for key in keys]

    @property
    def images_without_masks(self) -> int:
        """How many of the images counted so far have no mask at all, though masks are read."""
        return len(self._unmasked & self._met)

    def check_masks(self) -> None:
        """Refuse images with more masks than the places have positions for.

        Raises:
            ValueError: If there is one; the message says how many there are, and the most masks.
        """
        limit = self._most_masks
        if limit is None:
            return
        masks = [count for key, count in self._masks.items() if key in self._met]
        too_many = sum(count > limit for count in masks)
        if too_many:
            raise ValueError(
                f"{too_many} of {len(masks)} images have more masks than "
                f"{self.place_tokens} has positions for, which is {limit}: say "
                f"masks={max(masks)}, or keep fewer (drop, budget)"
            )

    def save(self) -> None:
        """Keep the measured numbers on disk."""
        if self.fixed is None:
            stored = {
                "counts": self._counts,
                "without_masks": sorted(self._unmasked),
                "masks": self._masks,
            }
            write_json(self._path, stored)

    def _count(self, waiting: dict[str, Picture]) -> dict[str, str]:
        """Count the tokens of the pictures that wait; returns why some of them have none."""
        failures: dict[str, str] = {}
        try:
            self._count_together(waiting)
        except UnusableModel:
            raise
        except ValueError:  # of one picture: the others are counted without it
            for key, picture in waiting.items():
                try:
                    self._count_together({key: picture})
                except ValueError as error:
                    failures[key] = no_regions(error)
        waiting.clear()
        return failures

    def _count_together(self, waiting: Mapping[str, Picture]) -> None:
        if not waiting:
            return
        pictures = list(waiting.values())
        grids = None if self._features is None else self._features.views(pictures)
        run = self.tokenizer.run(pictures, grids=grids)
        self._counts.update(zip(waiting, run.tokens.counts.tolist(), strict=True))
        base_views = [grid for grid in run.grids if grid.view == 0]
        for key, grid in zip(waiting, base_views, strict=True):
            if grid.masks is not None and not len(grid.masks):
                self._unmasked.add(key)
        if self._most_masks is not None:
            regions = zip(waiting, _regions_by_image(run.tokens), strict=True)
            # patches in place of masks are the regions of no mask
            self._masks |= {key: 0 if key in self._unmasked else n for key, n in regions}

    def _fixed_count(self) -> int | None:
        """The number of tokens of any picture; None if it depends on the picture.

        It is fixed if every picture has the same grid without padding and the steps make a fixed
        number of regions of it.
        """
        regionizer = self.tokenizer.regionizer
        if regionizer.tiling is not None or not self.tokenizer.pool.one_token:
            return None
        if any(not step.keeps_count and step.exact_count is None for step in regionizer.steps):
            return None
        grey = [Picture.of(np.full((*size, 3), 128, np.uint8)) for size in _PROBE_SIZES]
        run = self.tokenizer.run(grey, masks=False)
        counts = run.tokens.counts.tolist()
        same_grid = len({grid.grid for grid in run.grids}) == 1
        unpadded = all(bool(grid.valid.all()) for grid in run.grids)
        return counts[0] if same_grid and unpadded and len(set(counts)) == 1 else None


def _regions_by_image(tokens: Tokens) -> list[int]:
    """How many regions the tokens of each image belong to, one token a region or many."""
    rows = tokens.kind == REGION
    pairs = torch.stack([tokens.image[rows], tokens.view[rows], tokens.region[rows]]).unique(dim=1)
    return torch.bincount(pairs[0], minlength=tokens.images).tolist()


def no_regions(error: ValueError) -> str:
    """The reason for which a picture whose regions cannot be made is counted.

    What stands behind a colon differs from picture to picture.

    >>> no_regions(ValueError("k=144 regions cannot be reached: the start has 33"))
    'picture: its regions cannot be made (k=144 regions cannot be reached)'
    """
    return f"{NO_REGIONS} ({first_line(error).partition(': ')[0]})"


def _content_key(image: str) -> str:
    """A key that tells one content of a file from another without reading it."""
    if is_generated(image):
        return image
    try:
        stat = Path(image).stat()
    except OSError:
        return image
    return f"{Path(image).resolve()} {stat.st_size} {stat.st_mtime_ns}"


def read_json(path: Path | None) -> dict[str, Any]:
    """Measured numbers from a file; nothing if there is no file, or it is damaged."""
    if path is None or not path.is_file():
        return {}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        return {}  # they are measured anew
    return stored if isinstance(stored, dict) else {}


def write_json(path: Path | None, values: dict[str, Any]) -> None:
    """Keep measured numbers in a file; without a path nowhere."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_shared(path) as temporary:
            temporary.write_text(json.dumps(values), encoding="utf-8")
