"""`regiontok probe pictures pca`: the tokens of a clip's frames as colours, on one basis.

After: RICE, section 4.4, figure 5 (row R13): frames one below the other, the photo left and its
tokens right.
Differs: the number of frames that the basis is fitted on is a setting; the paper does not say it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image

from regiontok.core.clip import Clip
from regiontok.core.grid import PatchGrid
from regiontok.draw.maps import draw_colours
from regiontok.draw.sheet import Panel, contact_sheet
from regiontok.draw.strip import frame_title, spread_frames
from regiontok.measures.pca_basis import PcaBasis, Solver
from regiontok.methods import Encoder
from regiontok.system.choices import check_choice
from regiontok.system.drawn import check_drawing_place, mark_options
from regiontok.system.files import replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Fitted = Literal["joint", "first"]
GAP = 8  # pixels between the photo and its tokens
ANIMATED = (".webp", ".gif")
FRAMES_A_SECOND = 8.0  # of an animation whose clip has no times


@dataclass(frozen=True, eq=False)
class ColouredClip:
    """A clip with a colour for each token.

    Attributes:
        clip: the frames that are drawn.
        grids: the grid of each.
        basis: the basis by which they are coloured.
    """

    clip: Clip
    grids: Sequence[PatchGrid]
    basis: PcaBasis

    def panel(self, index: int, longest: int) -> tuple[Image.Image, Image.Image]:
        """A frame, and its tokens as colours, of one size."""
        grid, picture = self.grids[index], self.clip.frames[index]
        colours = self.basis.colours(grid.pooled.cpu()).numpy()
        tokens = draw_colours(picture, grid.frame, colours, longest=longest)
        photo = picture.resized(tokens.size[::-1], (0, 0, *picture.size), "bicubic")
        return Image.fromarray(photo), tokens


def coloured_clip(
    encoder: Encoder,
    clip: Clip,
    *,
    fitted: Fitted = "joint",
    solver: Solver = "exact",
    tick: Callable[[], None] = lambda: None,
) -> ColouredClip:
    """Encode the frames of a clip one by one, and fit the basis.

    Args:
        encoder: the encoder, at the size that is wanted.
        clip: the frames.
        fitted: "joint" fits the basis on all frames, "first" on the first one alone.
        solver: see `PcaBasis.fit`.
        tick: called with each frame.

    Raises:
        ValueError: If a setting is unknown, or features are NaN or infinite.
    """
    check_choice("fitted", fitted, ("joint", "first"))
    check_choice("solver", solver, ("exact", "randomised"))
    grids = []
    for frame in clip.frames:
        grids += encoder.encode([frame])
        tick()
    features = [grid.pooled.cpu() for grid in grids]
    basis = PcaBasis.fit(features if fitted == "joint" else features[:1], solver=solver)
    return ColouredClip(clip, grids, basis)


def save_clip(coloured: ColouredClip, out: Path, *, title: str, most: int, longest: int) -> None:
    """Write an animation (.webp, .gif) of all frames, or a sheet (.png) of some of them.

    Args:
        coloured: the clip.
        out: the file; its suffix chooses.
        title: what stands over a sheet.
        most: frames of a sheet at most, evenly spread.
        longest: pixels along the longer side of a frame.

    Raises:
        ValueError: If the suffix is another, or the file is there and is no drawing.
    """
    suffix = out.suffix.lower()
    if suffix not in (*ANIMATED, ".png"):
        raise ValueError(f"{out}: expected a name that ends in .webp, .gif or .png")
    check_drawing_place(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as temporary:
        if suffix == ".png":
            sheet(coloured, title=title, most=most, longest=longest).save(
                temporary, "PNG", **mark_options("PNG")
            )
            return
        frames = [_side_by_side(*coloured.panel(i, longest)) for i in range(len(coloured.clip))]
        times = coloured.clip.times
        rate = (len(times) - 1) / times[-1] if len(times) > 1 else FRAMES_A_SECOND
        frames[0].save(
            temporary,
            suffix[1:].upper(),
            save_all=True,
            append_images=frames[1:],
            duration=round(1000 / rate),
            loop=0,
            **({"quality": 85, **mark_options("WEBP")} if suffix == ".webp" else {}),
        )


def sheet(coloured: ColouredClip, *, title: str, most: int, longest: int) -> Image.Image:
    """Frames from left to right, each over its tokens."""
    shown = spread_frames(len(coloured.clip), most)
    pairs = [coloured.panel(index, longest) for index in shown]
    photos = [
        Panel(photo, frame_title(coloured.clip, index))
        for (photo, _), index in zip(pairs, shown, strict=True)
    ]
    shares = ", ".join(f"{100 * float(share):.0f} %" for share in coloured.basis.shares)
    h, w = coloured.grids[0].frame.grid
    return contact_sheet(
        [photos, [Panel(tokens) for _, tokens in pairs]],
        title=title,
        subtitle=f"{h} x {w} tokens a frame; red, green and blue hold {shares} of the variance",
        row_titles=["frame", "tokens"],
    )


def _side_by_side(photo: Image.Image, tokens: Image.Image) -> Image.Image:
    joined = Image.new("RGB", (2 * photo.width + GAP, photo.height), "white")
    joined.paste(photo, (0, 0))
    joined.paste(tokens, (photo.width + GAP, 0))
    return joined
