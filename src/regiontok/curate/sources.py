"""What stages see of the images of a curation, whether they lie in a tar or in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from regiontok.core.picture import PictureError
from regiontok.system.errors import RegiontokError


class CurationError(RegiontokError, ValueError):
    """A curation that cannot go on: no images, other images than before, a damaged file."""


class ImageChanged(PictureError):
    """One image that is gone, or another one than when the curation began: it is set aside."""


class ImageIndex(Protocol):
    """The images of a source at random, by their numbers."""

    def __len__(self) -> int:
        """Number of images."""

    def key(self, index: int) -> str:
        """The name of an image without its suffix, as WebDataset cuts it."""

    def name(self, index: int) -> str:
        """The name of an image's file, with folders below the source and suffix."""

    def read(self, index: int) -> bytes:
        """The bytes of an image, as they are stored.

        Raises:
            ImageChanged: If this image is gone or was changed; it alone is set aside.
            ShardError: If the whole source cannot be read.
        """

    def annotation(self, index: int) -> bytes | None:
        """The bytes of the JSON file beside an image (SA-1B's); None where there is none.

        Raises:
            ImageChanged: If this file is gone or was changed; its image alone is set aside.
            ShardError: If the whole source cannot be read.
        """


class Source(Protocol):
    """Images whose results share files: a tar, or a part of a folder. It goes in a dict's key."""

    @property
    def name(self) -> str:
        """What its files are named by; no two sources of a curation have one name."""

    @property
    def images(self) -> int:
        """Number of its images."""

    @property
    def tar(self) -> Path | None:
        """The tar in which its images lie; None where they are files of a folder."""

    @property
    def place(self) -> str:
        """The tar or folder, for messages."""

    @property
    def identity(self) -> list[str | int]:
        """What tells it from other sources: the same for the same images in another place."""

    def index(self, out: Path) -> ImageIndex:
        """Its images.

        Args:
            out: the curation's folder, which holds what is known of where they lie.

        Raises:
            CurationError: If what the folder holds is missing or damaged.
            ShardError: If the source is missing or damaged.
        """

    def check(self, out: Path) -> None:
        """Refuse a source that is another one than when the curation began.

        Raises:
            CurationError: If it is.
            ShardError: If it is missing.
        """
