"""The drawing of one image: the photo, and a panel for each region spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from regiontok.core.picture import Picture
from regiontok.draw.regions import draw_regions
from regiontok.draw.sheet import Panel, scaled
from regiontok.jobs.tokenize.tables import label_of, views_of

COLOURED = 300  # up to so many regions are drawn in colours, more of them as borders
NUMBERED = 150  # up to so many regions have their numbers
NAMED = 8  # so many of the largest regions have their names
# A classifier's name is drawn from this probability on: 20 times what a blind one gives each of
# 1,000 classes. The JSON has all names.
SURE = 0.02


def panels(
    photo: Picture,
    tables: Sequence[Mapping[str, Any]],
    report: Mapping[str, Any],
    *,
    longest: int = 640,
) -> list[Panel]:
    """The photo, and a panel for each view of each region spec.

    Args:
        photo: the picture.
        tables: the regions of each spec, see `regiontok.jobs.tokenize.tables`.
        report: the counts of each spec, see `regiontok.jobs.tokenize.report`.
        longest: pixels along the longer side of each panel.
    """
    height, width = photo.size
    drawn = [Panel(scaled(photo, longest), "photo", f"{width} × {height} px")]
    for table in tables:
        drawn += _spec_panels(photo, table, caption(report, table["spec"]), longest)
    return drawn


def _spec_panels(
    photo: Picture, table: Mapping[str, Any], first_caption: str, longest: int
) -> list[Panel]:
    """A panel for each view of one region spec."""
    drawn = []
    for number, (frame, regions, rows) in enumerate(views_of(table)):
        labels = _labels_to_draw(rows)
        drawing = draw_regions(
            photo,
            frame,
            regions,
            style="colours" if len(regions) <= COLOURED else "borders",
            names=labels,
            numbers=labels is None and len(regions) <= NUMBERED,
            longest=longest,
        )
        counts = f"view {number} · {len(regions)} regions of {prod(frame.grid)}"
        drawn.append(Panel(drawing, table["spec"], counts if number else first_caption))
    return drawn


def _labels_to_draw(rows: Sequence[Mapping[str, Any]]) -> list[str | None] | None:
    """Names of the largest regions that have one; more would hide the picture.

    A classifier's guesses below `SURE` are left out. None if regions have no names at all.
    """
    if not any("name" in row or "mask_name" in row for row in rows):
        return None
    largest_first = sorted(range(len(rows)), key=lambda index: -len(rows[index]["patches"]))
    sure = [index for index in largest_first if rows[index].get("name_share", 1) >= SURE]
    chosen = set([index for index in sure if label_of(rows[index])][:NAMED])
    return [_drawn_label(row) if index in chosen else None for index, row in enumerate(rows)]


def _drawn_label(row: Mapping[str, Any]) -> str:
    """A classifier's name alone, and a mask's name with its score: the score was given with it."""
    return str(row["name"]) if "name" in row else label_of(row)


def caption(report: Mapping[str, Any], spec: str) -> str:
    """The text under a drawing: regions, tokens, and their share of the patches."""
    entry = next(entry for entry in report["settings"] if entry["spec"] == spec)
    regions, tokens, patches = entry["regions"], entry["tokens"], report["patches"]
    if regions == tokens == patches:
        return f"{patches} patches, a token each"
    return f"{regions} regions · {tokens} tokens · {100 * tokens / patches:.0f} % of {patches}"
