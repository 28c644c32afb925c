"""The contract of a model that one talks with about pictures, whoever made its visual tokens.

A trained `RegionVLM` (`regiontok.model.conversation`) and a released model with regions inside
(`regiontok.released.conversation`) fulfil it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any, Protocol

from regiontok.core.frame import Frame, Pair
from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.core.sizes import ShownBySizes
from regiontok.core.tokens import Tokens

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor, nn

Message = Mapping[str, Any]


@dataclass(frozen=True, eq=False, repr=False)
class PictureTokens(ShownBySizes):
    """One picture as a language model gets it.

    Attributes:
        picture: the picture, decoded.
        tokens: its visual tokens; their values have the language model's width.
        frames: of each view, how the picture lies under its grid.
        regions: the regions of each view, on the CPU; empty if the model's own tokens are of no
            region.
        masks: the segmenter's pixel masks, which the `source` of a region counts; None if the
            regions are made without any.
    """

    picture: Picture
    tokens: Tokens
    frames: tuple[Frame, ...]
    regions: tuple[Regions, ...]
    masks: PixelMasks | None = None


@dataclass(frozen=True, eq=False, repr=False)
class PreparedConversation(ShownBySizes):
    """A conversation ready to be answered.

    Attributes:
        pictures: the pictures of the conversation, in the order of their places.
        visual_columns: `[t]` int64: where the visual tokens of all pictures stand in the row.
        length: tokens of the row, text and visual.
        seconds: seconds spent on pictures that are new: "encode" and "regions".
        generate: takes options of transformers' `generate`, and answers: the row of ids as the
            language model counts them, or as they came, then what was generated.
        first_new: the column of what `generate` gives in which the new ids begin.
        read: takes further ids `[1 n]` behind the row, and reads all in one call of the language
            model: the columns of the further ids begin at `length`.
    """

    pictures: tuple[PictureTokens, ...]
    visual_columns: Int[Tensor, "t"]
    length: int
    seconds: Mapping[str, float]
    generate: Callable[..., Any]
    first_new: int
    read: Callable[[Int[Tensor, "1 n"]], Any]


@dataclass(frozen=True)
class BatchAnswer:
    """The answer to one conversation of a batch.

    Attributes:
        text: the answer.
        visual_tokens: the number of visual tokens of each of its pictures.
        resolutions: of each picture, (height, width) in pixels of every view that the encoder saw.
    """

    text: str
    visual_tokens: tuple[int, ...]
    resolutions: tuple[tuple[Pair, ...], ...]


@dataclass(frozen=True)
class PutQuestion:
    """A question as a model is asked it.

    Attributes:
        prompt: the text of the message.
        options: the options whose letters are the answer; none for an answer in words.
    """

    prompt: str
    options: tuple[str, ...] = ()

    def meaning(self, reply: str) -> str:
        """What a reply means beside its letter: " (left)"; "" if it is no letter of an option.

        >>> PutQuestion("Left or right?", ("left", "right")).meaning("B")
        ' (right)'
        """
        letters = ascii_uppercase[: len(self.options)]
        index = letters.find(reply.strip()) if reply.strip() else -1
        return f" ({self.options[index]})" if index >= 0 else ""


@dataclass(frozen=True)
class Phrasing:
    """How a model is to be asked by people: in free words, or in the questions that it knows.

    Attributes:
        put: the question as the model is asked it; raises a ValueError with examples where the
            model cannot be asked that.
        independent: True if a question is asked about one picture and without earlier ones.
        note: what people should know before they ask; "" for nothing.
    """

    put: Callable[[str], PutQuestion] = PutQuestion
    independent: bool = False
    note: str = ""


class ConversationModel(Protocol):
    """A model that talks about pictures.

    Attributes:
        model: the module whose attention `regiontok.model.attention.watch` can keep.
        tokenizer: tokenizer of the language model.
        phrasing: how people ask it; benchmarks have prompts of their own.
    """

    @property
    def model(self) -> nn.Module: ...

    @property
    def tokenizer(self) -> Any: ...

    @property
    def phrasing(self) -> Phrasing: ...

    def prepare(
        self, messages: Sequence[Message], pictures: Sequence[Picture]
    ) -> PreparedConversation:
        """The conversation as the language model gets it; a picture is encoded at most once.

        Args:
            messages: messages as chat templates of transformers take them; an image part stands for
                each picture.
            pictures: the pictures, in the order of their places in the messages.
        """
        ...

    def answers(
        self,
        conversations: Sequence[Sequence[Message]],
        pictures: Sequence[Sequence[Picture]],
        **options: Any,
    ) -> list[BatchAnswer]:
        """The answers to several conversations, which go through the model together.

        Nothing is kept for a later call, so that thousands of pictures may pass.

        Args:
            conversations: messages as for `prepare`, of each conversation.
            pictures: the pictures of each.
            **options: options of transformers' `generate`.

        Raises:
            ValueError: If a conversation is longer than the model takes.
        """
        ...

    def forget(self) -> None:
        """Drop the tokens of the pictures that were encoded so far."""
        ...
