"""The prompts of benchmark questions: the study's, and published alternatives by name.

After: diagnostic study, section 4 (row D14): greedy answers; a short answer is the question and
"Answer the question using a single word or phrase.", a choice is the question, its options and
"Answer with the option's letter from the given choices directly."; both are LLaVA-1.5's. CV-Bench's
prompt is aligned with the others. OG-LLaVA's are those of its evaluation code at commit 43039ac,
VLMEvalKit's those of its `image_mcq.py`.
Differs: the space and line end behind VLMEvalKit's last line are left out. The picture stands in
front of the text; it is no part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from string import ascii_uppercase

from regiontok.system.choices import check_choice

SHORT = "Answer the question using a single word or phrase."
CHOICE = "Answer with the option's letter from the given choices directly."


def short_answer(question: str, *, ending: str = SHORT) -> str:
    r"""A question whose answer is a word or a phrase.

    Args:
        question: the question.
        ending: the line behind it; "" asks the question alone.

    >>> short_answer("Is there a dog in the image?")
    'Is there a dog in the image?\nAnswer the question using a single word or phrase.'
    """
    return "\n".join(filter(None, (question.strip(), ending)))


def choice(
    question: str,
    options: Sequence[str],
    *,
    hint: str = "",
    option: str = "{letter}. {text}",
    ending: str = CHOICE,
) -> str:
    r"""A question whose answer is the letter of an option.

    Args:
        question: the question.
        options: the texts of the options, in their order.
        hint: what stands in front of the question; "" for nothing.
        option: how an option is written.
        ending: the line behind the options; "" ends with them.

    Raises:
        ValueError: If there are fewer than two options or more than letters.

    >>> print(choice("How many dogs?", ["1", "2"]))
    How many dogs?
    A. 1
    B. 2
    Answer with the option's letter from the given choices directly.
    """
    if not 2 <= len(options) <= len(ascii_uppercase):
        raise ValueError(
            f"a choice has 2 to {len(ascii_uppercase)} options, got {len(options)}: {question!r}"
        )
    lines = [
        option.format(letter=letter, text=text.strip())
        for letter, text in zip(ascii_uppercase, options, strict=False)
    ]
    return "\n".join(filter(None, (hint.strip(), question.strip(), *lines, ending)))


def _cv_bench(question: str, options: Sequence[str], *, hint: str = "") -> str:
    stem = f"{question.strip()} Select from the following choices."
    return choice(stem, options, hint=hint, option="({letter}) {text}", ending="")


def _vlmevalkit(question: str, options: Sequence[str], *, hint: str = "") -> str:
    stem = f"Question: {question.strip()}\nOptions:"
    ending = "Please select the correct answer from the options above."
    return choice(stem, options, hint=f"Hint: {hint}" if hint else "", ending=ending)


def caption_choice(captions: Sequence[str]) -> str:
    """Which caption describes the picture, as OG-LLaVA's evaluation of ARO asks.

    Args:
        captions: two captions (VG-Relation, VG-Attribution), or more (the orders).

    Raises:
        ValueError: If there are fewer than two captions or more than letters.
    """
    letters = ascii_uppercase[: len(captions)]
    count = "two candidate captions" if len(captions) == 2 else "the candidate captions"
    named = _in_words(list(letters), "and")
    quoted = _in_words([f"'{letter}'" for letter in letters], "or")
    return choice(
        f"Given one image and {count} ({named}), which caption is the better description of the "
        "given image?",
        captions,
        option="{letter}.{text}",
        ending=f"\n{CHOICE.removesuffix('.')}, only give a single character answer - {quoted} and "
        "answer only with one letter without providing any reasoning.",
    )


def _in_words(words: Sequence[str], last: str) -> str:
    """Words as a list: "A, B and C"."""
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), words[-1])))


# how a choice is asked, by name
CHOICE_STYLES: Mapping[str, Callable[..., str]] = {
    "study": choice,
    "cvbench": _cv_bench,
    "vlmevalkit": _vlmevalkit,
}
# what ends a question with a short answer, by name
SHORT_ENDINGS: Mapping[str, str] = {
    "study": SHORT,
    "bare": "",
    "yes-no": "Please answer yes or no.",  # MME's own files hold it in their questions
}


def ask_choice(
    question: str, options: Sequence[str], *, hint: str = "", style: str = "study"
) -> str:
    """A question with options in a published style.

    Args:
        question, options, hint: see `choice`.
        style: one of `CHOICE_STYLES`: "study" (row D14), "cvbench" (what stands in that
            benchmark's own column `prompt`) or "vlmevalkit".

    Raises:
        ValueError: If the style is unknown, or the number of options is none of a choice.
    """
    check_choice("style", style, tuple(CHOICE_STYLES))
    return CHOICE_STYLES[style](question, options, hint=hint)


def ask_short(question: str, *, style: str = "study") -> str:
    """A question with a short answer in a published style.

    Args:
        question: the question.
        style: one of `SHORT_ENDINGS`: "study" (row D14), "bare" or "yes-no".

    Raises:
        ValueError: If the style is unknown.
    """
    check_choice("style", style, tuple(SHORT_ENDINGS))
    return short_answer(question, ending=SHORT_ENDINGS[style])
