"""The columns of a diagnosis, defined once for the terminal, the page and the leaderboard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Column:
    """One number of a row.

    Attributes:
        key: its name in `results.json` (under "metrics", or as `value` finds it).
        head: the head of its column.
        definition: its definition in a sentence or two, with the formula.
        digits: the number of digits after the point.
        better: "high", "low", or "" where neither is better.
        headline: whether the terminal and the first table of the page show it.
    """

    key: str
    head: str
    definition: str
    digits: int = 3
    better: str = ""
    headline: bool = False


COLUMNS = (
    Column(
        key="outlier_share",
        head="outliers",
        definition=(
            "Share of patches whose norm is above max(median + 6 × 1.4826 × MAD, 1.5 × "
            "median) of their photo; MAD is the median absolute deviation."
        ),
        digits=4,
        better="low",
        headline=True,
    ),
    Column(
        key="outlier_fixed",
        head="fixed",
        definition=(
            "Do outliers sit at the same positions in every photo? Over pairs of photos, "
            "(shared − expected by chance) / (most possible − expected by chance). 1: "
            "position artifacts; 0: they move with the content, as registers do. None without "
            "outliers in two photos."
        ),
        digits=2,
        headline=True,
    ),
    Column(
        key="neighbour_gain",
        head="neighbour gain",
        definition=(
            "Neighbour cosine (mean over pairs of 4-neighbours) − far cosine (mean over all "
            "pairs): what neighbours share beyond what all patches share. 0 for noise."
        ),
        better="high",
        headline=True,
    ),
    Column(
        key="border_auc",
        head="border AUC",
        definition=(
            "Probability that a pair of neighbours inside one region is more alike than a "
            "pair across a border; borders drawn by people where there are any, otherwise a "
            "segmenter’s. 0.5 knows nothing of borders."
        ),
        better="high",
        headline=True,
    ),
    Column(
        key="leak",
        head="leak",
        definition=(
            "A block of the photo (a third of its height and width) is greyed out. Mean "
            "change 1 − cos of far patches (more than a sixth of the grid away) / mean change "
            "of all others. 0: local; 1: what happens anywhere happens everywhere."
        ),
        better="low",
        headline=True,
    ),
    Column(
        key="position_r2",
        head="position R²",
        definition=(
            "Mean of R² for row and column: ridge regression of a patch’s place from its "
            "feature, on photos it has not seen. 1: position is there to be read; about 0 or "
            "below: it is not (or the photos are too few to say)."
        ),
        digits=2,
        better="low",
        headline=True,
    ),
    Column(
        key="regions_suggested",
        head="regions",
        definition=(
            "Regions (tokens) that merging leaves at the threshold the encoder suggests, mean "
            "over photos; one merge tree a photo."
        ),
        digits=1,
        headline=True,
    ),
    Column(
        key="covering_suggested",
        head="covering",
        definition=(
            "Covering of the human segmentations by those regions: each human region’s best "
            "intersection over union, weighted by size; numerators and denominators summed "
            "over photos."
        ),
        better="high",
        headline=True,
    ),
    Column(
        key="covering_at_budget",
        head="covering at 32",
        definition=(
            "The same at exactly 32 regions, where encoders can be compared at one budget."
        ),
        better="high",
        headline=True,
    ),
    Column(
        key="neighbour_cosine",
        head="neighbour cos",
        definition=(
            "Cosine of neighbouring patches, mean over pairs of 4-neighbours. High alone "
            "means little: it is also high where all patches are alike."
        ),
    ),
    Column(
        key="far_cosine",
        head="far cos",
        definition=(
            "Mean cosine of all pairs of patches of a photo; high where one direction rules "
            "all features."
        ),
    ),
    Column(
        key="inside_cosine",
        head="inside cos",
        definition="Cosine of neighbours inside one region, mean.",
    ),
    Column(
        key="across_cosine",
        head="across cos",
        definition="Cosine of neighbours on two sides of a border, mean.",
    ),
    Column(
        key="border_contrast",
        head="contrast",
        definition="Inside cos − across cos.",
        better="high",
    ),
    Column(
        key="total_variation",
        head="variation",
        definition=(
            "Length of the difference of unit vectors, |u − v| = √(2 − 2 cos), mean over "
            "pairs of 4-neighbours; √2 for unrelated directions."
        ),
        better="low",
    ),
    Column(
        key="far_change",
        head="far change",
        definition="Change 1 − cos of far patches when the block is greyed out, mean.",
        digits=4,
        better="low",
    ),
    Column(
        key="near_change",
        head="near change",
        definition="Change 1 − cos of all other patches when the block is greyed out, mean.",
        digits=4,
    ),
    Column(
        key="position_r2_y",
        head="R² row",
        definition="R² of the patch’s row, read out of its feature.",
        digits=2,
        better="low",
    ),
    Column(
        key="position_r2_x",
        head="R² column",
        definition="R² of the patch’s column, read out of its feature.",
        digits=2,
        better="low",
    ),
    Column(
        key="norm_median",
        head="norm",
        definition="Median length of a feature, in the encoder’s own units; mean over photos.",
        digits=2,
    ),
    Column(
        key="norm_spread",
        head="norm spread",
        definition="(75 % − 25 % quantile) / median of the norms of a photo; mean over photos.",
    ),
    Column(
        key="norm_kurtosis",
        head="kurtosis",
        definition=(
            "Fourth moment of a photo’s norms / squared second − 3; mean over photos. 0 for a "
            "normal distribution, large where a few patches stick out."
        ),
        digits=1,
    ),
    Column(
        key="outlier_peak",
        head="peak",
        definition="Largest norm / median norm of a photo; mean over photos.",
        digits=2,
        better="low",
    ),
    Column(
        key="outlier_border",
        head="on the rim",
        definition="Share of outliers on the outermost ring of patches.",
        digits=2,
    ),
)
HEADLINES = tuple(column for column in COLUMNS if column.headline)


def value(row: Mapping[str, Any], key: str) -> float | None:
    """A column's number in a row, or None where there is none.

    >>> value({"metrics": {"position_r2_y": 0.5, "position_r2_x": 0.25}}, "position_r2")
    0.375
    """
    metrics = row["metrics"]
    if key == "position_r2":
        by_axis = [metrics.get("position_r2_y"), metrics.get("position_r2_x")]
        return None if None in by_axis else sum(by_axis) / 2
    if key in ("regions_suggested", "covering_suggested"):
        table = row["regions" if key.startswith("regions") else "covering"]
        return None if row["threshold"] is None else table.get(f"{row['threshold']:g}")
    return row[key] if key == "covering_at_budget" else metrics.get(key)


def formatted(row: Mapping[str, Any], column: Column) -> str:
    """A column's number in a row as text; a dash where there is none."""
    number = value(row, column.key)
    if number is None:
        return "–"
    rounded = round(number, column.digits) or 0.0  # `or` takes the sign from a minus zero
    return f"{rounded:.{column.digits}f}".replace("-", "−")


def subject_of(row: Mapping[str, Any]) -> str:
    """Encoder and layer of a row in one line."""
    return f"{row['encoder']} [{row['layer']}]" if row["layer"] else row["encoder"]


def terminal_tables(results: Mapping[str, Any]) -> Iterator[Table]:
    """The headline numbers as a table with a row for each encoder, layer and variant."""
    photos = results["photos"]
    title = f"{photos['count']} photos, {photos['with_humans']} of them with human segmentations"
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        padding=(0, 1, 0, 0),
        header_style="dim",
    )
    table.add_column("encoder", overflow="fold", max_width=40)
    table.add_column("variant", no_wrap=True)
    for head in ("grid", "width", *(column.head for column in HEADLINES)):
        table.add_column(head, justify="right")
    name_above = ""
    for row in results["rows"]:
        name = subject_of(row)
        grid = " × ".join(map(str, row["grid"]))
        numbers = [formatted(row, column) for column in HEADLINES]
        table.add_row(
            "" if name == name_above else name,
            row["variant"],
            grid,
            str(row["width"]),
            *numbers,
        )
        name_above = name
    yield table


def summary(results: Mapping[str, Any]) -> dict[str, Any]:
    """The content of the closing JSON line: the headline numbers of every row."""
    heads = ("encoder", "layer", "variant", "control", "grid", "width", "photos")
    rows = [
        {
            **{key: row[key] for key in heads},
            **{column.key: value(row, column.key) for column in HEADLINES},
        }
        for row in results["rows"]
    ]
    photos = {key: entry for key, entry in results["photos"].items() if key != "names"}
    return {
        "command": "diagnose",
        "date": results["date"],
        "photos": photos,
        "set_aside": len(results["failed"]),
        "rows": rows,
    }
