"""A conversation as text, and the spans of it that are supervised.

The template is a tokenizer's own chat template, or a published one by name.

After: LLaVA-1.5's `plain` (stage 1: the pictures, then the caption and a line end) and `vicuna_v1`
(stage 2), rows D13, O4; chat templates of transformers, `{% generation %}` marks included.
Differs: a chat template without marks is rendered twice, with the answers and with a sentinel in
place of each: what lies between tells where the answers stand, and putting them back must give the
first text. (Rendering growing prefixes refuses Qwen3, whose template writes an empty <think> block
before the last answer only; it stays outside the span, as in a prompt with thinking off.)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

from regiontok.data.records import IMAGE, RecordError, Turn
from regiontok.system.choices import nearest

VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
NAMED = ("plain", "vicuna_v1")
_PROBE = (
    Turn("user", "Zqa one?"),
    Turn("assistant", "Zqb two."),
    Turn("user", "Zqc three?"),
    Turn("assistant", "Zqd four."),
)


@dataclass(frozen=True)
class Span:
    """The stretch of an answer in a text; all of it is supervised.

    Attributes:
        start: where the assistant's words begin.
        words: where they end, and the end token (or line end) begins.
        stop: where that ends.
    """

    start: int
    words: int
    stop: int


@dataclass(frozen=True)
class RenderedConversation:
    """A conversation as text.

    Attributes:
        text: the text.
        spans: one span an answer.
    """

    text: str
    spans: tuple[Span, ...]


class Template:
    """How a conversation becomes text.

    Args:
        tokenizer: the tokenizer whose chat template or special tokens are used.
        name: "plain", "vicuna_v1", or "" for the tokenizer's own chat template.

    Raises:
        ValueError: If the name is unknown, or if there is no chat template, it cannot give spans,
            or it puts no end token behind an answer.
    """

    def __init__(self, tokenizer: Any, name: str = "") -> None:
        if name and name not in NAMED:
            raise ValueError(
                f"unknown template {name!r}{nearest(name, NAMED)}; known: {', '.join(NAMED)}, "
                "or '' for the model's own"
            )
        if name == "vicuna_v1" and not tokenizer.eos_token:
            raise ValueError(
                "the template vicuna_v1 ends answers with the tokenizer's end token, "
                "and this tokenizer has none"
            )
        self.name = name or "chat template"
        self.tokenizer = tokenizer
        self._begin = _begin_token(tokenizer)
        self._end = _end_pattern(tokenizer)
        self._jinja = "" if name else _chat_template(tokenizer)
        if not name:
            self._marked = bool(re.search(r"\{%-?\s*generation\s*-?%\}", self._jinja))
            self._check_chat_template()

    def _check_chat_template(self) -> None:
        try:
            self.render(_PROBE)
        except RecordError as error:
            owner = getattr(self.tokenizer, "name_or_path", "") or type(self.tokenizer).__name__
            raise ValueError(
                f"the chat template of {owner} cannot give the spans of answers: {error}. "
                f"Name a template ({', '.join(NAMED)}), or put {{% generation %}} marks around the "
                "assistant's words and end token in it"
            ) from None

    @property
    def identity(self) -> str:
        """Everything that decides the text and its spans, as text."""
        return f"{self.name}: {self._jinja} {self.tokenizer.special_tokens_map} {self._begin}"

    def render(self, turns: Sequence[Turn]) -> RenderedConversation:
        """The text of a conversation and the spans of its answers.

        Raises:
            RecordError: If the template does not take this conversation.
        """
        if self.name == "plain":
            return self._render_plain(turns)
        if self.name == "vicuna_v1":
            return self._render_vicuna(turns)
        return self._render_by_marks(turns) if self._marked else self._render_by_sentinels(turns)

    def _render_plain(self, turns: Sequence[Turn]) -> RenderedConversation:
        if [turn.role for turn in turns] != ["user", "assistant"] or IMAGE not in turns[0].text:
            raise RecordError(
                "the template plain takes one question with a picture and one caption"
            )
        pictures = self._begin + IMAGE * turns[0].text.count(IMAGE)
        caption = turns[1].text
        end_of_caption = len(pictures) + len(caption)
        span = Span(len(pictures), end_of_caption, end_of_caption + 1)
        return RenderedConversation(f"{pictures}{caption}\n", (span,))

    def _render_vicuna(self, turns: Sequence[Turn]) -> RenderedConversation:
        end = self.tokenizer.eos_token
        system = turns[0].text if turns[0].role == "system" else VICUNA
        text, spans = f"{self._begin}{system} ", []
        for turn in turns:
            if turn.role == "user":
                text += f"USER: {turn.text} "
            elif turn.role == "assistant":
                text += "ASSISTANT: "
                end_of_words = len(text) + len(turn.text)
                spans.append(Span(len(text), end_of_words, end_of_words + len(end)))
                text += turn.text + end
        return RenderedConversation(text, tuple(spans))

    def _render_jinja(
        self, turns: Sequence[Turn], *, marks: bool = False
    ) -> tuple[str, list[tuple[int, int]]]:
        """The chat template's text; with `marks`, the stretches that it marks as generated."""
        conversation = [{"role": turn.role, "content": turn.text} for turn in turns]
        variables = getattr(self.tokenizer, "special_tokens_map", {})
        try:
            rendered: Any = render_jinja_template(
                [conversation],
                chat_template=self._jinja,
                return_assistant_tokens_mask=marks,
                **variables,
            )
        # a template that takes content as a list of parts, say, raises a TypeError
        except (TemplateError, TypeError) as error:
            reason = str(error).splitlines()[0] if str(error) else error
            raise RecordError(f"the chat template refuses it ({reason})") from None
        texts, stretches_by_text = rendered
        if not marks:
            return texts[0], []
        return texts[0], [(int(start), int(stop)) for start, stop in stretches_by_text[0]]

    def _render_by_marks(self, turns: Sequence[Turn]) -> RenderedConversation:
        text, stretches = self._render_jinja(turns, marks=True)
        answers = [turn.text for turn in turns if turn.role == "assistant"]
        if len(stretches) != len(answers):
            raise RecordError(
                f"the chat template marks {len(stretches)} stretches as generated, "
                f"for {len(answers)} answers"
            )
        spans = []
        for (start, stop), answer in zip(stretches, answers, strict=True):
            generated = text[start:stop]
            words = answer if answer in generated else answer.strip()
            offset = generated.find(words)
            end = generated[offset + len(words) :]
            if offset < 0 or generated[:offset].strip() or not self._end.fullmatch(end):
                raise RecordError(
                    "what the chat template marks as generated is not the answer and an end token"
                )
            spans.append(Span(start + offset, start + offset + len(words), stop))
        return RenderedConversation(text, tuple(spans))

    def _render_by_sentinels(self, turns: Sequence[Turn]) -> RenderedConversation:
        text, _ = self._render_jinja(turns)
        hidden = [
            Turn(turn.role, _sentinel(number)) if turn.role == "assistant" else turn
            for number, turn in enumerate(turns)
        ]
        skeleton, _ = self._render_jinja(hidden)
        numbers = [number for number, turn in enumerate(turns) if turn.role == "assistant"]
        if any(skeleton.count(_sentinel(number)) != 1 for number in numbers):
            raise RecordError("the chat template does not write every answer once")
        pieces = re.split("|".join(_sentinel(number) for number in numbers), skeleton)
        answers = [turns[number].text for number in numbers]
        for words in (answers, [answer.strip() for answer in answers]):
            filled = zip(pieces, [*words, ""], strict=True)
            if "".join(string for pair in filled for string in pair) == text:
                return RenderedConversation(text, self._spans(pieces, words))
        raise RecordError("the chat template changes the words of an answer")

    def _spans(self, pieces: list[str], answers: list[str]) -> tuple[Span, ...]:
        """The spans of answers that stand between pieces of the template's own text."""
        spans, start = [], 0
        for piece, answer, next_piece in zip(pieces, answers, pieces[1:], strict=False):
            start += len(piece)
            end = self._end.match(next_piece)
            if end is None:
                raise RecordError(
                    "the chat template puts no end token behind an answer "
                    f"({next_piece[:20]!r} stands there)"
                )
            end_of_words = start + len(answer)
            spans.append(Span(start, end_of_words, end_of_words + end.end()))
            start = end_of_words
        return tuple(spans)


def _sentinel(number: int) -> str:
    return f"Zq{number}sentinel{number}qZ"


def _end_pattern(tokenizer: Any) -> re.Pattern[str]:
    """White space, and one special token that may end an answer."""
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    special |= {str(tokenizer.eos_token)} if tokenizer.eos_token else set()
    special -= {IMAGE, str(tokenizer.pad_token)} - {str(tokenizer.eos_token)}
    if tokenizer.bos_token != tokenizer.eos_token:
        special.discard(str(tokenizer.bos_token))
    tokens = sorted(special, key=len, reverse=True)
    alternatives = "|".join(re.escape(token) for token in tokens) or "(?!)"
    return re.compile(rf"\s*(?:{alternatives})")


def _chat_template(tokenizer: Any) -> str:
    template = getattr(tokenizer, "chat_template", None)
    template = template.get("default") if isinstance(template, dict) else template
    if not template:
        raise ValueError(
            "this tokenizer has no chat template: "
            f"name one of {', '.join(NAMED)} (template = ... in the recipe)"
        )
    return template


def _begin_token(tokenizer: Any) -> str:
    """The begin token, if the tokenizer puts it in front of texts by itself."""
    ids = tokenizer("a").input_ids
    begins = tokenizer.bos_token_id is not None and ids and ids[0] == tokenizer.bos_token_id
    return tokenizer.bos_token if begins else ""
