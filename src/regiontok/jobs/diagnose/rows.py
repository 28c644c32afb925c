"""Rows of a diagnosis: means and spreads over photos, one row an encoder, layer and variant."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean, pstdev
from typing import Any

import numpy as np
import torch

from regiontok.jobs.diagnose.photo import BUDGET, unpack
from regiontok.measures.norms import norm_metrics, outlier_positions

# The bins of the norm histogram: log2 of norm / median, an eighth of an octave each.
OCTAVES = np.linspace(-2, 4, 49)


def row(
    measurements: Sequence[Mapping[str, Any]],
    position: Mapping[str, float | None],
    suggested: float | None,
) -> dict[str, Any]:
    """The numbers of one variant over all its photos.

    Photos on another grid than most (an encoder that follows the photo's shape) have no part in
    `outlier_fixed`, the outlier map and the other figures of norms that compare places;
    `norm_photos` counts the photos that have. The covering of a set joins its photos by numerator
    and denominator, as the benchmark does.

    Args:
        measurements: those of each photo, as `measure` returns them.
        position: how well position can be read out of the features.
        suggested: the threshold that the encoder suggests, or None.
    """
    norm_maps = [unpack(photo["norms"]) for photo in measurements]
    shape = Counter(tuple(norms.shape) for norms in norm_maps).most_common(1)[0][0]
    alike = torch.stack([norms for norms in norm_maps if tuple(norms.shape) == shape])
    by_photo = [norm_metrics(norms[None]) for norms in norm_maps]
    values = {
        key: [photo["metrics"][key] for photo in measurements] for key in measurements[0]["metrics"]
    }
    values |= {key: [metrics[key] for metrics in by_photo] for key in by_photo[0]}
    means = {key: _mean(numbers) for key, numbers in values.items()}
    decays = [photo["decay"] for photo in measurements]
    distances = sorted({distance for decay in decays for distance in decay}, key=int)
    grids = Counter(tuple(photo["grid"]) for photo in measurements)
    return {
        "grid": list(grids.most_common(1)[0][0]),
        "width": measurements[0]["width"],
        "photos": len(measurements),
        "norm_photos": len(alike),
        "metrics": _rounded({**means, **norm_metrics(alike), **position}),
        "spread": _rounded({key: _spread(numbers) for key, numbers in values.items()}),
        **_regions(measurements, suggested),
        "decay": _rounded(
            {distance: _mean([decay.get(distance) for decay in decays]) for distance in distances}
        ),
        "norm_histogram": _histogram(norm_maps),
        "outlier_map": [
            [round(share, 4) for share in line] for line in outlier_positions(alike).tolist()
        ],
    }


def _regions(measurements: Sequence[Mapping[str, Any]], suggested: float | None) -> dict[str, Any]:
    """Numbers of regions and their covering, by threshold of merging."""
    counts = {
        threshold: [photo["regions"][threshold] for photo in measurements]
        for threshold in measurements[0]["regions"]
    }
    drawn = [photo for photo in measurements if "covered" in photo]
    covering = (
        {
            threshold: _joined([photo["covered"][threshold] for photo in drawn])
            for threshold in counts
        }
        if drawn
        else {}
    )
    at_budget = [photo["covered_at_budget"] for photo in drawn if "covered_at_budget" in photo]
    return {
        "threshold": suggested,
        "regions": _rounded({key: _mean(numbers) for key, numbers in counts.items()}),
        "regions_spread": _rounded({key: _spread(numbers) for key, numbers in counts.items()}),
        "covering": _rounded(covering),
        "covering_at_budget": _round(_joined(at_budget)) if at_budget else None,
        "budget": BUDGET,
        "human_photos": len(drawn),
    }


def _joined(fractions: Sequence[Sequence[float]]) -> float:
    """The quotient of summed numerators and denominators."""
    return sum(covered for covered, _ in fractions) / sum(pixels for _, pixels in fractions)


def _histogram(norm_maps: Sequence[torch.Tensor]) -> list[float]:
    """The share of patches in each bin of `OCTAVES`; photos weigh alike.

    Patches beyond count in the outermost bins.
    """
    shares = []
    for norms in norm_maps:
        median = float(norms.double().flatten().quantile(0.5))
        if median > 0:
            octaves = np.log2(np.maximum(norms.numpy().ravel() / median, 1e-9))
            octaves = octaves.clip(OCTAVES[0], OCTAVES[-1] - 1e-9)
            shares.append(np.histogram(octaves, OCTAVES)[0] / norms.numel())
    return [round(float(share), 5) for share in np.mean(shares, axis=0)] if shares else []


def _real(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def _mean(values: Sequence[float | None]) -> float | None:
    return mean(real) if (real := _real(values)) else None


def _spread(values: Sequence[float | None]) -> float | None:
    """Standard deviation over photos."""
    return pstdev(real) if len(real := _real(values)) > 1 else None


def _round(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")


def _rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {key: _round(value) for key, value in values.items()}
