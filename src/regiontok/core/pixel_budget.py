"""How many pictures are decoded and held together: so many, or so many pixels of them.

A file of 23 kB may be 88 million pixels, and eight of them decoded together took 11.6 GB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from regiontok.core.decoding import decoding
from regiontok.core.formats import PictureError, open_image

Item = TypeVar("Item")
# Pixels of pictures that are decoded ahead, and of those that are worked on together; a picture of
# more pixels is alone. Four RGBA pictures of 88 million pixels took 2.0 GB in all.
MOST_PIXELS = 64_000_000


def announced_pixels(source: Path | bytes) -> int:
    """The pixels that the head of an image file announces; 0 if it cannot be read.

    Args:
        source: the file, or its bytes.
    """
    try:
        with decoding("image"), open_image(source) as image:
            return image.width * image.height
    except PictureError:
        return 0  # whoever decodes it says what is wrong


def in_groups(
    items: Iterable[Item], pixels: Callable[[Item], int], most: int, most_pixels: int = MOST_PIXELS
) -> Iterator[list[Item]]:
    """The items in lists of at most `most`, and of `most_pixels` but for the last of a list.

    Args:
        items: what is listed; no more of them are taken than the list has that is given out.
        pixels: the pixels of an item.
        most: items in a list.
        most_pixels: a list that has them is full.

    >>> list(in_groups([1, 2, 9, 1, 1, 1], lambda item: item, most=3, most_pixels=4))
    [[1, 2, 9], [1, 1, 1]]
    >>> list(in_groups([4, 4, 1], lambda item: item, most=3, most_pixels=4))
    [[4], [4], [1]]
    """
    group: list[Item] = []
    held = 0
    for item in items:
        group.append(item)
        held += pixels(item)
        if len(group) >= most or held >= most_pixels:
            yield group
            group, held = [], 0
    if group:
        yield group
