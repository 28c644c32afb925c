"""The photos of BSDS500 with their human segmentations, read from a folder of real data.

The folder is given by `--data` or `$REGIONTOK_DATA` and laid out as docs/about/data.md says. The
data set may be used for research and not be redistributed, so nothing of it is kept here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import loadmat


@dataclass(frozen=True)
class Photo:
    """A photo: `image` is its JPEG, `truth` the .mat file with 4 to 9 human segmentations."""

    id: str
    image: Path
    truth: Path

    def humans(self) -> list[np.ndarray]:
        """The label maps of its annotators, `[H W]` each, ids from 1, every pixel labelled."""
        return [
            annotator["Segmentation"][0, 0] for annotator in loadmat(self.truth)["groundTruth"][0]
        ]


def data_root(folder: str | Path | None = None) -> Path:
    """The folder of real data: `folder`, or `$REGIONTOK_DATA` where it is None.

    Raises:
        FileNotFoundError: If there is no such folder; the message says what to set.
    """
    root = folder or os.environ.get("REGIONTOK_DATA")
    if not root:
        raise FileNotFoundError(
            "where is the data? give --data FOLDER or set REGIONTOK_DATA (see docs/about/data.md)"
        )
    if not (Path(root) / "bsds500").is_dir():
        raise FileNotFoundError(f"expected a folder bsds500 in {root}; see docs/about/data.md")
    return Path(root)


def photos(root: Path, split: str = "train") -> list[Photo]:
    """The photos of a split in the order of their ids.

    Raises:
        FileNotFoundError: If photos or segmentations are missing.
    """
    folder = root / "bsds500"
    images = sorted((folder / "images" / split).glob("*.jpg"), key=lambda path: int(path.stem))
    photos_of_split = [
        Photo(path.stem, path, folder / "groundTruth" / split / f"{path.stem}.mat")
        for path in images
    ]
    missing = [photo.id for photo in photos_of_split if not photo.truth.is_file()]
    if missing or not photos_of_split:
        raise FileNotFoundError(
            f"{folder}: {len(photos_of_split)} photos in images/{split}, "
            f"without groundTruth: {missing[:5] or 'none'}"
        )
    return photos_of_split
