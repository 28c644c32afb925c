"""Conversation -> ids and labels: what is supervised is the assistant's words and their end token,
by spans, and that is asserted.

After: LLaVA-1.5's `preprocess_v1` and `preprocess_plain` (what they supervise; rows D13, O4).
Differs: LLaVA counts the tokens of separately tokenized pieces, and where the counts do not add up
("tokenization mismatch") masks the whole sample with a printed warning. Here labels come from the
tokenizer's offsets into one text, and no sample is masked whole. Where a token would reach over the
start of an answer (more than one space of it, which belongs to the first word as in LLaVA), the
text is cut there before it becomes ids, as it is when the model generates.
"""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from tokenizers import AddedToken

from regiontok.data.records import IMAGE, RecordError, Turn
from regiontok.data.templates import Rendered, Span, Template
from regiontok.model.splice import IGNORE


class Labeller:
    """`labeller(turns)` -> (ids, labels) of a conversation.

    Args:
        tokenizer: a fast one. If it has no token `<image>`, a copy of it gets one; the given one
            stays as it is.
        template: see `Template`.
        placeholder: the id that shall stand for a picture in what comes out; None: the id of
            `<image>`.

    Raises:
        ValueError: a tokenizer without offsets; a template that cannot give spans.

    >>> from regiontok.model.mini import mini_tokenizer
    >>> labeller = Labeller(mini_tokenizer())
    >>> ids, labels = labeller([Turn("user", "<image>?"), Turn("assistant", "red")])
    >>> labeller.tokenizer.decode(ids), labeller.tokenizer.decode([label for label in labels if label != IGNORE])
    ('<s>user: <image>?\\nassistant: red</s>\\n', 'red</s>')
    """

    def __init__(
        self, tokenizer: Any, template: str = "", *, placeholder: int | None = None
    ) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ValueError(
                f"{type(tokenizer).__name__} gives no offsets: spans need a fast tokenizer (AutoTokenizer's default)"
            )
        self.tokenizer = _with_image(tokenizer)
        self.image_id = int(self.tokenizer.convert_tokens_to_ids(IMAGE))
        self.placeholder = self.image_id if placeholder is None else placeholder
        self.template = Template(self.tokenizer, template)

    @property
    def identity(self) -> str:
        """Hash of what decides ids and labels: the tokenizer, the template, the placeholder."""
        parts = (
            self.tokenizer.backend_tokenizer.to_str(),
            self.template.identity,
            str(self.placeholder),
        )
        return sha256("\n".join(parts).encode()).hexdigest()

    def __call__(self, turns: Sequence[Turn]) -> tuple[list[int], list[int]]:
        """Ids with one placeholder a picture, and labels, as many.

        Raises:
            RecordError: a conversation that the template does not take, or whose supervised ids do
                not say the assistant's words.
        """
        made = self.template.render(turns)
        ids, offsets = self._ids(made.text, [])
        if cuts := sorted(
            span.start for span in made.spans if _is_torn(made.text, offsets, span.start)
        ):
            ids, offsets = self._ids(made.text, cuts)
        labels = [IGNORE] * len(ids)
        for span in made.spans:
            own = _within(offsets, span)
            self._assert_said(made, span, [ids[at] for at in own])
            for at in own:
                labels[at] = ids[at]
        stand = sum(turn.text.count(IMAGE) for turn in turns)
        if ids.count(self.image_id) != stand:
            raise RecordError(
                f"the template makes {ids.count(self.image_id)} placeholders of {stand} {IMAGE}"
            )
        if self.placeholder != self.image_id:
            if self.placeholder in ids:
                raise RecordError(f"the text itself holds the placeholder's id {self.placeholder}")
            ids = [self.placeholder if number == self.image_id else number for number in ids]
        return ids, labels

    def _ids(self, text: str, cuts: list[int]) -> tuple[list[int], list[tuple[int, int]]]:
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True):
            found = self.tokenizer(
                text[start:stop],
                add_special_tokens=False,
                return_offsets_mapping=True,
                truncation=False,
                verbose=False,
            )
            ids += found["input_ids"]
            offsets += [(start + first, start + last) for first, last in found["offset_mapping"]]
        return ids, offsets

    def _assert_said(self, made: Rendered, span: Span, ids: list[int]) -> None:
        said = self.tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        wanted = made.text[span.start : span.stop]
        if _plain(said) != _plain(wanted):
            raise RecordError(
                f"the supervised ids do not say the answer: {said[:40]!r} instead of {wanted[:40]!r}"
            )


def _with_image(tokenizer: Any) -> Any:
    if IMAGE in tokenizer.get_added_vocab() and tokenizer.encode(
        IMAGE, add_special_tokens=False
    ) == [tokenizer.convert_tokens_to_ids(IMAGE)]:
        return tokenizer
    own = copy.deepcopy(tokenizer)
    own.add_tokens([AddedToken(IMAGE, normalized=False, special=True)], special_tokens=True)
    return own


def _is_torn(text: str, offsets: list[tuple[int, int]], at: int) -> bool:
    """True if a token reaches over `at`, with more in front of it than one space."""
    return any(first < at < last and text[first:at] != " " for first, last in offsets)


def _within(offsets: list[tuple[int, int]], span: Span) -> list[int]:
    """Tokens of a span; one of no width (a word mark that stands for no character) goes with what
    follows it."""
    return [
        at
        for at, (first, last) in enumerate(offsets)
        if (first < span.stop and last > span.start)
        or (first == last and span.start <= first < span.stop)
    ]


def _plain(text: str) -> str:
    """Without the space in front that a word mark stands for; composed, as tokenizers that
    normalise (Qwen) write it."""
    return unicodedata.normalize("NFC", text).lstrip(" ")
