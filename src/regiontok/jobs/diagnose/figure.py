"""`regiontok diagnose --figure`: pictures of encoders' features, laid out like the figures of the
diagnostic study.

After: diagnostic study, main figures 3, 4 and 7 and the supplement's figures 1 and 2 (row D18).
Differs: clusters are cut at each encoder's own suggested threshold (the study: 0.7 for all of its
    encoders), and the combined source's eps moves with it; masks come from the segmenter that is
    named, felzenszwalb where none is, and are made disjoint, because overlaps cannot be read. The
    supplement's figure 1 also shows a language model's attention: those panels belong to a model
    and come with it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.draw.figure import Figure, Panel, draw_png, draw_svg, panel_side
from regiontok.draw.maps import Scale, borders, draw_colours, draw_scalar, draw_tints
from regiontok.draw.sheet import save_image
from regiontok.measures.norms import norm_map
from regiontok.measures.pca import pca_rgb
from regiontok.settings import registry
from regiontok.system.choices import nearest
from regiontok.system.files import replacing
from regiontok.tokenizer.regionizer import Regionizer, build_encoder

if TYPE_CHECKING:
    from jaxtyping import Float

COLUMNS = 16  # a panel of more columns is smaller than 80 pixels
SEGMENTS = "segments(0.07, resolve='smallest') | cover('rest')"
STUDY = 0.7  # the study's threshold, and its eps, of the combined source
NOTE = "Attention before and after normalisation belongs to a language model; those panels come with one."


@dataclass(frozen=True)
class Options:
    """How a figure is made.

    Attributes:
        joint: one PCA for all photos of an encoder, so that equal colours mean equal features;
            otherwise one a photo.
        foreground: PCA of the foreground only; the rest is black.
        after: transforms of "after" panels (`supp1`).
        sizes: each encoder at these canvas sizes, as columns of their own; empty takes it as it is.
        segmenter: spec; whose masks `study4` shows.
        turned: rows and columns change places.
        letters: put (a), (b) ... before the column heads.
        device: where encoders run.
    """

    joint: bool = True
    foreground: bool = False
    after: str = "rms"
    sizes: tuple[int, ...] = ()
    segmenter: str = "felzenszwalb"
    turned: bool = False
    letters: bool = False
    device: str = "cpu"


@dataclass(frozen=True)
class Cell:
    """One panel that is to be drawn: what of which encoder on which picture."""

    what: str
    encoder: int
    picture: int


@dataclass(frozen=True)
class Plan:
    """A figure before anything is drawn; fields as in `Figure`."""

    rows: list[list[Cell | None]]
    heads: list[str]
    titles: list[str]
    groups: tuple[str, ...] = ()
    note: str = ""

    def turned(self) -> Plan:
        """Rows and columns change places; what stood over a column stands beside a row."""
        over = [
            ": ".join(filter(None, pair))
            for pair in zip(self.groups or [""] * len(self.heads), self.heads, strict=True)
        ]
        return Plan(
            [list(column) for column in zip(*self.rows, strict=True)],
            self.titles,
            over,
            (),
            self.note,
        )


def study3(names: Sequence[str], photos: int) -> Plan:
    """Main figure 3: columns are encoders; PCA and norms of each photo, one below the other."""
    rows: list[list[Cell | None]] = []
    for photo in range(photos):
        rows.append(
            [Cell("photo", 0, photo), *(Cell("pca", at, photo) for at in range(len(names)))]
        )
        rows.append([None, *(Cell("norms", at, photo) for at in range(len(names)))])
    return Plan(rows, ["photo", *names], ["PCA", "norm"] * photos)


def study4(names: Sequence[str], photos: int) -> Plan:
    """Main figure 4: columns are the three sources of regions on the first encoder, then clusters
    of the others; rows are photos."""
    others = range(1, len(names))
    sources = ("segments", "clusters", "combined")
    rows: list[list[Cell | None]] = [
        [
            Cell("photo", 0, at),
            *(Cell(what, 0, at) for what in sources),
            *(Cell("clusters", one, at) for one in others),
        ]
        for at in range(photos)
    ]
    heads = ["photo", "segmentation", "clustering", "combined", *(names[one] for one in others)]
    left = f"Regions from three sources, {names[0].splitlines()[0]}"
    return Plan(
        rows, heads, [""] * photos, ("", *[left] * 3, *["Clusters of other encoders"] * len(others))
    )


def study7(names: Sequence[str], photos: int) -> Plan:
    """Main figure 7 (and the supplement's 2): columns are encoders at their resolutions; rows PCA,
    regions, norms, each of all photos."""
    kinds = {"pca": "PCA", "clusters": "regions", "norms": "norm"}
    rows: list[list[Cell | None]] = [
        [Cell("photo", 0, photo), *(Cell(what, at, photo) for at in range(len(names)))]
        for what in kinds
        for photo in range(photos)
    ]
    return Plan(rows, ["photo", *names], [title for title in kinds.values() for _ in range(photos)])


def supp1(names: Sequence[str], photos: int) -> Plan:
    """Supplement's figure 1, left: rows are encoders; norms of each photo before and after
    normalisation, in medians."""
    rows: list[list[Cell | None]] = [
        [Cell(what, at, photo) for photo in range(photos) for what in ("photo", "before", "after")]
        for at in range(len(names))
    ]
    heads = ["photo", "norm before", "norm after"] * photos
    return Plan(rows, heads, list(names), note=NOTE)


FIGURES: dict[str, Callable[[Sequence[str], int], Plan]] = {
    "study3": study3,
    "study4": study4,
    "study7": study7,
    "supp1": supp1,
    "supp2": study7,
}


@dataclass(eq=False)
class Seen:
    """One encoder and what it makes of all pictures; every field is computed once.

    Args:
        encoder: built.
        name: over its column.
        pictures: decoded.
        options: of the figure.
        masks: also segment.
    """

    encoder: Any
    name: str
    pictures: Sequence[Picture]
    options: Options
    masks: bool = False

    @cached_property
    def grids(self) -> list[PatchGrid]:
        """What the encoder gives; the segmenter runs only where masks are shown."""
        segmenter = self.options.segmenter if self.masks else None
        with torch.no_grad():
            return Regionizer(self.encoder, segmenter=segmenter).see(
                self.pictures, masks=self.masks
            )

    @cached_property
    def title(self) -> str:
        """Name and grid; the grid is left out where it differs between pictures."""
        found = {grid.grid for grid in self.grids}
        return f"{self.name}\n{' × '.join(map(str, found.pop()))}" if len(found) == 1 else self.name

    @cached_property
    def pca(self) -> list[Float[np.ndarray, "h w 3"]]:
        """Colours of all pictures; padding has no part in them."""
        parts = [_unpadded(grid, grid.features) for grid in self.grids]
        found = pca_rgb(parts, joint=self.options.joint, foreground=self.options.foreground)
        return [_padded(grid, part) for grid, part in zip(self.grids, found, strict=True)]

    @cached_property
    def norms(self) -> list[Float[np.ndarray, "h w"]]:
        """Norms of the features; NaN on padding."""
        return [_padded(grid, norm_map(_unpadded(grid, grid.features))) for grid in self.grids]

    @cached_property
    def before(self) -> list[Float[np.ndarray, "h w"]]:
        """Norms in units of their median over all pictures."""
        return _in_medians(self.norms)

    @cached_property
    def after(self) -> list[Float[np.ndarray, "h w"]]:
        """The same of transformed features."""
        grids = self.grids
        for transform in registry.build_pipeline("transform", self.options.after):
            grids = [transform.one(grid) for grid in grids]
        return _in_medians(
            [_padded(grid, norm_map(_unpadded(grid, grid.features))) for grid in grids]
        )

    def steps(self, what: str) -> str:
        """The spec behind a panel of regions."""
        threshold = self.encoder.threshold
        if what == "clusters":
            return f"merge({threshold})"
        eps = STUDY * math.sqrt(
            (1 - threshold) / (1 - STUDY)
        )  # L2 distance on unit vectors: the root of 2 - 2 cos
        return SEGMENTS if what == "segments" else f"{SEGMENTS} | split(eps={eps:.3f})"

    def panel(self, what: str, at: int, side: int) -> Panel:
        """One panel of picture `at`, `side` pixels on its longer side."""
        picture, grid = self.pictures[at], self.grids[at]
        if what == "photo":
            return Panel(_photo(picture, side), caption=Path(picture.name).stem)
        if what == "pca":
            return Panel(draw_colours(picture, grid.frame, self.pca[at], longest=side))
        if what in ("segments", "clusters", "combined"):
            regions = Regionizer(
                self.encoder, segmenter=self.options.segmenter, steps=self.steps(what)
            ).trails([grid])[0][-1]
            drawn = draw_tints(picture, grid.frame, regions, longest=side)
            return Panel(drawn, borders(grid.frame, regions), f"{len(regions)} regions")
        maps = getattr(self, what)
        relative = what in ("before", "after")
        scale = (
            Scale.of([*self.before, *self.after], "norm / median")
            if relative
            else Scale.of(maps, "L2 norm")
        )
        return Panel(draw_scalar(picture, grid.frame, maps[at], scale, longest=side), scale=scale)


def figure(
    name: str,
    encoders: Sequence[Any],
    pictures: Sequence[Picture],
    options: Options | None = None,
    *,
    tick: Callable[[], None] = lambda: None,
) -> Figure:
    """A figure of the study with other encoders and photos; `save_figure` writes it.

    Args:
        name: one of `FIGURES`.
        encoders: specs or built; `study4` draws the three sources on the first.
        pictures: what is shown.
        options: see there.
        tick: called when an encoder is done.

    Raises:
        ValueError: an unknown figure, no encoder, no picture, more columns than can be read, or
            sizes that an encoder does not take.
    """
    if name not in FIGURES:
        raise ValueError(
            f"unknown figure {name!r}{nearest(name, FIGURES)}; known: {', '.join(FIGURES)}"
        )
    if not encoders or not pictures:
        raise ValueError(
            f"a figure needs an encoder and a photo, got {len(encoders)} encoders and {len(pictures)} photos"
        )
    options = options or Options()
    built = [each for one in encoders for each in _sized(one, options)]
    plan = FIGURES[name]([text for _, text in built], len(pictures))
    columns = len(plan.titles if options.turned else plan.heads)
    if columns > COLUMNS:
        raise ValueError(
            f"{columns} columns cannot be read; at most {COLUMNS}: name fewer encoders or photos"
        )
    seen = [
        Seen(encoder, text, pictures, options, masks=name == "study4" and not at)
        for at, (encoder, text) in enumerate(built)
    ]
    for one in seen:
        _ = one.grids
        tick()
    plan = FIGURES[name]([one.title for one in seen], len(pictures))
    plan = plan.turned() if options.turned else plan
    draw = partial(_drawn, seen, panel_side(len(plan.heads)))
    rows = [[draw(cell) for cell in row] for row in plan.rows]
    return Figure(
        rows, plan.heads, plan.titles, plan.groups, note=plan.note, letters=options.letters
    )


def save_figure(drawn: Figure, path: str | Path) -> Path:
    """Write a figure whole or not at all, as .svg or as one of the pixel formats of
    `save_image`."""
    path = Path(path)
    if path.suffix.lower() != ".svg":
        return save_image(draw_png(drawn), path)
    with replacing(path) as part:
        part.write_text(draw_svg(drawn), encoding="utf-8")
    return path


def _drawn(seen: Sequence[Seen], side: int, cell: Cell | None) -> Panel | None:
    return seen[cell.encoder].panel(cell.what, cell.picture, side) if cell else None


def _sized(given: Any, options: Options) -> list[tuple[Any, str]]:
    """The encoder at each size, with what it is called."""
    encoder = build_encoder(given) if isinstance(given, str) else given
    names = {part.name for part in fields(encoder)}
    if "device" in names:
        encoder = replace(encoder, device=options.device)
    text = label(given if isinstance(given, str) else registry.render(encoder))
    if options.sizes and "size" not in names:
        raise ValueError(f"{text} has no size to set; leave sizes out, or name another encoder")
    sized = [(replace(encoder, size=size), f"{text}, {size} px") for size in options.sizes]
    return sized or [(encoder, text)]


def label(text: str) -> str:
    """What a column is called: the model's own name without its folder or owner, then the other
    arguments.

    >>> label("transformers('openai/clip-vit-large-patch14-336', layer=-2)"), label("lite(stages=(1, 2))"), label("owner/model")
    ('clip-vit-large-patch14-336 layer=-2', 'lite(stages=(1, 2))', 'model')
    """
    match = re.fullmatch(r"\w+\(\s*['\"]([^'\"]+)['\"]\s*,?\s*(.*)\)", text)
    model, rest = match.groups() if match else (text, "")
    return f"{Path(model).name or model} {rest}".strip()


def _photo(picture: Picture, side: int) -> Image.Image:
    high, wide = picture.size
    scale = side / max(high, wide)
    return Image.fromarray(
        picture.resized(
            (max(1, round(high * scale)), max(1, round(wide * scale))),
            (0, 0, high, wide),
            "bicubic",
        )
    )


def _unpadded(grid: PatchGrid, values: torch.Tensor) -> torch.Tensor:
    """The rectangle of patches that see the image."""
    valid = grid.frame.valid.to(values.device)
    return values[valid.any(1)][:, valid.any(0)]


def _padded(grid: PatchGrid, part: torch.Tensor) -> np.ndarray:
    """The other way: back on the whole grid, NaN on padding."""
    valid = grid.frame.valid
    whole = torch.full((*grid.grid, *part.shape[2:]), torch.nan, dtype=torch.float64)
    whole[valid] = part.double().cpu().flatten(0, 1)
    return whole.numpy()


def _in_medians(maps: Sequence[np.ndarray]) -> list[np.ndarray]:
    middle = float(np.nanmedian(np.concatenate([np.ravel(one) for one in maps])))
    return [one / (middle or 1.0) for one in maps]
