"""Text in lines that fit: any font, because the caller brings the measure."""

from __future__ import annotations

import re
from collections.abc import Callable

# A name may break behind a separator: "vit_large_", "patch14-", "336"; but not "layer=-", "2".
BREAKS = re.compile(r"(?<=\w[-/_,(])(?=\w)")
Measure = Callable[[str], float]  # the pixels that a line of text takes


def wrapped(text: str, room: float, measure: Measure, *, most: int = 99) -> list[str]:
    """The text in lines of at most `room` pixels, and at most `most` lines.

    Its own line breaks stay. A word that is wider than the room breaks behind -, /, _, ( and a
    comma; what still does not fit is shortened.

    >>> wrapped("a vit_large_patch14", 10, len), wrapped("one two three", 5, len, most=2)
    (['a vit_', 'large_', 'patch14'], ['one', 'two…'])
    """
    lines = []
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split():
            pieces = [word] if measure(word) <= room else BREAKS.split(word)
            for i, piece in enumerate(pieces):
                longer = f"{line} {piece}" if line and not i else line + piece
                if line and measure(longer) > room:
                    lines.append(line)
                    longer = piece
                line = longer
        lines.append(line)
    if len(lines) > most:
        lines[most - 1 :] = [" ".join(lines[most - 1 :])]
    return [shortened(line, room, measure) for line in lines]


def shortened(text: str, room: float, measure: Measure) -> str:
    """The text, or as much of its start as fits with "…" behind; "" if not even that fits.

    >>> shortened("abcdef", 4, len), shortened("abc", 4, len)
    ('abc…', 'abc')
    """
    if measure(text) <= room:
        return text
    starts = (text[:end].rstrip() + "…" for end in range(len(text) - 1, 0, -1))
    return next((start for start in starts if measure(start) <= room), "")
