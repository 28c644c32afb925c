"""The photos of a diagnosis: those that can be read, each once, with the borders drawn on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from regiontok.core.masks import PixelMasks, masks_from
from regiontok.core.picture import Picture
from regiontok.core.picture import key_of as key_of_bytes
from regiontok.data.collect import NamedPath
from regiontok.jobs.diagnose.photo import Photo, human_file
from regiontok.settings import registry
from regiontok.system.errors import RegiontokError


@dataclass(frozen=True)
class ListedPhoto:
    """A photo that can be read.

    Attributes:
        item: its path and name.
        key: the hash of its bytes.
        borders: a hash of what draws its borders: a human segmentation, or the segmenter.
        half: which half of the set it is in, 0 or 1.
    """

    item: NamedPath
    key: str
    borders: str
    half: int


class ChangedPhoto(RegiontokError, ValueError):
    """The file of a photo, or of its human segmentation, changed or went while it was measured."""


class PhotoSet:
    """Photos in the order of their keys, all decoded once when the set is made.

    Damaged photos are so known before hours of work. The same bytes count once.

    Args:
        items: paths and names of photos.
        humans: the folder of human segmentations, or None.
        segmenter: the spec of the segmenter that draws borders where no human did.

    Attributes:
        photos: those that can be read.
        failed: those that were set aside, each with `image` and `error`.
        changed: keys of photos whose files were found to be no longer what they were.

    Raises:
        ValueError: If no photo can be read.
    """

    def __init__(self, items: Sequence[NamedPath], humans: Path | None, segmenter: str) -> None:
        self._humans = humans
        self._segmenter = registry.build("segmenter", segmenter)
        self._borders = f"{registry.render(self._segmenter, full=True)} {self._segmenter.identity}"
        self._segments: dict[str, PixelMasks] = {}
        self.failed: list[dict[str, str]] = []
        self.changed: set[str] = set()
        self.photos = self._listed(items)
        if not self.photos:
            raise ValueError(
                f"none of {len(items)} photos can be read; the first: {self.failed[0]['error']}"
            )

    @property
    def with_humans(self) -> int:
        """The number of photos with human segmentations."""
        return sum(photo.borders != self._borders for photo in self.photos)

    def sample(self, count: int, seed: int) -> list[ListedPhoto]:
        """Up to `count` photos, drawn by seed."""
        chosen = np.random.default_rng(seed).permutation(len(self.photos))[:count]
        return [self.photos[index] for index in sorted(chosen.tolist())]

    def picture(self, listed: ListedPhoto) -> Picture:
        """The photo alone.

        Raises:
            ChangedPhoto: If its file is no longer what it was.
        """
        with self._unchanged(listed):
            return self._checked(listed, Picture.of(listed.item.path))

    def read(self, listed: ListedPhoto) -> Photo:
        """The photo with human segmentations, or with the segmenter's masks.

        Raises:
            ChangedPhoto: If a file is no longer what it was.
        """
        with self._unchanged(listed):
            photo = Photo.read(listed.item.path, self._humans)
            self._checked(listed, photo.picture)
            if self._borders_of(listed.item) != listed.borders:
                raise ValueError("other human borders")
        if len(photo.humans):
            return photo
        if listed.key not in self._segments:
            (self._segments[listed.key],) = masks_from(self._segmenter, [photo.picture])
        return replace(photo, segments=self._segments[listed.key])

    @contextmanager
    def _unchanged(self, listed: ListedPhoto) -> Iterator[None]:
        """Note a photo that was read when it was listed, and cannot be read as that any more."""
        try:
            yield
        except ValueError as error:
            self.changed.add(listed.key)
            raise ChangedPhoto(
                f"{listed.item.path} or its human segmentation changed during the run: measure it "
                "again with --resume"
            ) from error

    def _checked(self, listed: ListedPhoto, picture: Picture) -> Picture:
        if picture.key != listed.key:
            raise ValueError("another photo")
        return picture

    def _borders_of(self, item: NamedPath) -> str:
        """A hash of what draws the borders of a photo: its human segmentation, or the segmenter."""
        path = human_file(self._humans, item.path)
        return self._borders if path is None else key_of_bytes(path.read_bytes())

    def _listed(self, items: Sequence[NamedPath]) -> list[ListedPhoto]:
        items_by_key: dict[str, NamedPath] = {}
        borders: dict[str, str] = {}
        for item in items:
            try:
                key = Photo.read(item.path, self._humans).picture.key
                if key in items_by_key:
                    raise ValueError(f"{item.path}: the same bytes as {items_by_key[key].path}")
            except ValueError as error:
                self.failed.append({"image": str(item.path), "error": str(error)})
                continue
            items_by_key[key] = item
            borders[key] = self._borders_of(item)
        return [
            ListedPhoto(items_by_key[key], key, borders[key], half=place % 2)
            for place, key in enumerate(sorted(items_by_key))
        ]
