"""`regiontok probe pictures distances`: how far tokens lie apart, scaled as by RICE, and unscaled.

After: RICE, section 4.2, figure 4 (row R13): tokens of an image, and embeddings of the regions of a
class. The authors take tokens in front of the last norm: of an MLCD or RICE that is layer -1.
Differs: the histograms of single images, and of single classes, are averaged, each with the same
weight.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from regiontok.core.picture import Picture
from regiontok.draw.plot import Line, Panel, draw_panels
from regiontok.measures.knn import LabelledRegions
from regiontok.measures.token_distances import BINS, distance_histogram
from regiontok.methods import Encoder

if TYPE_CHECKING:
    from jaxtyping import Float

DRAWN = 100  # points of a drawn line: ten bins of the histogram each
DRAWN_OF_FEW = 20  # the same where there are fewer pairs than MANY
MANY = 20_000


@dataclass(frozen=True, eq=False)
class Distances:
    """The distances of one encoder's tokens, averaged over sets.

    Attributes:
        name: the encoder.
        of: "tokens of an image" or "regions of a class".
        scaled: `[bins]`, shares by distance from the smallest to the largest of a set.
        unscaled: `[bins]`, shares by distance from 0 to 2.
        mean: the mean distance.
        sets: number of images or classes.
        pairs: number of pairs of all of them.
    """

    name: str
    of: str
    scaled: Float[Tensor, "bins"]
    unscaled: Float[Tensor, "bins"]
    mean: float
    sets: int
    pairs: int


def token_distances(
    name: str,
    encoder: Encoder,
    pictures: Sequence[Picture],
    *,
    tick: Callable[[], None] = lambda: None,
) -> Distances:
    """The distances between the patch tokens of each picture; padding is left out."""
    sets = []
    for picture in pictures:
        (grid,) = encoder.encode([picture])
        sets.append(grid.pooled[grid.valid].float().cpu())
        tick()
    return _averaged(name, "tokens of an image", sets)


def class_distances(name: str, regions: LabelledRegions) -> Distances:
    """The distances between the rows of the regions of each class with two regions or more.

    Raises:
        ValueError: If no class has two regions.
    """
    labels = regions.labels[regions.labels >= 0].unique()
    sets = [regions.features[regions.labels == label] for label in labels]
    sets = [rows for rows in sets if len(rows) > 1]
    if not sets:
        raise ValueError("no class has two regions, so there is no distance within one")
    return _averaged(name, "regions of a class", sets)


def _averaged(name: str, of: str, sets: Sequence[Tensor]) -> Distances:
    scaled, unscaled = (
        [distance_histogram(rows, scaled=is_scaled) for rows in sets] for is_scaled in (True, False)
    )
    return Distances(
        name=name,
        of=of,
        scaled=torch.stack([each.shares for each in scaled]).mean(0),
        unscaled=torch.stack([each.shares for each in unscaled]).mean(0),
        mean=float(np.mean([each.mean for each in unscaled])),
        sets=len(sets),
        pairs=sum(int(each.counts.sum()) for each in unscaled),
    )


def plot(distances: Sequence[Distances]) -> Image.Image:
    """Both forms of every kind of set side by side, a line an encoder.

    Raises:
        MissingPackage: If matplotlib is not installed.
    """
    panels = []
    for of in dict.fromkeys(each.of for each in distances):
        group = [each for each in distances if each.of == of]
        points = DRAWN if min(each.pairs for each in group) >= MANY else DRAWN_OF_FEW
        for scaled, title, high in (
            (True, f"{of}, scaled", 1.0),
            (False, f"{of}, as they are", 2.0),
        ):
            lines = tuple(
                Line(each.name, *_curve(each.scaled if scaled else each.unscaled, high, points))
                for each in group
            )
            axis = "1 - cosine, smallest to largest" if scaled else "1 - cosine"
            panels.append(Panel(title, axis, "density", lines, low=0, doubling=False))
    subtitle = "ordered pairs of different tokens, averaged over images and over classes"
    return draw_panels(panels, title="Distances between tokens", subtitle=subtitle)


def _curve(
    shares: Float[Tensor, "bins"], high: float, points: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Centres of groups of bins, and the density there."""
    grouped = shares.unflatten(0, (points, -1)).sum(1)
    centres = (torch.arange(points) + 0.5) * high / points
    return tuple(centres.tolist()), tuple((grouped * points / high).tolist())


def comma_separated(distances: Sequence[Distances]) -> str:
    """All bins, one a row: encoder, kind of set, form, lower edge and share."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["encoder", "of", "form", "from", "share"])
    for each in distances:
        for form, shares, high in (("scaled", each.scaled, 1), ("unscaled", each.unscaled, 2)):
            for number, share in enumerate(shares.tolist()):
                writer.writerow([each.name, each.of, form, f"{number * high / BINS:g}", share])
    return file.getvalue()
