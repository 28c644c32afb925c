"""The curves of a diagnosis page: similarity, tokens left by merging, covering, and norms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from regiontok.jobs.diagnose.columns import subject_of
from regiontok.jobs.diagnose.plots import Axis, Curve, even_ticks, line_plot
from regiontok.jobs.diagnose.rows import OCTAVES

RAREST = 1e-4  # share of patches at the foot of the norm plot
Row = Mapping[str, Any]
Points = Iterable[tuple[float, float | None]]


def curve_figures(rows: Sequence[Row], styles: Sequence[str]) -> Iterator[str]:
    """The `figure` elements of all plots.

    Args:
        rows: rows of results; each is one curve.
        styles: the CSS class of each curve.
    """
    yield _similarity(rows, styles)
    yield _tokens_left(rows, styles)
    if any(row["covering"] for row in rows):
        yield _covering(rows, styles)
    yield _norms(rows, styles)


def _similarity(rows: Sequence[Row], styles: Sequence[str]) -> str:
    curves = _curves(
        rows,
        styles,
        lambda row: [(int(distance), cosine) for distance, cosine in row["decay"].items()],
    )
    farthest = max((x for curve in curves for x, _ in curve.points), default=1)
    distance = Axis("distance in patches (the larger of rows and columns)", even_ticks(0, farthest))
    return _figure(
        "Similarity with distance",
        "Mean cosine of all pairs of patches at a distance.",
        line_plot("cosine with distance", distance, Axis("", _height_ticks(curves)), curves),
    )


def _tokens_left(rows: Sequence[Row], styles: Sequence[str]) -> str:
    def points(row: Row) -> Points:
        patches = row["grid"][0] * row["grid"][1]
        return [(float(threshold), 100 * n / patches) for threshold, n in row["regions"].items()]

    thresholds = Axis("threshold of merging", tuple((x / 10, f"0.{x}") for x in range(5, 10)))
    share = Axis("", tuple((x, f"{x} %") for x in (0, 25, 50, 75, 100)))
    return _figure(
        "Tokens that merging leaves",
        "Share of the patches that are left as regions at each threshold.",
        line_plot("tokens left", thresholds, share, _curves(rows, styles, points)),
    )


def _covering(rows: Sequence[Row], styles: Sequence[str]) -> str:
    def points(row: Row) -> Points:
        covering = row["covering"]
        if not covering:
            return []
        return [(n, covering[threshold]) for threshold, n in row["regions"].items()]

    curves = _curves(rows, styles, points)
    ticks = tuple((x, str(x)) for x in (1, 3, 10, 30, 100, 300, 1000))
    counts = Axis("regions a photo", ticks, log=True)
    return _figure(
        "Covering",
        "Covering of what people drew, at each threshold’s number of regions.",
        line_plot("covering", counts, Axis("", _height_ticks(curves)), curves),
    )


def _norms(rows: Sequence[Row], styles: Sequence[str]) -> str:
    middles = ((OCTAVES[1:] + OCTAVES[:-1]) / 2).tolist()

    def points(row: Row) -> Points:
        # A row without norms has an empty histogram.
        shares = zip(middles, row["norm_histogram"], strict=False)
        return [(octave, max(share, RAREST)) for octave, share in shares]

    labels = ("¼", "½", "1", "2", "4", "8", "16")
    octaves = Axis("norm / median of its photo", tuple(zip(range(-2, 5), labels, strict=True)))
    share_ticks = ((1e-4, "0.01 %"), (1e-3, "0.1 %"), (1e-2, "1 %"), (1e-1, "10 %"), (1, "100 %"))
    shares = Axis("", share_ticks, log=True)
    return _figure(
        "Norms",
        "Share of patches by norm, an eighth of an octave a step; a tail to the right are "
        "outliers.",
        line_plot("norms", octaves, shares, _curves(rows, styles, points)),
    )


def _curves(
    rows: Sequence[Row], styles: Sequence[str], points_of: Callable[[Row], Points]
) -> list[Curve]:
    """A curve for each row that has any point; points without a number are left out."""
    curves = [
        Curve(subject_of(row), style, tuple((x, y) for x, y in points_of(row) if y is not None))
        for row, style in zip(rows, styles, strict=True)
    ]
    return [curve for curve in curves if curve.points]


def _height_ticks(curves: Sequence[Curve]) -> tuple[tuple[float, str], ...]:
    """Ticks from 0, or the lowest point below it, to the highest point."""
    heights = [y for curve in curves for _, y in curve.points]
    lowest, highest = min([0.0, *heights]), max([0.1, *heights])
    return even_ticks(lowest, highest, lambda tick: f"{tick:g}".replace("-", "−"))


def _figure(title: str, text: str, drawing: str) -> str:
    caption = f"<figcaption>{escape(text)}</figcaption>"
    return f"<figure><h3>{escape(title)}</h3>{caption}{drawing}</figure>"
