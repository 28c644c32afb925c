"""The words of the generated world, for shapes, colours, sizes, textures and backgrounds."""

from __future__ import annotations

PALETTE = {
    "red": (214, 40, 40),
    "orange": (245, 130, 20),
    "yellow": (245, 220, 40),
    "green": (40, 160, 60),
    "cyan": (50, 210, 225),
    "blue": (40, 80, 215),
    "purple": (125, 45, 165),
    "pink": (245, 130, 190),
}
# The order of shapes, textures and backgrounds is the numbering inside `_raster`.
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "crescent")
COLOURS = tuple(PALETTE)
SIZES = ("small", "medium", "large")
TEXTURES = ("plain", "striped", "dotted", "checkered", "speckled")
BACKGROUNDS = ("plain", "gradient", "stripes", "noise")
# The colour in which a shape is seen more often than in any other: what "popular" means in POPE.
POPULAR = dict(zip(SHAPES, COLOURS, strict=True))
