"""Focus of several methods on the same samples, with bootstrap intervals.

After: diagnostic study, tables 1, 2 and 6 (row D16); Efron and Tibshirani, An Introduction to the
Bootstrap, 1993.
Differs: chance and lift stand beside focus, and intervals, which the study does not give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from regiontok.evaluation.focus import FocusSample, FocusScore, mean_score, score
from regiontok.evaluation.focus_options import FocusOptions

if TYPE_CHECKING:
    from jaxtyping import Float

RESAMPLES = 1000  # of the bootstrap over samples


def focus_table(
    samples_by_method: Mapping[str, Sequence[FocusSample]], options: FocusOptions
) -> dict[str, dict[str, Any]]:
    """Focus of each method, all of them on the same set of samples.

    A sample that a method lacks counts for none. With `without_target="skip"`, neither does one
    that has no target token under any of the methods.

    Args:
        samples_by_method: the samples of each method.
        options: the choices.

    Returns:
        Of each method what `regiontok focus` prints: `focus`, `chance`, `lift`, `regular` (the
        attention on regular tokens), `within` and `lift_within` (of that attention alone), `tokens`
        and `targets` (means), 95 % bootstrap intervals over the samples of focus and both lifts,
        and how many samples counted, were left out, and had no target. Without a sample all numbers
        are None.
    """
    scored = {
        method: {sample.id: (score(sample, options), sample.rows) for sample in samples}
        for method, samples in samples_by_method.items()
    }
    common = set.intersection(*(set(by_id) for by_id in scored.values())) if scored else set()
    counted = common
    if options.without_target == "skip":
        counted = {id for id in common if all(by_id[id][0].targets for by_id in scored.values())}
    return {method: _entry(by_id, common, counted, options) for method, by_id in scored.items()}


def _entry(
    by_id: Mapping[str, tuple[FocusScore, int]],
    common: set[str],
    counted: set[str],
    options: FocusOptions,
) -> dict[str, Any]:
    ids = sorted(id for id in by_id if id in counted)
    counts = {
        "samples": len(ids),
        "left_out": len(by_id) - len(ids),
        "without_target": sum(not by_id[id][0].targets for id in common),
    }
    names = ("focus", "chance", "lift", "regular", "within", "lift_within", "tokens", "targets")
    intervals = ("focus_interval", "lift_interval", "lift_within_interval")
    if not ids:
        return {**dict.fromkeys((*names, *intervals)), **counts}
    scores = [by_id[id][0] for id in ids]
    weights = np.array([by_id[id][1] if options.average == "rows" else 1 for id in ids], float)
    mean = mean_score(scores, weights.tolist())
    columns = np.array([[each.focus, each.chance, each.regular * each.chance] for each in scores])
    drawn = _resampled_means(columns, weights)
    numbers = (mean.focus, mean.chance, mean.lift, mean.regular, mean.within)
    within = _ratios(*np.average(columns, axis=0, weights=weights)[[0, 2]])
    return {
        **dict(zip(names, (*numbers, float(within), mean.tokens, mean.targets), strict=True)),
        "focus_interval": _interval(drawn[:, 0]),
        "lift_interval": _interval(_ratios(drawn[:, 0], drawn[:, 1])),
        "lift_within_interval": _interval(_ratios(drawn[:, 0], drawn[:, 2])),
        **counts,
    }


def _resampled_means(
    columns: Float[np.ndarray, "n c"], weights: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "resamples c"]:
    """Weighted means of bootstrap resamples; methods with the same samples draw the same ones."""
    rng = np.random.default_rng(0)
    index = rng.integers(0, len(columns), (RESAMPLES, len(columns)))
    drawn = weights[index]
    sums = np.stack([(drawn * column[index]).sum(1) for column in columns.T], 1)
    return sums / drawn.sum(1)[:, None]


def _ratios(above: Any, below: Any) -> Any:
    """Ratios; NaN where nothing stands below."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.asarray(below) > 0, np.divide(above, below), np.nan)


def _interval(values: Float[np.ndarray, "resamples"]) -> list[float] | None:
    """The middle 95 % of what resamples give; None if they give nothing."""
    finite = values[np.isfinite(values)]
    return np.percentile(finite, [2.5, 97.5]).tolist() if len(finite) else None
