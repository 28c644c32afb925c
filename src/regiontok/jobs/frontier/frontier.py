"""`regiontok frontier`: every way to fewer tokens at the same budgets, beside each other: what is
kept, what it follows, what it costs.

For one encoder, each image and each budget k every source gives its regions and one mean token a
region, and three things are measured: the share of feature variance that the tokens explain
(`measures/reconstruction.py`: 1 - sum |x - token|^2 / sum |x - mean|^2 over patches, of the
features that pools read), the covering of human segmentations where there are any, and the
milliseconds beyond the encoder.

What each source does, and how it is treated alike, stands in `rivals.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from PIL import Image
from rich.table import Table

from regiontok.core.picture import Picture
from regiontok.data.collect import Item
from regiontok.draw.plot import Line, Panel, draw_panels
from regiontok.jobs.frontier.rivals import DOWNSAMPLED, Bench, Point
from regiontok.jobs.humans import read_humans
from regiontok.measures.covering import dataset_scores


def frontier(
    bench: Bench,
    items: Sequence[Item],
    humans: Path | None = None,
    tick: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """Measure all images; one row a source and budget: means over images, median milliseconds, the
    covering of the whole set.

    Raises:
        ValueError: an image or a human segmentation that cannot be read, or a budget above the
            number of patches.
    """
    images = []
    for item in items:
        drawn = read_humans(humans, item.path) if humans else ()
        images.append(bench.measure(Picture.of(item.path), drawn))
        tick()
    return [_row(points) for points in zip(*images, strict=True)]


def _row(points: Sequence[Point]) -> dict[str, Any]:
    first, tokens = points[0], [point.tokens for point in points]
    scores = [point.scores for point in points if point.scores is not None]
    covering = (
        float(dataset_scores([[one] for one in scores]).covering[0])
        if len(scores) == len(points)
        else None
    )
    return {
        "source": first.source,
        "budget": first.budget or None,
        "tokens": round(mean(tokens), 1),
        "exact": first.budget > 0 and set(tokens) == {first.budget},
        "explained": round(mean(point.explained for point in points), 4),
        "covering": None if covering is None else round(covering, 4),
        "ms": round(median(point.ms for point in points), 2),
        "encode_ms": round(median(point.encode_ms for point in points), 2),
        "images": len(points),
    }


def numbers(text: str) -> list[int]:
    """Budgets as the command line gives them.

    >>> numbers("16, 64,144")
    [16, 64, 144]

    Raises:
        ValueError: anything but whole numbers and commas.
    """
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise ValueError(
            f"expected whole numbers with commas between them, such as 16,64,144; got {text!r}"
        ) from None


def results(rows: Sequence[dict[str, Any]]) -> Iterator[Table]:
    """One table: a row a source and budget. A star marks a budget that not every image met
    exactly."""
    table = Table(
        title=f"{rows[0]['images']} images: means; median ms",
        title_justify="left",
        title_style="bold",
        box=None,
    )
    table.add_column("source")
    for head in ("budget", "tokens", "explained", "covering", "ms", "encode ms"):
        table.add_column(head, justify="right", no_wrap=True)
    before = ""
    for row in rows:
        covering = "-" if row["covering"] is None else f"{row['covering']:.3f}"
        tokens = f"{row['tokens']:g}" + ("" if row["exact"] or row["budget"] is None else " *")
        figures = (
            tokens,
            f"{row['explained']:.3f}",
            covering,
            f"{row['ms']:.1f}",
            f"{row['encode_ms']:.1f}",
        )
        table.add_row(
            "" if row["source"] == before else row["source"], str(row["budget"] or "free"), *figures
        )
        before = row["source"]
    yield table


def plot(rows: Sequence[dict[str, Any]], encoder: str) -> Image.Image:
    """The frontier as a picture: variance explained, covering where there is one, milliseconds;
    tokens along x.

    What explains less than one mean token would lies below the first panel.

    Raises:
        MissingPackage: matplotlib is not installed (extra `plot`).
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
        subtitle=f"encoder {encoder}, {count} image{'s' if count > 1 else ''}; one mean token a region",
    )


def _panel(rows: Sequence[dict[str, Any]], key: str, title: str, y: str, **more: Any) -> Panel:
    lines = []
    for name in dict.fromkeys(row["source"] for row in rows):
        own = [row for row in rows if row["source"] == name and row[key] is not None]
        if own:
            points = tuple(row["tokens"] for row in own), tuple(row[key] for row in own)
            lines.append(Line(name, *points, bold=name == "merge"))
    return Panel(title, "tokens an image", y, tuple(lines), **more)
