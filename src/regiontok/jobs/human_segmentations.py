"""Human segmentations of images, read from a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import loadmat

from regiontok.core.decoding import loaded_png
from regiontok.system.errors import is_out_of_memory
from regiontok.system.names import as_on_disk


def read_human_segmentations(folder: Path, image: Path) -> list[np.ndarray]:
    """The human segmentations of an image: label maps `[H W]` int64, one an annotator.

    Args:
        folder: where they lie: `NAME.mat` as in BSDS500 (all annotators), or `NAME.png` with one
            label a pixel.
        image: path of the image; its NAME is looked up.

    Raises:
        ValueError: If neither file is there, or it holds no label maps.
    """
    matlab, png = (as_on_disk(folder / f"{image.stem}{suffix}") for suffix in (".mat", ".png"))
    if matlab.is_file():
        path, reader = matlab, _read_matlab
    elif png.is_file():
        path, reader = png, _read_png
    else:
        raise ValueError(
            f"{folder} holds neither {matlab.name} nor {png.name}, "
            f"the human segmentation of {image.name}"
        )
    try:
        return reader(path)
    except Exception as error:
        # scipy promises no list: ValueError, KeyError, TypeError, MatReadError, zlib.error,
        # struct.error, UnicodeDecodeError ... were met
        if is_out_of_memory(error):
            raise ValueError(f"{path}: no memory is left to read it ({error})") from error
        raise ValueError(f"{path} holds no human segmentation ({error})") from error


def _read_matlab(path: Path) -> list[np.ndarray]:
    annotators = loadmat(path)["groundTruth"][0]
    return [annotator["Segmentation"][0, 0].astype(np.int64) for annotator in annotators]


def _read_png(path: Path) -> list[np.ndarray]:
    labels = np.asarray(loaded_png(path.read_bytes(), path.name))
    if labels.ndim != 2:
        raise ValueError(f"expected one label a pixel, got shape {labels.shape}")
    return [labels.astype(np.int64)]
