"""`regiontok diagnose figure`: encoders' features, laid out like the figures of the study.

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
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.data.collect import NamedPath
from regiontok.draw.figure import Figure, Panel, draw_png, draw_svg, panel_side
from regiontok.draw.maps import Scale, borders, draw_colours, draw_scalar, draw_tints
from regiontok.draw.sheet import save_image, scaled
from regiontok.jobs.diagnose.plans import FIGURES, TRAINED, UNTRAINED
from regiontok.measures.norms import norm_map
from regiontok.measures.pca import pca_rgb
from regiontok.methods import Encoder
from regiontok.model.vlm import RegionVLM
from regiontok.settings import registry
from regiontok.system.choices import nearest
from regiontok.system.files import replacing
from regiontok.system.need import need
from regiontok.tokenizer.regionizer import Regionizer, resolve_encoder

if TYPE_CHECKING:
    from jaxtyping import Float

COLUMNS = 16  # a panel of more columns is smaller than 80 pixels
# the recipes' sources (`study/_segment.toml`, `_combined.toml`): masks are split, the rest is not
SEGMENTS = "segments(0.07) | cover('rest')"
COMBINED = "segments(0.07) | split(eps={eps:.3f}, min_samples=3, min_patches=10) | cover('rest')"
STUDY = 0.7  # the study's threshold, and its eps of the combined source


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a figure is made.

    Attributes:
        joint: whether all photos of an encoder share one PCA, so that equal colours mean equal
            features; otherwise each photo has its own.
        foreground: whether the PCA is that of the foreground; the background is then black.
        after: the transforms of the panels "after" (`supp1`).
        heads: folders of trained models, one an encoder, whose trained norm takes the place of
            `after`; empty takes `after`.
        sizes: canvas sizes; each encoder has a column for each. Empty takes encoders as they are.
        segmenter: the spec of the segmenter whose masks `study4` shows.
        turned: whether rows and columns change places.
        letters: whether to put (a), (b) ... before the column heads.
        device: where the encoders run.
    """

    joint: bool = True
    foreground: bool = False
    after: str = "rms"
    heads: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    segmenter: str = "felzenszwalb"
    turned: bool = False
    letters: bool = False
    device: str = "cpu"


@dataclass(eq=False)
class EncoderPanels:
    """The panels of one encoder on all pictures; every field is computed once.

    Args:
        encoder: the built encoder.
        name: the text over its column.
        pictures: the decoded photos.
        options: the options of the figure.
        masks: whether to run the segmenter too.
        head: folder of a trained model whose norm makes the panels "after"; "" takes the options'.
    """

    encoder: Encoder
    name: str
    pictures: Sequence[Picture]
    options: Options
    masks: bool = False
    head: str = ""

    @cached_property
    def grids(self) -> list[PatchGrid]:
        """The grids of all pictures; the segmenter runs only where masks are shown."""
        segmenter = self.options.segmenter if self.masks else None
        with torch.no_grad():
            return Regionizer(self.encoder, segmenter=segmenter).see(
                self.pictures, masks=self.masks
            )

    @cached_property
    def title(self) -> str:
        """Name and grid; the grid is left out where it differs between pictures."""
        shapes = {grid.grid for grid in self.grids}
        if len(shapes) > 1:
            return self.name
        return f"{self.name}\n{' × '.join(map(str, shapes.pop()))}"

    @cached_property
    def pca(self) -> list[Float[np.ndarray, "h w 3"]]:
        """PCA colours of all pictures; padding has no part in them."""
        features = [_unpadded(grid, grid.features) for grid in self.grids]
        options = self.options
        colours = pca_rgb(features, joint=options.joint, foreground=options.foreground)
        return [_padded(grid, field) for grid, field in zip(self.grids, colours, strict=True)]

    @cached_property
    def norms(self) -> list[Float[np.ndarray, "h w"]]:
        """Norms of the features; NaN on padding."""
        return [_norms(grid) for grid in self.grids]

    @cached_property
    def before(self) -> list[Float[np.ndarray, "h w"]]:
        """Norms in units of their median over all pictures."""
        return _in_medians(self.norms)

    @cached_property
    def after(self) -> list[Float[np.ndarray, "h w"]]:
        """Norms of the transformed features in units of their median over all pictures."""
        if self.head:
            return _in_medians([_norms(grid) for grid in self._through_trained_norm()])
        grids = self.grids
        for transform in registry.build_pipeline("transform", self.options.after):
            grids = [transform.one(grid) for grid in grids]
        return _in_medians([_norms(grid) for grid in grids])

    def _through_trained_norm(self) -> list[PatchGrid]:
        """The grids as the trained model's pool reads them."""
        model = RegionVLM.from_pretrained(self.head)
        if model.config.settings.norm == "none":
            raise ValueError(f"{self.head} was trained without a norm (norm='none')")
        if model.config.visual_width != self.encoder.width:
            raise ValueError(
                f"{self.head} was trained on features of width {model.config.visual_width}, and "
                f"those of {self.name} have {self.encoder.width}"
            )
        norm = model.head.norm.cpu().float()
        with torch.no_grad():
            return [grid.but(features=norm(grid.features.cpu().float())) for grid in self.grids]

    def steps(self, kind: str) -> str:
        """The spec of the steps behind a panel of regions."""
        threshold = self.encoder.threshold
        if threshold is None:
            raise ValueError(f"{self.name} suggests no threshold of merging; name another encoder")
        if kind == "clusters":
            return f"merge({threshold})"
        # eps is an L2 distance on unit vectors: the root of 2 - 2 cos.
        eps = STUDY * math.sqrt((1 - threshold) / (1 - STUDY))
        return SEGMENTS if kind == "segments" else COMBINED.format(eps=eps)

    def panel(self, kind: str, index: int, side: int) -> Panel:
        """One panel of picture `index`, `side` pixels on its longer side."""
        picture, grid = self.pictures[index], self.grids[index]
        if kind == "photo":
            return Panel(scaled(picture, side), caption=Path(picture.name).stem)
        if kind == "pca":
            return Panel(draw_colours(picture, grid.frame, self.pca[index], longest=side))
        if kind in ("segments", "clusters", "combined"):
            regions = self._regions(kind, grid)
            drawing = draw_tints(picture, grid.frame, regions, longest=side)
            return Panel(drawing, borders(grid.frame, regions), f"{len(regions)} regions")
        maps = getattr(self, kind)
        if kind == "norms":
            scale = Scale.of(maps, "L2 norm")
        else:
            scale = Scale.of([*self.before, *self.after], "norm / median")
        drawing = draw_scalar(picture, grid.frame, maps[index], scale, longest=side)
        return Panel(drawing, scale=scale)

    def _regions(self, kind: str, grid: PatchGrid) -> Regions:
        steps, segmenter = self.steps(kind), self.options.segmenter
        regionizer = Regionizer(self.encoder, segmenter=segmenter, steps=steps)
        return regionizer.trails([grid])[0][-1]


def first_pictures(
    photos: Sequence[NamedPath], count: int
) -> tuple[list[Picture], list[dict[str, str]]]:
    """The first photos that can be read, so many of them, and why others before them cannot be.

    Raises:
        ValueError: If none can be read.
    """
    pictures: list[Picture] = []
    failed: list[dict[str, str]] = []
    for photo in photos:
        if len(pictures) == count:
            break
        try:
            pictures.append(Picture.of(photo.path))
        except ValueError as error:
            failed.append({"image": str(photo.path), "error": str(error)})
    if not pictures:
        reason = failed[0]["error"] if failed else "there is none"
        raise ValueError(f"none of {len(photos)} photos can be read; the first: {reason}")
    return pictures, failed


def figure(
    name: str,
    encoders: Sequence[Encoder | str],
    pictures: Sequence[Picture],
    options: Options | None = None,
    *,
    tick: Callable[[], None] = lambda: None,
) -> Figure:
    """A figure of the study with other encoders and photos; `save_figure` writes it.

    Args:
        name: one of `FIGURES`.
        encoders: specs, or built encoders; `study4` draws the three sources on the first.
        pictures: the photos of the figure.
        options: how the figure is made.
        tick: called when an encoder is done.

    Raises:
        ValueError: If the figure is unknown, if there is no encoder or no picture, if there are
            more columns than can be read, or if an encoder does not take the sizes.
        MissingPackage: If matplotlib is not installed.
    """
    if name not in FIGURES:
        raise ValueError(
            f"unknown figure {name!r}{nearest(name, FIGURES)}; known: {', '.join(FIGURES)}"
        )
    if not encoders or not pictures:
        raise ValueError(
            f"a figure needs an encoder and a photo, got {len(encoders)} encoders and "
            f"{len(pictures)} photos"
        )
    if (options := options or Options()).heads and len(options.heads) != len(encoders):
        raise ValueError(
            f"{len(options.heads)} trained models for {len(encoders)} encoders: name one for each"
        )
    if options.heads and options.sizes:
        raise ValueError("trained models have their own sizes: leave sizes or heads out")
    need("matplotlib", extra="plot")  # asked for before the encoders run, not after
    sized = [pair for encoder in encoders for pair in _sized(encoder, options)]
    plan = FIGURES[name]([text for _, text in sized], len(pictures))
    columns = len(plan.titles if options.turned else plan.heads)
    if columns > COLUMNS:
        raise ValueError(
            f"{columns} columns cannot be read; at most {COLUMNS}: name fewer encoders or photos"
        )
    sources = []
    for i, (encoder, text) in enumerate(sized):
        masks = name in ("study2", "study4") and i == 0
        head = options.heads[i] if options.heads else ""
        sources.append(EncoderPanels(encoder, text, pictures, options, masks=masks, head=head))
        _ = sources[-1].grids
        tick()
    plan = FIGURES[name]([source.title for source in sources], len(pictures))
    plan = plan.turned() if options.turned else plan
    side = panel_side(len(plan.heads))
    rows = [
        [sources[c.encoder].panel(c.kind, c.picture, side) if c else None for c in row]
        for row in plan.rows
    ]
    note = plan.note
    if name == "supp1":
        note = TRAINED if options.heads else UNTRAINED if options.after == "rms" else ""
    return Figure(rows, plan.heads, plan.titles, plan.groups, note=note, letters=options.letters)


def save_figure(drawing: Figure, path: str | Path) -> Path:
    """Write a figure whole or not at all, as .svg or in a pixel format of `save_image`."""
    path = Path(path)
    if path.suffix.lower() != ".svg":
        return save_image(draw_png(drawing), path)
    with replacing(path) as temporary:
        temporary.write_text(draw_svg(drawing), encoding="utf-8", errors="backslashreplace")
    return path


def _sized(source: Encoder | str, options: Options) -> list[tuple[Encoder, str]]:
    """The encoder at each size, and the head of its column."""
    encoder = resolve_encoder(source).on(options.device)
    text = label(source if isinstance(source, str) else registry.render(encoder))
    if options.sizes and not encoder.can_resize:
        raise ValueError(f"{text} has no size to set; leave sizes out, or name another encoder")
    sized = [(encoder.at_size(size), f"{text}, {size} px") for size in options.sizes]
    return sized or [(encoder, text)]


def label(spec: str) -> str:
    """The head of an encoder's column: the model without its folder or owner, then its arguments.

    >>> label("transformers('openai/clip-vit-large-patch14-336', layer=-2)")
    'clip-vit-large-patch14-336 layer=-2'
    >>> label("lite(stages=(1, 2))"), label("owner/model")
    ('lite(stages=(1, 2))', 'model')
    """
    match = re.fullmatch(r"\w+\(\s*['\"]([^'\"]+)['\"]\s*,?\s*(.*)\)", spec)
    model, arguments = match.groups() if match else (spec, "")
    return f"{Path(model).name or model} {arguments}".strip()


def _unpadded(grid: PatchGrid, values: torch.Tensor) -> torch.Tensor:
    """The rectangle of patches that see the image."""
    valid = grid.frame.valid.to(values.device)
    return values[valid.any(1)][:, valid.any(0)]


def _padded(grid: PatchGrid, rectangle: torch.Tensor) -> np.ndarray:
    """The inverse of `_unpadded`: values on the whole grid, NaN on padding."""
    valid = grid.frame.valid
    values = torch.full((*grid.grid, *rectangle.shape[2:]), torch.nan, dtype=torch.float64)
    values[valid] = rectangle.double().cpu().flatten(0, 1)
    return values.numpy()


def _norms(grid: PatchGrid) -> np.ndarray:
    return _padded(grid, norm_map(_unpadded(grid, grid.features)))


def _in_medians(maps: Sequence[np.ndarray]) -> list[np.ndarray]:
    median = float(np.nanmedian(np.concatenate([np.ravel(norms) for norms in maps])))
    return [norms / (median or 1.0) for norms in maps]
