"""`regiontok frontier`: every way to fewer tokens at the same budgets, beside each other.

For one encoder, each image and each budget k every source gives its regions and one mean token a
region, and three things are measured: the share of feature variance that the tokens explain
(`measures/reconstruction.py`: 1 - sum |x - token|^2 / sum |x - mean|^2 over patches, of the
features that pools read), the covering of human segmentations where there are any, and the
milliseconds beyond the encoder.

The sources stand in `sources.py`; how they are treated alike, in `comparison.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from PIL import Image

from regiontok.core.picture import Picture, PictureError
from regiontok.data.collect import NamedPath
from regiontok.draw.plot import Line, Panel, draw_panels
from regiontok.jobs.frontier.comparison import SourceComparison, SourcePoint
from regiontok.jobs.frontier.sources import DOWNSAMPLED, SOURCES
from regiontok.jobs.human_segmentations import read_human_segmentations
from regiontok.measures.covering import dataset_scores
from regiontok.system.errors import UnusableModel

TRIED = 4  # images that a dry run tries


def frontier(
    comparison: SourceComparison,
    images: Sequence[NamedPath],
    humans: str | Path | None = None,
    tick: Callable[[], None] = lambda: None,
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Measure all images; one row a source and budget.

    A row holds means over images, median milliseconds, and the covering of the whole set. An image
    that cannot be read or measured, or whose human segmentation cannot, is set aside.

    Args:
        comparison: the encoder, the sources and the budgets.
        images: where the images lie.
        humans: folder of human segmentations; None measures no covering.
        tick: called when an image is done or set aside.

    Returns:
        The rows, and "image" and "error" of each image that was set aside.

    Raises:
        ValueError: If no image is left.
    """
    measured = []
    for image in measure_images(comparison, images, humans):
        measured.append(image)
        tick()
    return sum_up(measured)


@dataclass(frozen=True)
class MeasuredImage:
    """What became of one image.

    Attributes:
        image: where it lies.
        points: of each source and budget; empty if it was set aside.
        error: why it was set aside; "" if it was measured.
    """

    image: NamedPath
    points: Sequence[SourcePoint] = ()
    error: str = ""


def measure_images(
    comparison: SourceComparison, images: Sequence[NamedPath], humans: str | Path | None = None
) -> Iterator[MeasuredImage]:
    """Each image as soon as it is measured or set aside; see `frontier`."""
    for image in images:
        try:
            segmentations = read_human_segmentations(Path(humans), image.path) if humans else ()
            points = comparison.measure(Picture.of(image.path), segmentations)
            yield MeasuredImage(image, points)
        except UnusableModel:
            raise
        except ValueError as error:
            yield MeasuredImage(image, error=str(error).removeprefix(f"{image.path}: "))


def sum_up(
    images: Sequence[MeasuredImage],
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """What `frontier` returns, of the images that it came to.

    Raises:
        ValueError: If none of them was measured.
    """
    failed = [
        {"image": str(measured.image.path), "error": measured.error}
        for measured in images
        if measured.error
    ]
    points_by_image = [measured.points for measured in images if not measured.error]
    if not points_by_image:
        raise ValueError(
            f"none of {len(images)} images could be measured; the first, {failed[0]['image']}: "
            f"{failed[0]['error']}"
        )
    return [_row(points) for points in zip(*points_by_image, strict=True)], failed


def try_budgets(
    comparison: SourceComparison, images: Sequence[NamedPath], count: int = TRIED
) -> list[dict[str, Any]]:
    """The budgets that a source does not meet exactly, of a few images.

    Args:
        comparison: the encoder, the sources and the budgets.
        images: where the images lie.
        count: how many of them are tried, evenly spaced over all.

    Returns:
        A dictionary for each source and budget that is missed: "source", "budget", how many images
        were "tried", by how many it is "missed", their "share", and an "error" if there was one.
    """
    budgets = {
        (name, budget): 0
        for name in comparison.names
        if name == DOWNSAMPLED or SOURCES[name].has_budget
        for budget in comparison.budgets
    }
    errors = dict.fromkeys(budgets, "")
    indices = np.unique(np.linspace(0, len(images) - 1, count).round().astype(int)).tolist()
    tried = 0
    for index in indices:
        try:
            picture = Picture.of(images[index].path)
        except PictureError:
            continue  # the run itself names it
        tried += 1
        try:
            tokens = {
                (point.source, point.budget): point.tokens for point in comparison.measure(picture)
            }
        except ValueError as error:
            tokens, errors = {}, dict.fromkeys(budgets, str(error))
        for key in budgets:
            budgets[key] += tokens.get(key) != key[1]
    return [
        {
            "source": source,
            "budget": budget,
            "tried": tried,
            "missed": missed,
            "share": round(missed / tried, 4),
            "error": errors[source, budget],
        }
        for (source, budget), missed in budgets.items()
        if missed
    ]


def _row(points: Sequence[SourcePoint]) -> dict[str, Any]:
    """The row of one source and budget, from its points on all images."""
    source, budget = points[0].source, points[0].budget
    tokens = [point.tokens for point in points]
    scores = [point.scores for point in points if point.scores is not None]
    # of a picture whose patches are all alike no share of variance can be told
    explained = [point.explained for point in points if not math.isnan(point.explained)]
    covering = None
    if len(scores) == len(points):
        covering = float(dataset_scores([[score] for score in scores]).covering[0])
    return {
        "source": source,
        "budget": budget or None,
        "tokens": round(mean(tokens), 1),
        "exact": budget > 0 and set(tokens) == {budget},
        "explained": round(mean(explained), 4) if explained else None,
        "uniform": len(points) - len(explained),
        "covering": None if covering is None else round(covering, 4),
        "ms": round(median(point.ms for point in points), 2),
        "encode_ms": round(median(point.encode_ms for point in points), 2),
        "images": len(points),
    }


def plot_frontier(rows: Sequence[dict[str, Any]], encoder: str) -> Image.Image:
    """The frontier as a picture, tokens along x.

    Its panels are the variance explained, the covering where there is one, and milliseconds. What
    explains less than one mean token would lies below the first panel.

    Args:
        rows: what `frontier` returned.
        encoder: the encoder's name, for the subtitle.

    Raises:
        MissingPackage: If matplotlib is not installed (extra `plot`).
    """
    panels = [_panel(rows, "explained", "Features kept", "share of variance explained", low=0.0)]
    if any(row["covering"] is not None for row in rows):
        panels.append(_panel(rows, "covering", "Human segmentations", "covering", low=0.0))
    costs = [row for row in rows if row["source"] != DOWNSAMPLED]
    if costs:
        panels.append(_panel(costs, "ms", "Cost beyond the encoder", "ms an image", log=True))
    count = rows[0]["images"]
    return draw_panels(
        panels,
        title="Tokens kept against what they keep",
        subtitle=f"encoder {encoder}, {count} image{'s' if count > 1 else ''}; "
        "one mean token a region",
    )


def _panel(
    rows: Sequence[dict[str, Any]], key: str, title: str, y_label: str, **options: Any
) -> Panel:
    """One curve a source of `row[key]` over tokens."""
    lines = []
    for name in dict.fromkeys(row["source"] for row in rows):
        source_rows = [row for row in rows if row["source"] == name and row[key] is not None]
        if source_rows:
            x = tuple(row["tokens"] for row in source_rows)
            y = tuple(row[key] for row in source_rows)
            lines.append(Line(name, x, y, bold=name == "merge"))
    return Panel(title, "tokens an image", y_label, tuple(lines), **options)
