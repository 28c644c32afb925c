"""The drawing of one image: the photo, and a panel for each region spec."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.draw.regions import draw_regions
from regiontok.draw.sheet import Panel
from regiontok.jobs.tokenize.tokenizer_set import SpecResult
from regiontok.measures.naming import Naming

COLOURED = 300  # up to so many regions are drawn in colours, more of them as borders
NUMBERED = 150  # up to so many regions have their numbers
NAMED = 8  # so many of the largest regions have their names
# A name is drawn from this probability on: 20 times what a blind classifier gives each of 1,000
# classes. The JSON has all names.
SURE = 0.02


def panels(results: Sequence[SpecResult], index: int, *, longest: int = 640) -> list[Panel]:
    """The photo, and a panel for each view of each region spec.

    Args:
        results: one result a region spec, over the same batch of pictures.
        index: place of the image in the batch.
        longest: pixels along the longer side of each panel.
    """
    photo = _photo(results[0], index)
    height, width = photo.size
    drawn = [Panel(scaled(photo, longest), "photo", f"{width} × {height} px")]
    for result in results:
        for view in result.run.views(index):
            drawn.append(_view_panel(result, index, view, longest))
    return drawn


def _photo(result: SpecResult, index: int) -> Picture:
    photo = result.run.pictures[index]
    assert isinstance(photo, Picture)  # a clip has a strip of frames
    return photo


def _view_panel(result: SpecResult, index: int, view: int, longest: int) -> Panel:
    grid, regions = result.run.grids[view], result.run.regions[view]
    names = _names_to_draw(result.names, regions) if result.names else None
    drawing = draw_regions(
        _photo(result, index),
        grid.frame,
        regions,
        style="colours" if len(regions) <= COLOURED else "borders",
        names=names,
        numbers=names is None and len(regions) <= NUMBERED,
        longest=longest,
    )
    counts = f"view {grid.view} · {len(regions)} regions of {grid.patches}"
    return Panel(drawing, result.spec, counts if grid.view else caption(result, index))


def _names_to_draw(namings: Sequence[Naming], regions: Regions) -> list[str | None]:
    """Names of the largest regions whose name is more than a guess; more would hide the picture."""
    largest_first = regions.sizes.argsort(descending=True, stable=True).tolist()
    chosen = [region for region in largest_first if namings[region].share >= SURE][:NAMED]
    return [naming.name if region in chosen else None for region, naming in enumerate(namings)]


def scaled(picture: Picture, longest: int) -> Image.Image:
    """The picture with its longer side at `longest` pixels."""
    height, width = picture.size
    scale = longest / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return Image.fromarray(picture.resized(size, (0, 0, height, width), "bicubic"))


def caption(result: SpecResult, index: int) -> str:
    """The text under a drawing: regions, tokens, and their share of the patches."""
    run = result.run
    views = run.views(index)
    tokens = int(run.tokens.counts[index])
    patches = sum(run.grids[view].patches for view in views)
    regions = sum(len(run.regions[view]) for view in views)
    if regions == tokens == patches:
        return f"{patches} patches, a token each"
    return f"{regions} regions · {tokens} tokens · {100 * tokens / patches:.0f} % of {patches}"
