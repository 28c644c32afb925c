"""What a reply says, whatever its form: the letter of an option, or yes or no."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from string import ascii_uppercase

# decoration that models put around a letter: "(B)", "**B**", "B.", "[B]", "`B`"
_OPEN, _CLOSE = r"[\s(\[{*_`\"'$]*", r"[\s)\]}*_`\"'$.,:;!]*"
_ALONE = re.compile(rf"{_OPEN}([A-Za-z]){_CLOSE}")
_LABELLED = re.compile(
    rf"\b(?:answer|option|choice)\b(?:\s+(?:is|would be|should be))?\s*[:=]?{_OPEN}([A-Za-z])"
    r"(?![A-Za-z0-9'])",
    re.IGNORECASE,
)
_LEADING = re.compile(r"\s*(?:[(\[*_`]+([A-Za-z])[)\]*_`.:]+|([A-Z])\s*[.):,])(?![A-Za-z0-9])")
_LEADING_CAPTION = re.compile(r"\s*([A-Z])[.):]\S")  # "B.the horse eats"
_BRACKETED = re.compile(r"[(\[*]+\s*([A-Za-z])\s*[)\]*]+")
_YES = frozenset("yes yeah yep yup true correct sí si oui ja да是".split()) | {"是", "是的", "对"}
_NO = frozenset("no nope not false incorrect non nein нет cannot".split()) | {"否", "不", "不是"}
_WORD = re.compile(r"[^\W\d_]+")


def letter_of(reply: str, options: Sequence[str]) -> str:
    """The letter of the option that a reply chooses; "" if it chooses none, or several.

    It understands "B", "b.", "(B)", "**B**", "B. two dogs", "The answer is (B)", and the text of an
    option.

    Args:
        reply: the reply.
        options: the texts of the options.

    >>> [letter_of(reply, ["one", "two"]) for reply in ("**B**", "B. two", "two!", "A or B")]
    ['B', 'B', 'B', '']
    """
    return _letter_of(reply.strip(), tuple(options))


@lru_cache(maxsize=65536)
def _letter_of(reply: str, options: tuple[str, ...]) -> str:
    letters = ascii_uppercase[: len(options)]
    if match := _ALONE.fullmatch(reply):
        return _known(match[1], letters)
    labelled = {_known(letter, letters) for letter in _LABELLED.findall(reply)} - {""}
    if len(labelled) == 1:
        return labelled.pop()
    if match := _LEADING.match(reply):
        letter = _known(match[1] or match[2], letters)
        others = {_known(match, letters) for match in _BRACKETED.findall(reply)} - {"", letter}
        if letter and not others:
            return letter
    if (match := _LEADING_CAPTION.match(reply)) and match[1] in letters:
        return match[1]
    bracketed = {_known(match, letters) for match in _BRACKETED.findall(reply)} - {""}
    if len(bracketed) == 1:
        return bracketed.pop()
    if bracketed:
        return ""
    return _by_text(reply, options)


def _known(letter: str, letters: str) -> str:
    return letter.upper() if letter and letter.upper() in letters else ""


def _by_text(reply: str, options: Sequence[str]) -> str:
    """The letter of the one option whose text the reply is, or holds."""
    said = plain(reply)
    texts = [plain(option) for option in options]
    equal = [index for index, text in enumerate(texts) if text and text == said]
    held = [index for index, text in enumerate(texts) if text and f" {text} " in f" {said} "]
    # of options that hold one another, as "dog" and "hot dog", the longest is what is said
    longest = [
        index
        for index in held
        if not any(other != index and f" {texts[index]} " in f" {texts[other]} " for other in held)
    ]
    for candidates in (equal, longest):
        if len(candidates) == 1:
            return ascii_uppercase[candidates[0]]
    return ""


def plain(text: str) -> str:
    """Lower-case words and numbers alone.

    >>> plain("Two dogs -- (maybe)!")
    'two dogs maybe'
    """
    return " ".join(re.findall(r"\w+(?:[.']\w+)*", text.lower()))


def yes_or_no(reply: str) -> str:
    """ "yes" or "no" as a reply says, or "" where it says neither, or both.

    The first word decides where it is one; else the words of the first sentence.

    >>> [yes_or_no(reply) for reply in ("NO!", "**Yes**, it is.", "I see no dog", "maybe", "")]
    ['no', 'yes', 'no', '', '']
    """
    words = [word.lower() for word in _WORD.findall(re.split(r"[.!?\n]", reply.strip("*_ \n"))[0])]
    if words and words[0] in _YES | _NO:
        return "yes" if words[0] in _YES else "no"
    yes, no = bool(_YES & set(words)), bool(_NO & set(words))
    return "" if yes == no else "yes" if yes else "no"
