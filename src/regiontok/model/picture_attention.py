"""Where in each picture of a conversation an answer looked, as a whole and word by word.

After: diagnostic study (row D16): the attention that answer tokens pay to visual tokens.
Differs: nothing known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regiontok.conversation import PictureTokens, PreparedConversation
from regiontok.model.answer_attention import pieces_by_word
from regiontok.model.region_attention import RegionAttention, region_attention

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class PictureAttention:
    """Where in one picture an answer looked.

    Attributes:
        picture: the picture and its tokens.
        views: of each view, the shares of its regions.
    """

    picture: PictureTokens
    views: tuple[RegionAttention, ...]

    @property
    def first_view(self) -> RegionAttention:
        """The shares of the base view, which hold those of the whole image and of CLS."""
        return self.views[0]


@dataclass(frozen=True, eq=False)
class AttendedWord:
    """Where in each picture one word of an answer looked.

    Attributes:
        text: the word with the blanks before it; together the words are the answer.
        tokens: how many tokens it has.
        attention: the mean over its tokens, in each picture with regions and tokens.
    """

    text: str
    tokens: int
    attention: tuple[PictureAttention, ...]


def picture_attention(
    prepared: PreparedConversation, rows: Float[Tensor, "layers heads r t"]
) -> tuple[PictureAttention, ...]:
    """Where in each picture with regions and tokens some rows of an answer look.

    Args:
        prepared: the conversation.
        rows: the rows, at the columns of the visual tokens of all pictures.
    """
    counts = [len(picture.tokens) for picture in prepared.pictures]
    attention = []
    for picture, picture_rows in zip(prepared.pictures, rows.split(counts, -1), strict=True):
        if picture.regions and picture_rows.shape[-1]:
            views = tuple(
                region_attention(picture_rows, picture.tokens, len(regions), view=view)
                for view, regions in enumerate(picture.regions)
            )
            attention.append(PictureAttention(picture, views))
    return tuple(attention)


def attended_words(
    prepared: PreparedConversation,
    rows: Float[Tensor, "layers heads r t"],
    pieces: Sequence[str],
) -> tuple[AttendedWord, ...]:
    """Where each word of an answer looks.

    Args:
        prepared: the conversation.
        rows: a row a token of the answer, at the columns of the visual tokens of all pictures.
        pieces: what each token adds to the answer.
    """
    return tuple(
        AttendedWord(text, len(index), picture_attention(prepared, rows[:, :, index]))
        for text, index in pieces_by_word(pieces)
    )
