"""Names and other people's text as a terminal may have them: nothing in them moves its cursor.

A file's name may hold anything but "/" and NUL: control characters that clear a screen or type a
command, line ends, marks that turn the direction of writing, and bytes that are no UTF-8.
"""

from __future__ import annotations

import re

# controls but for the tab, line and paragraph separators, marks of direction, halves of characters
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_IN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""One line of text in which what a terminal would obey stands as an escape.

    A byte of a file's name that is no UTF-8 is shown as that byte.

    >>> print(printable("caf\udce9\x1b[2J.png"), printable("two\nlines"))
    caf\xe9\x1b[2J.png two\nlines
    """
    return _UNPRINTABLE.sub(_as_escape, text)


def printable_lines(text: str) -> str:
    r"""Text of several lines, whose line ends stay, as `printable` shows each of them.

    >>> print(printable_lines("one\ntwo\x07"))
    one
    two\x07
    """
    return "\n".join(map(printable, text.split("\n")))


def printable_json(text: str) -> str:
    r"""JSON in which the same characters stand as JSON's own escapes: it reads the same.

    >>> print(printable_json('["caf\udce9", "\x9b2J"]'))
    ["caf\udce9", "\u009b2J"]
    """
    return _IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _as_escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return match[0].encode("unicode_escape").decode("ascii")
