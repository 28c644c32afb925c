"""Whether a reader knows the script of an image's text: a rule, since its scores do not say.

A letter that the model does not know is left out, and what is left scores high: of a line of
Russian ", " remains, with .96. But such a line is long for so few letters. Or letters that look
alike stand for those of another alphabet, as Latin ones in a Greek word.

After: nothing.
Differs: see docs/measurements/curate.md for what the rule finds, and what it does not: letters with
two marks (Vietnamese) are left out one by one, and most of the line remains.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import numpy as np

from regiontok.curate.text_readers import TextLines

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

SURE = 0.7  # a line that scores no more is not read
LONG = 4.0  # heights of a line from which its letters are counted: signs of one letter are short
SPARSE = 0.8  # Latin letters to a height; known text has 1.5 to 3, and signs .5 at least
ENOUGH = 8.0  # heights of unread lines from which they say anything of the image
MOST = 0.5  # share of unread lines, by length, above which nothing of the image is used
ALPHABETS = ("LATIN", "GREEK", "CYRILLIC")
MIXED = 4  # letters of a word from which it has one alphabet: kΩ and μm have two


def unknown_script(lines: TextLines) -> str:
    """Why the text of an image is not to be used; "" if it may be.

    >>> line = np.array([[[0, 0], [90, 0], [90, 10], [0, 10]]], np.float32)
    >>> unknown_script(TextLines.of(line, ["seventeen letters"], [0.9]))
    ''
    >>> unknown_script(TextLines.of(line, [" , "], [0.96]))
    'other script: 1 of 1 lines are not read'
    """
    lengths, unread = lengths_of(lines), unread_lines(lines)
    length = float(lengths[unread].sum())
    if length < ENOUGH or length <= MOST * float(lengths.sum()):
        return ""
    return f"other script: {int(unread.sum())} of {len(lines)} lines are not read"


def unread_lines(lines: TextLines) -> Bool[np.ndarray, "m"]:
    """Which lines the reader has not read, by their scores or by `misread_lines`."""
    unread: Bool[np.ndarray, "m"] = (lines.scores <= SURE) | misread_lines(lines)
    return unread


def misread_lines(lines: TextLines) -> Bool[np.ndarray, "m"]:
    """Which lines are long for their few letters, or mix alphabets in a word, whatever they score.

    >>> line = np.array([[[0, 0], [90, 0], [90, 10], [0, 10]]], np.float32)
    >>> misread_lines(TextLines.of(line, [" , "], [0.96])).tolist()
    [True]
    """
    lengths = lengths_of(lines)
    letters = np.array([letter_count(text) for text in lines.texts], float)
    sparse = (lengths >= LONG) & (letters < SPARSE * lengths)
    mixed = np.array([any(map(is_mixed, text.split())) for text in lines.texts], bool)
    misread: Bool[np.ndarray, "m"] = sparse | mixed
    return misread


def lengths_of(lines: TextLines) -> Float[np.ndarray, "m"]:
    """Length of each line in its own heights, whichever way it runs."""
    sides = np.linalg.norm(lines.polygons - np.roll(lines.polygons, -1, axis=1), axis=2)
    first, second = sides[:, [0, 2]].mean(1), sides[:, [1, 3]].mean(1)
    lengths: Float[np.ndarray, "m"] = np.maximum(first, second) / np.maximum(
        np.minimum(first, second), 1e-6
    )
    return lengths


def letter_count(text: str) -> int:
    """Signs of a text but for blanks; wide ones, as Chinese has, count twice.

    >>> letter_count("STOP 停")
    6
    """
    return sum(
        1 + (unicodedata.east_asian_width(sign) in "WF") for sign in text if not sign.isspace()
    )


def is_mixed(word: str) -> bool:
    """True for a word with letters of two alphabets, unless it is short.

    >>> is_mixed("POΣOX"), is_mixed("ΕΞΟΔΟΣ"), is_mixed("10kΩ"), is_mixed("Ärger")
    (True, False, False, False)
    """
    letters = [sign for sign in word if sign.isalpha()]
    alphabets = {unicodedata.name(letter, "?").split()[0] for letter in letters}
    return len(letters) >= MIXED and len(alphabets.intersection(ALPHABETS)) > 1
