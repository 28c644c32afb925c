"""An answer token by token: the text that each adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The text that each token adds to an answer; together they are the answer.

    A character that is spread over several tokens comes with the last of them. Special tokens add
    nothing.

    Args:
        tokenizer: the tokenizer of the language model.
        ids: the tokens of the answer.
    """
    texts, said = [], ""
    for end in range(1, len(ids) + 1):
        text = str(tokenizer.decode(ids[:end], skip_special_tokens=True))
        whole = text if not text.endswith("\N{REPLACEMENT CHARACTER}") else said
        texts.append(whole.removeprefix(said))
        said = whole
    return texts
