"""From measurements of single photos to one row an encoder, layer and variant: means and spreads
over photos."""

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

OCTAVES = np.linspace(
    -2, 4, 49
)  # of the norm histogram: log2 of norm / median, an eighth of an octave a bin


def row(
    found: Sequence[Mapping[str, Any]],
    position: Mapping[str, float | None],
    suggested: float | None,
) -> dict[str, Any]:
    """The numbers of one variant over all its photos.

    Photos on another grid than most (an encoder that follows the photo's shape) have no part in
    `outlier_fixed`, the outlier map and the other figures of norms that compare places;
    `norm_photos` counts those that have. The covering of a set joins its photos by numerator and
    denominator, as the benchmark does.
    """
    maps = [unpack(one["norms"]) for one in found]
    shape = Counter(tuple(one.shape) for one in maps).most_common(1)[0][0]
    alike = torch.stack([one for one in maps if tuple(one.shape) == shape])
    single = [norm_metrics(one[None]) for one in maps]
    values = {key: [one["metrics"][key] for one in found] for key in found[0]["metrics"]}
    values |= {key: [one[key] for one in single] for key in single[0]}
    return {
        "grid": list(Counter(tuple(one["grid"]) for one in found).most_common(1)[0][0]),
        "width": found[0]["width"],
        "photos": len(found),
        "norm_photos": len(alike),
        "metrics": _rounded(
            {
                **{key: _mean(each) for key, each in values.items()},
                **norm_metrics(alike),
                **position,
            }
        ),
        "spread": _rounded({key: _spread(each) for key, each in values.items()}),
        **_yield(found, suggested),
        "decay": _rounded(
            {
                r: _mean([one["decay"].get(r) for one in found])
                for r in _longest([one["decay"] for one in found])
            }
        ),
        "norm_histogram": _histogram(maps),
        "outlier_map": [
            [round(share, 4) for share in line] for line in outlier_positions(alike).tolist()
        ],
    }


def _yield(found: Sequence[Mapping[str, Any]], suggested: float | None) -> dict[str, Any]:
    regions = {at: [one["regions"][at] for one in found] for at in found[0]["regions"]}
    drawn = [one for one in found if "covered" in one]
    at_budget = [one["covered_at_budget"] for one in drawn if "covered_at_budget" in one]
    covering = (
        {at: _joined([one["covered"][at] for one in drawn]) for at in regions} if drawn else {}
    )
    return {
        "threshold": suggested,
        "regions": _rounded({at: _mean(each) for at, each in regions.items()}),
        "regions_spread": _rounded({at: _spread(each) for at, each in regions.items()}),
        "covering": _rounded(covering),
        "covering_at_budget": _round(_joined(at_budget)) if at_budget else None,
        "budget": BUDGET,
        "human_photos": len(drawn),
    }


def _joined(parts: Sequence[Sequence[float]]) -> float:
    return sum(covered for covered, _ in parts) / sum(pixels for _, pixels in parts)


def _longest(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted({key for table in tables for key in table}, key=int)


def _histogram(maps: Sequence[torch.Tensor]) -> list[float]:
    """Share of patches in each bin of `OCTAVES`; what lies beyond counts in the outermost bins.
    Photos weigh alike."""
    shares = []
    for one in maps:
        middle = float(one.double().flatten().quantile(0.5))
        if middle > 0:
            octave = np.log2(np.maximum(one.numpy().ravel() / middle, 1e-9)).clip(
                OCTAVES[0], OCTAVES[-1] - 1e-9
            )
            shares.append(np.histogram(octave, OCTAVES)[0] / one.numel())
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
