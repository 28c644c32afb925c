"""The attention rows of an answer on the visual tokens of its conversation.

The answer is the model's own or a given one. "forced" reads the conversation with the whole answer
behind it in one call; "decoded" keeps the rows of the steps in which the answer was generated.

After: diagnostic study (row D16): the attention that answer tokens pay to visual tokens.
Differs: nothing known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from regiontok.conversation import ConversationModel, PreparedConversation
from regiontok.core.sizes import ShownBySizes
from regiontok.model.attention import watch
from regiontok.system.errors import RegiontokError

if TYPE_CHECKING:
    from jaxtyping import Float


class NoAnswer(RegiontokError, ValueError):
    """An answer has no token whose attention could be kept."""


@dataclass(frozen=True, eq=False, repr=False)
class AnswerAttention(ShownBySizes):
    """The rows of one answer.

    Attributes:
        text: the answer, special tokens left out.
        pieces: what the token of each row adds to the text; together they are the text.
        rows: `[layers heads r t]` float32, at the columns of the visual tokens of all pictures,
            normalised over all keys.
    """

    text: str
    pieces: tuple[str, ...]
    rows: Float[Tensor, "layers heads r t"]


def answer_attention(
    model: ConversationModel,
    prepared: PreparedConversation,
    answer: str | None = None,
    *,
    rows: Literal["own", "predicting"] = "own",
    end: bool = False,
    capture: Literal["forced", "decoded"] = "forced",
    longest: int = 32,
) -> AnswerAttention:
    """The attention of an answer on the visual tokens.

    Args:
        model: the model.
        prepared: the conversation that is answered.
        answer: the answer; None lets the model answer, greedily.
        rows: the answer tokens' own rows, or those that predict them.
        end: whether the token that ends the answer has a row, if the answer was not cut off.
        capture: see `FocusOptions`.
        longest: tokens of the model's own answer at most.

    Raises:
        NoAnswer: If the answer has no token.
        ValueError: If the model's attention cannot be kept, the tokenizer has no end token where
            one is wanted, or choices exclude each other (see `FocusOptions`).
    """
    if capture == "decoded":
        if answer is not None or (end and rows == "own"):
            raise ValueError(
                "decoding keeps rows of the model's own answer, and none of its end token: take "
                "capture='forced'"
            )
        return _decoded(model, prepared, rows=rows, end=end, longest=longest)
    ids = _generated(prepared, longest) if answer is None else _ids_of(model, answer)
    ids = _counted(model, ids, end)
    first = prepared.length - (rows == "predicting")
    columns = [first + index for index in range(len(ids))]
    with watch(model.model, rows=columns, keys=prepared.visual_columns) as attention_watch:
        prepared.read(torch.tensor([ids]))
    return _attention(model, ids, attention_watch.attention()[:, 0])


def _decoded(
    model: ConversationModel,
    prepared: PreparedConversation,
    *,
    rows: str,
    end: bool,
    longest: int,
) -> AnswerAttention:
    """The rows of decoding: the row of a step predicts its token, and is the one before's own."""
    with watch(model.model, keys=prepared.visual_columns) as attention_watch:
        # one step more reads the last token of an answer that is cut off
        new = _generated(prepared, longest + (rows == "own"))
    ids = _counted(model, new[:longest], end)
    steps = attention_watch.attention()[:, 0]
    start = int(rows == "own")
    return _attention(model, ids, steps[..., start : start + len(ids), :])


def _generated(prepared: PreparedConversation, longest: int) -> list[int]:
    options = {"max_new_tokens": longest, "do_sample": False, "num_beams": 1}
    output: list[int] = prepared.generate(**options)[0, prepared.first_new :].tolist()
    return output


def _ids_of(model: ConversationModel, answer: str) -> list[int]:
    """A given answer as ids, with the token that ends it where the tokenizer has one."""
    ids = list(model.tokenizer(answer, add_special_tokens=False).input_ids)
    end = model.tokenizer.eos_token_id
    return ids if end is None else [*ids, int(end)]


def _counted(model: ConversationModel, ids: Sequence[int], end: bool) -> list[int]:
    """The ids whose rows count: those of the answer, and perhaps the first special one behind."""
    special = set(model.tokenizer.all_special_ids)
    count = len(ids)
    while count and ids[count - 1] in special:
        count -= 1
    counted = list(ids[: count + 1] if end else ids[:count])
    if not counted:
        raise NoAnswer("the answer is empty: it has no token whose attention could be kept")
    return counted


def _attention(
    model: ConversationModel, ids: Sequence[int], rows: Float[Tensor, "layers heads r t"]
) -> AnswerAttention:
    texts = [model.tokenizer.decode(list(ids[:end])) for end in range(len(ids) + 1)]
    return AnswerAttention(
        text=model.tokenizer.decode(list(ids), skip_special_tokens=True).strip(),
        pieces=tuple(text[len(before) :] for before, text in pairwise(texts)),
        rows=rows.cpu(),
    )


def words_of(pieces: Sequence[str]) -> list[tuple[str, list[int]]]:
    """The words of an answer, each with the rows of its tokens; a blank begins a new word.

    >>> words_of(["a", " red", " squ", "are", ".", " "])
    [('a', [0]), ('red', [1]), ('square.', [2, 3, 4])]
    """
    return [(text.strip(), rows) for text, rows in pieces_by_word(pieces) if text.strip()]


def pieces_by_word(pieces: Sequence[str]) -> list[tuple[str, list[int]]]:
    """The same with the blanks before each word, and blanks behind the last one: all the text.

    >>> pieces_by_word(["a", " red", " squ", "are", ".", " "])
    [('a', [0]), (' red', [1]), (' square.', [2, 3, 4]), (' ', [5])]
    """
    words: list[tuple[str, list[int]]] = []
    for row, piece in enumerate(pieces):
        if not words or piece[:1].isspace():
            words.append(("", []))
        words[-1] = (words[-1][0] + piece, [*words[-1][1], row])
    return words
