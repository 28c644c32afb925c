"""Tiling: which grids of tiles an image may be cut into, and the one that fits it best.

After: LLaVA-NeXT's any-resolution grids (`select_best_resolution`, as in LLaVA's code and in
transformers); RICE, row R9 (2x2+1).
Differs: grids count tiles, not pixels, so that one spec serves encoders of any canvas.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Pair = tuple[int, int]

# LLaVA-NeXT's image_grid_pinpoints, in tiles of 336 pixels, in its order (which decides ties).
ANYRES = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
MOST = 12  # tiles along one side


@dataclass(frozen=True)
class Tiling:
    """The grids of tiles that an image may be cut into.

    The base view, the whole image on one canvas, always comes with the tiles.

    Attributes:
        grids: (rows, columns) of tiles of each. If two fit an image alike, the first is taken.

    >>> Tiling.of("2x2+1").grids, len(Tiling.of("anyres").grids), len(Tiling.of("anyres(6)").grids)
    (((2, 2),), 5, 36)
    >>> Tiling.of("anyres").best((336, 672), (336, 336))
    (1, 2)
    """

    grids: tuple[Pair, ...]

    @classmethod
    def of(cls, text: str) -> Tiling:
        """The tiling that a text names.

        Args:
            text: "2x2" (or "2x2+1"); several grids, "1x2,2x1,2x2"; "anyres", LLaVA-NeXT's five; or
                "anyres(6)", all up to 6x6.

        Raises:
            ValueError: If the text is none of these, or asks for more than 12 tiles along a side.
        """
        bare = text.replace(" ", "").removesuffix("+1")
        if bare == "anyres":
            return cls(ANYRES)
        if up_to := re.fullmatch(r"anyres\((\d+)\)", bare):
            sides = range(1, min(int(up_to[1]), MOST + 1) + 1)
            grids = tuple((rows, columns) for rows in sides for columns in sides)
        elif re.fullmatch(r"\d+x\d+(,\d+x\d+)*", bare):
            pairs = (grid.split("x") for grid in bare.split(","))
            grids = tuple((int(rows), int(columns)) for rows, columns in pairs)
        else:
            raise ValueError(
                "tiles must be grids of rows x columns ('2x2', '1x2,2x1,2x2'), 'anyres' "
                f"(LLaVA-NeXT's five) or 'anyres(6)' (all up to 6x6), not {text!r}"
            )
        if not grids or min(map(min, grids)) < 1 or max(map(max, grids)) > MOST:
            raise ValueError(f"tiles must be 1 to {MOST} along a side, got {text!r}")
        return cls(grids)

    def best(self, image: Pair, tile: Pair) -> Pair:
        """(rows, columns) of the grid that shows most of the image's pixels.

        Among grids that show as many, it is the one that wastes fewest of its own.

        Args:
            image: size of the image in pixels.
            tile: size of one tile in pixels.
        """
        scores = []
        for rows, columns in self.grids:
            height, width = rows * tile[0], columns * tile[1]
            scale = min(width / image[1], height / image[0])
            pixels = int(image[1] * scale) * int(image[0] * scale)
            shown_pixels = min(pixels, image[0] * image[1])
            scores.append((shown_pixels, shown_pixels - height * width))
        return self.grids[scores.index(max(scores))]
