"""Histograms of HTML elements: their words keep their size on a narrow screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

TICKS = 7  # labels below a histogram, at most


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        label: what stands below it.
        count: its height.
        is_used: False draws it pale: what is counted there is not used.
    """

    label: str
    count: int
    is_used: bool = True


def histogram(title: str, bars: Sequence[Bar], note: str = "") -> str:
    """A `figure` with bars, their labels and a note.

    >>> histogram("a", [Bar("0", 3), Bar("1", 1)]).count("<i ")
    2
    """
    most, total = max([bar.count for bar in bars] or [0]) or 1, sum(bar.count for bar in bars) or 1
    every = -(-len(bars) // TICKS)
    columns = "".join(
        f'<i style="height:{_height(bar.count, most)}"{"" if bar.is_used else " class=pale"} '
        f'title="{escape(bar.label)}: {bar.count:,} ({bar.count / total:.1%})"></i>'
        for bar in bars
    )
    labels = "".join(
        f"<span>{escape(bar.label) if place % every == 0 else ''}</span>"
        for place, bar in enumerate(bars)
    )
    caption = f"<figcaption>{escape(note)}</figcaption>" if note else ""
    return (
        f'<figure class="histogram"><h3>{escape(title)}</h3><div class="bars" role="img" '
        f'aria-label="{escape(title)}">{columns}</div><div class="labels">{labels}</div>'
        f"{caption}</figure>"
    )


def _height(count: int, most: int) -> str:
    """The height of a bar; one that counts anything can be seen."""
    return f"{max(100 * count / most, 0.8):.2f}%" if count else "0"


def counted(values: np.ndarray, most: int = 20) -> list[Bar]:
    """Bars of whole numbers, the last of `most` and more.

    >>> [(bar.label, bar.count) for bar in counted(np.array([0, 1, 1, 5]), most=2)]
    [('0', 1), ('1', 2), ('2+', 1)]
    """
    counts = np.bincount(np.minimum(values.astype(int), most), minlength=2)
    return [
        Bar(f"{number}+" if number == most else str(number), int(count))
        for number, count in enumerate(counts)
    ]


def doubling(values: np.ndarray, steps: int = 1) -> list[Bar]:
    """Bars whose edges double, in `steps` steps each; 0 has a bar of its own, where there is one.

    >>> [(bar.label, bar.count) for bar in doubling(np.array([0, 1, 3, 3, 4]))]
    [('0', 1), ('1', 1), ('2', 2), ('4', 1)]
    """
    positive = values[values > 0]
    bars = [Bar("0", int((values == 0).sum()))] if (values == 0).any() else []
    if not len(positive):
        return bars
    first = int(np.floor(np.log2(positive.min()) * steps + 1e-9))
    last = int(np.floor(np.log2(positive.max()) * steps + 1e-9))
    edges = 2.0 ** (np.arange(first, last + 2) / steps)
    counts, _ = np.histogram(positive, edges * (1 - 1e-9))
    return bars + [
        Bar(f"{edge:.0f}", int(count)) for edge, count in zip(edges[:-1], counts, strict=True)
    ]


def shares(values: np.ndarray, bins: int = 20, used_above: float = -1.0) -> list[Bar]:
    """Bars of numbers between 0 and 1; those at most `used_above` are pale.

    >>> [bar.count for bar in shares(np.array([0.1, 0.9, 1.0]), bins=2)]
    [1, 2]
    """
    counts, edges = np.histogram(values.clip(0, 1), bins, (0, 1))
    return [
        Bar(f"{edge:.2f}", int(count), is_used=edge + 1e-9 >= used_above)
        for edge, count in zip(edges[:-1], counts, strict=True)
    ]
