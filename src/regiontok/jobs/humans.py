"""Human segmentations of images, read from a folder."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import loadmat
from scipy.io.matlab import MatReadError


def read_humans(folder: Path, image: Path) -> list[np.ndarray]:
    """The human segmentations of an image: `NAME.mat` as in BSDS500 (all annotators), or
    `NAME.png`, one label a pixel.

    Raises:
        ValueError: neither is there, or it holds no label maps.
    """
    table, picture = folder / f"{image.stem}.mat", folder / f"{image.stem}.png"
    try:
        if table.is_file():
            return [
                annotator["Segmentation"][0, 0].astype(np.int64)
                for annotator in loadmat(table)["groundTruth"][0]
            ]
        if picture.is_file():
            labels = np.asarray(Image.open(picture))
            if labels.ndim != 2:
                raise ValueError(f"expected one label a pixel, got shape {labels.shape}")
            return [labels.astype(np.int64)]
    except (
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        NotImplementedError,
        OSError,
        MatReadError,
        zlib.error,
    ) as error:
        path = table if table.is_file() else picture
        raise ValueError(f"{path} holds no human segmentation ({error})") from error
    raise ValueError(
        f"{folder} holds neither {table.name} nor {picture.name}, the human segmentation of {image.name}"
    )
