"""Sample: the marks of a benchmark's questions, under one weighting or under many at once.

A bench computes its scores from a sample by `mean` and `total`. With no weights that is the score;
with the weights of a bootstrap, one row a resample, the same code gives all resampled scores in one
call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

_SMALL_PART = 4  # a part of fewer questions than a quarter is summed by itself


class Sample:
    """Marks of `n` questions under `r` weightings.

    Attributes:
        marks: name -> `[n]`, NaN where a question has no such mark, or could not be judged.
        groups: name -> `[n]` texts, "" where a question is in no such group.
        weights: `[r n]`, how often each question counts; None counts each once.
    """

    def __init__(
        self,
        marks: Mapping[str, Float[np.ndarray, "n"]],
        groups: Mapping[str, Array],
        weights: Float[np.ndarray, "r n"] | None = None,
    ) -> None:
        self.marks, self.groups, self.weights = marks, groups, weights
        self._codes: dict[str, tuple[dict[str, int], Array]] = {}
        self._clusters: dict[str, tuple[Array, Array]] = {}

    def weighted(self, weights: Float[np.ndarray, "r n"]) -> Sample:
        """The same questions under other weights; what is known of their groups is shared."""
        other = Sample(self.marks, self.groups, weights)
        other._codes, other._clusters = self._codes, self._clusters
        return other

    def __getitem__(self, mark: str) -> Array:
        """`[n]`, a mark of every question.

        Raises:
            KeyError: If no question has such a mark.
        """
        return self.marks[mark]

    def __len__(self) -> int:
        return len(next(iter(self.marks.values()), ()))

    def members(self, group: str, value: str) -> Bool[np.ndarray, "n"]:
        """`[n]`, True for the questions of a part of the benchmark.

        Args:
            group: name of the group, say "task".
            value: its value, say "count".
        """
        if group not in self.groups:
            return np.zeros(len(self), bool)
        known, codes = self._codes_of(group)
        members: Array = codes == known.get(value, -1)
        return members

    def values(self, group: str) -> list[str]:
        """The values of a group, in the order in which questions first have them; never ""."""
        return [value for value in self._codes_of(group)[0] if value]

    def _codes_of(self, group: str) -> tuple[dict[str, int], Array]:
        """The values of a group with their numbers, and `[n]` the number of each question."""
        if group not in self._codes:
            values = self.groups.get(group, np.full(len(self), "")).tolist()
            known = {value: number for number, value in enumerate(dict.fromkeys(values))}
            codes = np.array([known[value] for value in values], int)
            self._codes[group] = known, codes
        return self._codes[group]

    def total(self, values: Array, where: Array | None = None) -> Float[np.ndarray, "r"]:
        """`[r]`, the weighted sum over questions, those with NaN left out.

        Args:
            values: `[n]`.
            where: `[n]` bool, the questions that count; None counts all.
        """
        counted = np.isfinite(values) if where is None else where & np.isfinite(values)
        if self.weights is None:
            # one by one, as the published scripts add: the last digit is theirs
            return np.array([float(sum(np.asarray(values, float)[counted].tolist()))])
        return self._weighted_sum(np.where(counted, values, 0.0), counted)

    def count(self, values: Array, where: Array | None = None) -> Float[np.ndarray, "r"]:
        """`[r]`, the weighted number of questions whose value is not NaN."""
        counted = np.isfinite(values) if where is None else where & np.isfinite(values)
        if self.weights is None:
            return np.array([float(counted.sum())])
        return self._weighted_sum(counted.astype(float), counted)

    def _weighted_sum(self, values: Array, counted: Array) -> Array:
        """`[r]`; the columns of a small part are taken out, which is ten times as fast."""
        assert self.weights is not None
        rows = np.flatnonzero(counted)
        dtype = self.weights.dtype
        if len(rows) * _SMALL_PART > len(counted):
            return (self.weights @ values.astype(dtype)).astype(float)
        return (self.weights[:, rows] @ values[rows].astype(dtype)).astype(float)

    def mean(self, values: Array, where: Array | None = None) -> Float[np.ndarray, "r"]:
        """`[r]`, the weighted mean over questions; NaN where none counts."""
        return ratio(self.total(values, where), self.count(values, where))

    def share(
        self, mark: str, group: str = "", value: str = "", *, of: float = 100.0
    ) -> Float[np.ndarray, "r"]:
        """`[r]`, the mean of a mark over a part of the benchmark, in percent.

        Args:
            mark: name of the mark.
            group, value: the part; "" takes all questions.
            of: what a mean of one becomes.
        """
        where = self.members(group, value) if group else None
        return of * self.mean(self[mark], where)

    def worst_of(self, mark: str, group: str) -> Array:
        """`[n]`, for each question the lowest mark among those of its group: all must be right.

        Args:
            mark: name of the mark.
            group: name of the group; a question that is in none stands for itself.
        """
        _, index = self._clusters_of(group)
        worst = np.full(int(index.max(initial=-1)) + 1, np.inf)
        with np.errstate(invalid="ignore"):
            np.minimum.at(worst, index, self[mark])
        return worst[index]

    def first_of(self, group: str) -> Bool[np.ndarray, "n"]:
        """`[n]`, True for the first question of each group, which then counts for all of it."""
        first, _ = self._clusters_of(group)
        where = np.zeros(len(self), bool)
        where[first] = True
        return where

    def _clusters_of(self, group: str) -> tuple[Array, Array]:
        if group not in self._clusters:
            self._clusters[group] = clusters(self.groups.get(group, np.full(len(self), "")))
        return self._clusters[group]


def clusters(names: Array) -> tuple[Array, Array]:
    """The first question of each cluster, and `[n]` the cluster of each question.

    Args:
        names: `[n]` texts; a question whose text is "" is a cluster by itself.

    >>> clusters(np.array(["a", "", "a", ""]))[1].tolist()
    [0, 1, 0, 2]
    """
    number_of: dict[object, int] = {}
    first: list[int] = []
    index: list[int] = []
    for place, name in enumerate(names.tolist()):
        number = number_of.setdefault(name or place, len(number_of))
        if number == len(first):
            first.append(place)
        index.append(number)
    return np.array(first, int), np.array(index, int)


def ratio(above: Array, below: Array) -> Array:
    """A quotient that is NaN where the divisor is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below == 0, np.nan, above / below)


def mean_of(parts: Sequence[Array]) -> Array:
    """The mean of several scores, each `[r]`; NaN where one of them is."""
    return sum(parts[1:], parts[0]) / len(parts)


def resampling_weights(names: Array, resamples: int, seed: int) -> Float[np.ndarray, "r n"]:
    """How often each question counts in each resample of a bootstrap over clusters.

    Args:
        names: `[n]`, the cluster of each question; see `clusters`.
        resamples: how many rows.
        seed: seeds the draws, so that two runs on the same questions have the same resamples.
    """
    first, index = clusters(names)
    count = len(first)
    random = np.random.default_rng(seed)
    times = np.empty((resamples, count), np.float32)  # exact to 16 million questions
    for row in times:
        row[:] = np.bincount(random.integers(0, max(count, 1), count), minlength=count)
    return times if count == len(index) else times[:, index]
