"""How a diagnosis' numbers scale with grid and width, and what the remedies do, on known fields.

    OMP_NUM_THREADS=1 python bench/diagnosis_fields.py

It takes one minute on one core. `docs/measurements/diagnosis.md` quotes its tables.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.measures.locality import far_change, position_readout
from regiontok.measures.norms import norm_map, norm_metrics
from regiontok.measures.smoothness import smoothness_metrics
from regiontok.transform.denoise import Denoise, mean_artifact, save_artifact
from regiontok.transform.fill_outliers import FillOutliers
from regiontok.transform.globalfilter import Globalfilter
from regiontok.transform.rms import Rms

SPIKES = 0.02  # share of patches of 6 times the usual norm
Field = Callable[[np.random.Generator, int, int], torch.Tensor]


def smooth(rng: np.random.Generator, h: int, d: int) -> torch.Tensor:
    """Features that change slowly: 6 x 6 random directions, interpolated onto any grid."""
    nodes = torch.from_numpy(rng.normal(size=(1, d, 6, 6)))
    return torch.nn.functional.interpolate(nodes, (h, h), mode="bicubic", antialias=True)[
        0
    ].movedim(0, -1)


def noisy(rng: np.random.Generator, h: int, d: int) -> torch.Tensor:
    """Features where every patch is drawn by itself."""
    return torch.from_numpy(rng.normal(size=(h, h, d)))


def scene(rng: np.random.Generator, h: int, d: int) -> torch.Tensor:
    """Features of 4 x 4 regions with one direction each, and as much noise."""
    return torch.from_numpy(rng.normal(size=(16, d)))[regions(h)] + noisy(rng, h, d)


def regions(h: int) -> torch.Tensor:
    """Labels `[h h]` of 4 x 4 squares."""
    line = torch.arange(h) * 4 // h
    return line[:, None] * 4 + line


def spiked(rng: np.random.Generator, h: int, d: int, where: np.ndarray) -> torch.Tensor:
    """Smooth features around a common mean, with spikes of one direction."""
    features = smooth(rng, h, d) + 0.5
    features.view(h * h, -1)[where] = 6 * d**0.5 * torch.eye(d, dtype=torch.float64)[0]
    return features


def registers(rng: np.random.Generator, h: int, d: int) -> torch.Tensor:
    """Smooth features with spikes anywhere, as registers have them."""
    return spiked(rng, h, d, rng.choice(h * h, round(SPIKES * h * h), replace=False))


def artifacts(rng: np.random.Generator, h: int, d: int) -> torch.Tensor:
    """Smooth features with spikes at the same places in every image."""
    return spiked(rng, h, d, np.arange(round(SPIKES * h * h)) * 41)


def measure(fields: Sequence[torch.Tensor]) -> dict[str, float]:
    """All numbers of a diagnosis of images on a shared grid, as means over images."""
    single = [smoothness_metrics(field, regions(field.shape[0])) for field in fields]
    mean = {key: float(np.mean([field[key] for field in single])) for key in single[0]}
    return {
        **norm_metrics(torch.stack([norm_map(field) for field in fields])),
        **mean,
        **position_readout(fields),
    }


def line(name: str, numbers: dict[str, float], keys: Sequence[str]) -> None:
    """Print a row of a table of the docs."""
    print(f"| {name} |", " | ".join(f"{numbers[key]:.3f}" for key in keys), "|", flush=True)


def draw(make: Field, h: int, d: int, images: int) -> list[torch.Tensor]:
    """The features of so many images of a kind, always the same ones."""
    rng = np.random.default_rng(0)
    return [make(rng, h, d) for _ in range(images)]


def scaling() -> None:
    """Print the numbers by grid and by width."""
    keys = (
        "norm_spread",
        "norm_kurtosis",
        "outlier_peak",
        "neighbour_gain",
        "total_variation",
        "border_contrast",
        "border_auc",
    )
    print("field, grid, width:", *keys)
    for h, d in ((12, 64), (24, 64), (48, 64), (24, 16), (24, 256), (24, 1024)):
        for make in (smooth, scene, noisy):
            line(f"{make.__name__} | {h} x {h} | {d}", measure(draw(make, h, d, 12)), keys)


def readout() -> None:
    """Print how well position is read out of noise, with a chosen ridge and a weak fixed one."""
    print("images, width: R2 of the row with the ridge chosen, and at 0.01")
    for images in (4, 12, 40):
        for d in (64, 256, 1024):
            fields = draw(noisy, 16, d, images)
            chosen, weak = (
                position_readout(fields, **how)["position_r2_y"] for how in ({}, {"ridge": 0.01})
            )
            print(f"| {images} | {d} | {chosen:.3f} | {weak:.3f} |", flush=True)


def fixed() -> None:
    """Print the mean and the standard deviation that `outlier_fixed` has by chance."""
    print("images, patches, outliers: mean and standard deviation of outlier_fixed")
    settings = [(images, n, k) for images in (8, 32) for n, k in ((256, 5), (576, 12), (2304, 46))]
    for images, n, count in settings:
        values = []
        for seed in range(200):
            rng, maps = np.random.default_rng(seed), torch.ones(images, 1, n)
            for norms in maps:
                norms[0, rng.choice(n, count, replace=False)] = 9
            values.append(norm_metrics(maps)["outlier_fixed"])
        cells = f"{images} | {n} | {count} | {np.mean(values):.4f} | {np.std(values):.4f}"
        print(f"| {cells} |", flush=True)


def leaks() -> None:
    """Print the leak of an encoder that adds h times `mixed` times the mean of its image.

    A quarter of the image is drawn anew.
    """
    print("grid: leak at 0.25, 0.5, 1 of the mean mixed in")
    for h in (12, 24, 48):
        rng = np.random.default_rng(0)
        touched = torch.zeros(h, h, dtype=torch.bool)
        touched[: h // 2, : h // 2] = True
        original = noisy(rng, h, 64)
        altered = torch.where(touched[..., None], noisy(rng, h, 64), original)
        sides = [
            [features + mixed * h * features.mean((0, 1)) for features in (original, altered)]
            for mixed in (0.25, 0.5, 1.0)
        ]
        cells = " | ".join(f"{far_change(*pair, touched)['leak']:.3f}" for pair in sides)
        print(f"| {h} x {h} | {cells} |", flush=True)


def remedies() -> None:
    """Print what each remedy does on 12 images; the artifact is estimated on 12 others."""
    keys = ("outlier_share", "outlier_fixed", "norm_kurtosis", "neighbour_gain")
    print("field, remedy:", *keys)
    frame = Frame.stretch((24, 24), (24, 24), (1, 1))
    with tempfile.TemporaryDirectory() as folder:
        for make in (smooth, noisy, registers, artifacts):
            grids = [PatchGrid(features, frame) for features in draw(make, 24, 64, 24)]
            path = save_artifact(
                Path(folder) / f"{make.__name__}.safetensors", mean_artifact(grids[:12])
            )
            line(f"{make.__name__} | none", measure([grid.features for grid in grids[12:]]), keys)
            for remedy in (Rms(), FillOutliers(), Globalfilter(), Denoise(str(path))):
                remedied = [remedy.one(grid).features for grid in grids[12:]]
                line(f"{make.__name__} | {type(remedy).__name__}", measure(remedied), keys)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for table in (scaling, readout, fixed, leaks, remedies):
        table()
