"""A conversation as ids and labels: the assistant's words and their end token are supervised.

Labels come from spans of one text, and it is asserted that they say the assistant's words.

After: LLaVA-1.5's `preprocess_v1` and `preprocess_plain` (rows D13, O4): the same ids, for legacy
Llama tokenizers and others, and the same labels.
Differs: LLaVA counts the tokens of separately tokenized pieces, and where the counts do not add up
("tokenization mismatch") masks the whole sample with a printed warning. Here labels come from the
tokenizer's offsets into one text, and no sample is masked whole. Where a token would reach over the
start of an answer, the text is cut there before it becomes ids, as it is when the model answers.
"""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from tokenizers import AddedToken

from regiontok.data.blocks import BlockRow, block_row
from regiontok.data.record import IMAGE, RecordError, Turn
from regiontok.data.templates import RenderedConversation, Span, Template
from regiontok.model.pieces import Offsets, PieceTokenizer
from regiontok.model.splice import IGNORE

FORM = "pieces 1"  # raise it with every change of how a text becomes ids: measured lengths name it
# about 25 MB; half of the questions about 1,000 pictures of the world were asked before
QUESTIONS_KEPT = 1 << 14


class Labeller:
    """`labeller(turns)` gives the ids and labels of a conversation.

    Args:
        tokenizer: a fast tokenizer. If it has no token `<image>`, a copy of it gets one; the
            tokenizer itself stays as it is.
        template: a name, or "" for the tokenizer's own chat template; see `Template`.
        placeholder: the id that shall stand for a picture in what comes out; None takes the id of
            `<image>`.
        independent: whether the questions of a conversation are blocks that do not see each other;
            see `regiontok.data.blocks`.

    Raises:
        ValueError: If the tokenizer has no offsets, or the template cannot give spans.

    >>> from regiontok.model.mini import mini_tokenizer
    >>> labeller = Labeller(mini_tokenizer())
    >>> ids, labels = labeller([Turn("user", "<image>?"), Turn("assistant", "red")])
    >>> labeller.tokenizer.decode(ids)
    '<s>user: <image>?\\nassistant: red</s>\\n'
    >>> labeller.tokenizer.decode([label for label in labels if label != IGNORE])
    'red</s>'
    """

    def __init__(
        self,
        tokenizer: Any,
        template: str = "",
        *,
        placeholder: int | None = None,
        independent: bool = False,
    ) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ValueError(
                f"{type(tokenizer).__name__} gives no offsets: "
                "spans need a fast tokenizer (AutoTokenizer's default)"
            )
        self.tokenizer = _with_image_token(tokenizer)
        self._pieces = PieceTokenizer(self.tokenizer, IMAGE)
        self.image_id = self._pieces.image_id
        self.placeholder = self.image_id if placeholder is None else placeholder
        self.template = Template(self.tokenizer, template)
        self.independent = independent
        self._questions: dict[tuple[Turn, ...], tuple[list[int], list[int]]] = {}

    @property
    def identity(self) -> str:
        """A hash of what decides ids and labels: the tokenizer, the template, the placeholder."""
        parts = (
            FORM,
            self.tokenizer.backend_tokenizer.to_str(),
            self.template.identity,
            str(self.placeholder),
            *(["independent"] if self.independent else []),
        )
        return sha256("\n".join(parts).encode()).hexdigest()

    def __call__(self, turns: Sequence[Turn]) -> tuple[list[int], list[int]]:
        """Ids with one placeholder a picture, and as many labels.

        Raises:
            RecordError: See `row`.
        """
        return self.row(turns)[:2]

    def row(self, turns: Sequence[Turn]) -> BlockRow:
        """Ids with one placeholder a picture, as many labels, and the block of each id.

        Raises:
            RecordError: If the template does not take the conversation, or the supervised ids do
                not say the assistant's words.
        """
        if self.independent:
            return block_row(turns, self._question)
        return BlockRow(*self._conversation(turns), [])

    def _question(self, turns: Sequence[Turn]) -> tuple[list[int], list[int]]:
        """Ids and labels of a question that may have been labelled before: tokenising is slow."""
        known = self._questions.get(key := tuple(turns))
        if known is None:
            known = self._conversation(turns)
            if len(self._questions) < QUESTIONS_KEPT:
                self._questions[key] = known
        return known

    def _conversation(self, turns: Sequence[Turn]) -> tuple[list[int], list[int]]:
        """Ids and labels of one conversation.

        Raises:
            RecordError: If the template does not take the conversation, or the supervised ids do
                not say the assistant's words.
        """
        rendered = self.template.render(turns)
        ids, offsets = self._ids_and_offsets(rendered)
        labels = [IGNORE] * len(ids)
        for span in rendered.spans:
            places = _places_within(offsets, span)
            self._assert_said(rendered, span, [ids[place] for place in places])
            for place in places:
                labels[place] = ids[place]
        return self._with_placeholders(ids, turns), labels

    def prompt(self, turns: Sequence[Turn]) -> list[int]:
        """Ids of a conversation whose next answer is to be written.

        They are the ids of the trained conversation up to the first supervised one of that answer.

        Args:
            turns: a conversation whose next turn is the assistant's.

        Raises:
            RecordError: If the template does not take the conversation.

        >>> from regiontok.model.mini import mini_tokenizer
        >>> labeller = Labeller(mini_tokenizer(), "vicuna_v1")
        >>> labeller.tokenizer.decode(labeller.prompt([Turn("user", "<image>\\n?")]))[-26:]
        'USER: <image>\\n? ASSISTANT:'
        """
        ids, _ = self._ids_and_offsets(self.template.prompt(turns))
        return self._with_placeholders(ids, turns)

    def _with_placeholders(self, ids: list[int], turns: Sequence[Turn]) -> list[int]:
        expected = sum(turn.text.count(IMAGE) for turn in turns)
        if ids.count(self.image_id) != expected:
            raise RecordError(
                f"the template makes {ids.count(self.image_id)} placeholders of {expected} {IMAGE}"
            )
        if self.placeholder == self.image_id:
            return ids
        if self.placeholder in ids:
            raise RecordError(f"the text itself holds the placeholder's id {self.placeholder}")
        return [self.placeholder if number == self.image_id else number for number in ids]

    def _ids_and_offsets(self, rendered: RenderedConversation) -> tuple[list[int], Offsets]:
        """Ids and offsets of a text in which no token reaches over the start of an answer."""
        return self._pieces.untorn(rendered.text, [span.start for span in rendered.spans])

    def _assert_said(self, rendered: RenderedConversation, span: Span, ids: list[int]) -> None:
        decoded = self.tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        answer = rendered.text[span.start : span.stop]
        if _normalised(decoded) != _normalised(answer):
            raise RecordError(
                "the supervised ids do not say the answer: "
                f"{decoded[:40]!r} instead of {answer[:40]!r}"
            )


def _with_image_token(tokenizer: Any) -> Any:
    if IMAGE in tokenizer.get_added_vocab():
        ids = tokenizer.encode(IMAGE, add_special_tokens=False)
        if ids == [tokenizer.convert_tokens_to_ids(IMAGE)]:
            return tokenizer
    extended = copy.deepcopy(tokenizer)
    extended.add_tokens([AddedToken(IMAGE, normalized=False, special=True)], special_tokens=True)
    return extended


def _places_within(offsets: Offsets, span: Span) -> list[int]:
    """The tokens of a span.

    A token of no width (a word mark that stands for no character) goes with what follows it.
    """
    return [
        place
        for place, (first, last) in enumerate(offsets)
        if (first < span.stop and last > span.start)
        or (first == last and span.start <= first < span.stop)
    ]


def _normalised(text: str) -> str:
    """A text without the space in front that a word mark stands for.

    It is composed, as tokenizers that normalise (Qwen's) write it.
    """
    return unicodedata.normalize("NFC", text).lstrip(" ")
