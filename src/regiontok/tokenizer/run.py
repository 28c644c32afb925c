"""Run: the tokens that one call made, everything on the way to them, and how it shows itself."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regiontok.core.clip import Clip
from regiontok.core.grid import PatchGrid, images_of
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.core.tokens import Tokens

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """The tokens that one call made, and everything on the way to them.

    In a notebook it shows its pictures with their regions beside a table; `show` does so larger.

    Attributes:
        tokens: tokens of all pictures, in their order.
        pictures: the pictures and clips, decoded.
        grids: the views of each picture or clip, picture by picture; without tiles each has one.
        trails: the regions of each view before the first step and after each step.
        seconds: seconds of each stage for all pictures together: decode, segment, encode (with
            transforms), regions, pool.
    """

    tokens: Tokens
    pictures: Sequence[Picture | Clip]
    grids: list[PatchGrid]
    trails: list[list[Regions]]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def regions(self) -> list[Regions]:
        """The regions of each view, after the last step."""
        return [trail[-1] for trail in self.trails]

    def views(self, image: int) -> list[int]:
        """Indices into `grids`, `trails` and `regions` of the views of one picture."""
        return [view for view, owner in enumerate(images_of(self.grids)) if owner == image]

    def drawing(self, *, longest: int = 480) -> Image.Image:
        """Each picture beside its regions, a row a picture.

        Args:
            longest: pixels on the longer side of each picture drawn.
        """
        from regiontok.tokenizer.display import drawing_of

        return drawing_of(self, longest=longest)

    def show(self, *, longest: int = 480) -> Image.Image | None:
        """Show `drawing` in a notebook; elsewhere hand it back to be shown or saved.

        A notebook gets no return value, since it would show the drawing a second time.
        """
        image = self.drawing(longest=longest)
        if _in_ipython():
            from IPython.display import display

            display(image)
            return None
        return image

    def __repr__(self) -> str:
        patches = sum(grid.patches for grid in self.grids)
        regions = sum(map(len, self.regions))
        return (
            f"Run(pictures={len(self.pictures)}, views={len(self.grids)}, patches={patches}, "
            f"regions={regions}, tokens={len(self.tokens)}, width={self.tokens.values.shape[-1]}, "
            f"milliseconds={1000 * sum(self.seconds.values()):.0f})"
        )

    def _repr_html_(self) -> str:
        from regiontok.tokenizer.display import html_of

        return html_of(self)


def _in_ipython() -> bool:
    """Whether this code runs in IPython or a notebook; IPython is not imported for the question."""
    module = sys.modules.get("IPython")
    return module is not None and module.get_ipython() is not None
