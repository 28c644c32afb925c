"""A griffe extension: our docstrings become Markdown that a page can show.

Three habits need it. Lines that begin with `After:` or `Differs:` are paragraphs of their own,
doctests stand in the running text without a fence, and an example that is announced by `::` is
indented as in reStructuredText.
"""

from __future__ import annotations

import re
from typing import Any

try:
    from griffe import Extension
except ImportError:  # without the site's packages `as_markdown` can still be tested
    Extension = object

LABELS = re.compile(r"^(After|Differs):(?= )", re.MULTILINE)
DOCTEST = re.compile(r"^>>> .*(?:\n(?!$).*)*", re.MULTILINE)
LITERAL = re.compile(r"::$(?=\n\n {4})", re.MULTILINE)


class ReadableDocstrings(Extension):
    """Rewrite every docstring when griffe has read it."""

    def on_object(self, *, obj: Any, **kwargs: Any) -> None:
        """Called for each module, class, function and attribute."""
        if not getattr(obj, "is_alias", False) and obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """A docstring with its labels in bold, its doctests fenced, and its literal blocks plain.

    >>> print(as_markdown("Merge.\\n\\nAfter: the study.\\nDiffers: ties."))
    Merge.
    <BLANKLINE>
    <BLANKLINE>
    **After:** the study.
    <BLANKLINE>
    **Differs:** ties.
    """
    text = LITERAL.sub(":", text)
    text = DOCTEST.sub(lambda block: f"```pycon\n{block[0]}\n```", text)
    return LABELS.sub(r"\n**\1:**", text)
