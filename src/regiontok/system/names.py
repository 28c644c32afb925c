"""One rule for names with accents: composed and decomposed spellings are the same name.

A Mac writes "é" into archives as "e" and an accent (NFD), most others as one character (NFC); a
list of names and the files it speaks of often come from different machines.
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path


def same_name(name: str) -> str:
    r"""A name in the one spelling in which names are compared (NFC).

    >>> same_name("cafe\u0301.png") == same_name("caf\xe9.png")
    True
    """
    return unicodedata.normalize("NFC", name)


def as_on_disk(path: Path) -> Path:
    """The path in the spelling that is on disk, if there is one; else the path as it is."""
    if str(path).isascii() or os.path.exists(path):
        return path
    spelled = Path(path.anchor)
    for spelling in path.parts[len(spelled.parts) :]:
        spellings = (spelling, *(unicodedata.normalize(form, spelling) for form in ("NFC", "NFD")))
        spelled /= next((name for name in spellings if os.path.exists(spelled / name)), spelling)
    return spelled if os.path.exists(spelled) else path
