"""Means over seeds, with intervals, and differences between settings, seed by seed.

After: Student's t (Gosset, "The probable error of a mean", Biometrika 1908).
Differs: nothing known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

LEVEL = 0.95


@dataclass(frozen=True)
class MeanOverSeeds:
    """A mean with its interval.

    Attributes:
        mean: the mean; NaN without values.
        half: half of the width of its 95 % interval by Student's t; NaN with fewer than two values.
        count: number of values.
    """

    mean: float
    half: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> MeanOverSeeds:
        """The mean of the values of several seeds.

        >>> MeanOverSeeds.of([1.0, 2.0, 3.0]).half
        2.4841377117503303
        """
        known = np.array([value for value in values if math.isfinite(value)])
        if not len(known):
            return cls(math.nan, math.nan, 0)
        if len(known) < 2:
            return cls(float(known[0]), math.nan, 1)
        error = float(known.std(ddof=1)) / math.sqrt(len(known))
        quantile = float(student.ppf((1 + LEVEL) / 2, len(known) - 1))
        return cls(float(known.mean()), quantile * error, len(known))

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0: of a difference, whether it is there."""
        return math.isfinite(self.half) and abs(self.mean) > self.half

    def __str__(self) -> str:
        if math.isnan(self.half):
            return "" if math.isnan(self.mean) else f"{self.mean:.1f}"
        return f"{self.mean:.1f} ± {self.half:.1f}"
