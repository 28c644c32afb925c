"""A conversation as text, and the spans of it that are supervised.

The template is a tokenizer's own chat template, or a published one by name. Either is a jinja text,
`Template.chat_template`, which is saved with the model: asked through it, a model reads the text it
was trained on.

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

from transformers.utils.chat_template_utils import render_jinja_template

from regiontok.data.record import IMAGE, RecordError, Turn
from regiontok.model.chat_templates import NAMED, named_template, own_template
from regiontok.system.logs import module_logger
from regiontok.system.rendering import TemplateRefusal, rendering

_LOG = module_logger(__name__)
LONGEST_TEXT = 100_000_000  # characters of one conversation
_PROBE = (
    Turn("user", f"{IMAGE}\nZqa one?"),
    Turn("assistant", "Zqb two."),
    Turn("user", "Zqc three?"),
    Turn("assistant", "Zqd four."),
)


@dataclass(frozen=True)
class Span:
    """The stretch of an answer in a text; all of it is supervised.

    Attributes:
        start: where the model begins to write: behind the prompt, so in front of a space that the
            template puts between the prompt and the words.
        stop: where the end token (or line end) behind the words ends.
    """

    start: int
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

    Attributes:
        chat_template: the template as a jinja text. Set as the tokenizer's and the processor's chat
            template and saved with the model, it makes `apply_chat_template(messages,
            add_generation_prompt=True)` give the trained text up to the answer, on any day.

    Raises:
        ValueError: If the name is unknown, or if there is no chat template, it cannot give spans,
            or it puts no end token behind an answer.
    """

    def __init__(self, tokenizer: Any, name: str = "") -> None:
        self.name = name or "chat template"
        self.tokenizer = tokenizer
        self.chat_template = named_template(tokenizer, name) if name else own_template(tokenizer)
        self._end = re.compile("\n") if name == "plain" else _end_pattern(tokenizer)
        self._marked = bool(re.search(r"\{%-?\s*generation\s*-?%\}", self.chat_template))
        self._lead = ""
        self._lead = self._checked_lead(_PROBE[:2] if name == "plain" else _PROBE)

    def _checked_lead(self, probe: Sequence[Turn]) -> str:
        """The white space between the end of a prompt and the words of the answer.

        Raises:
            ValueError: If the template cannot give the spans of answers.
        """
        owner = getattr(self.tokenizer, "name_or_path", "") or type(self.tokenizer).__name__
        try:
            rendered = self.render(probe)
        except RecordError as error:
            raise ValueError(
                f"the chat template of {owner} cannot give the spans of answers: {error}. "
                f"Name a template ({', '.join(NAMED)}), or put {{% generation %}} marks around the "
                "assistant's words and end token in it"
            ) from None
        trained = rendered.text[: rendered.spans[-1].start]
        try:
            prompt, _ = self._render_jinja(probe[:-1], prompt=True)
        except RecordError:  # it takes no conversation without an answer
            prompt = ""
        lead = trained.removeprefix(prompt)
        if trained.startswith(prompt) and (not lead or lead.isspace()):
            return lead
        _LOG.warning(
            "the chat template of %s ends a prompt with %r, but answers are trained behind %r: "
            "what add_generation_prompt=True asks is not what is trained",
            owner,
            prompt[-40:],
            trained[-40:],
        )
        return ""

    @property
    def identity(self) -> str:
        """Everything that decides the text and its spans, as text."""
        return f"{self.name}: {self.chat_template} {self.tokenizer.special_tokens_map}"

    def render(self, turns: Sequence[Turn]) -> RenderedConversation:
        """The text of a conversation and the spans of its answers.

        Raises:
            RecordError: If the template does not take this conversation.
        """
        return self._render_by_marks(turns) if self._marked else self._render_by_sentinels(turns)

    def prompt(self, turns: Sequence[Turn]) -> RenderedConversation:
        """The text in front of an answer that is to be written, as it is trained.

        Args:
            turns: a conversation whose next turn is the assistant's.

        Returns:
            The text, and the spans of the earlier answers.

        Raises:
            RecordError: If the template does not take this conversation.
        """
        rendered = self.render([*turns, Turn("assistant", _sentinel(len(turns)))])
        return RenderedConversation(rendered.text[: rendered.spans[-1].start], rendered.spans[:-1])

    def _render_jinja(
        self, turns: Sequence[Turn], *, marks: bool = False, prompt: bool = False
    ) -> tuple[str, list[tuple[int, int]]]:
        """The template's text.

        Args:
            turns: the conversation.
            marks: give also the stretches that the template marks as generated.
            prompt: end with what asks for an answer.
        """
        conversation = [{"role": turn.role, "content": turn.text} for turn in turns]
        variables = getattr(self.tokenizer, "special_tokens_map", {})
        try:
            with rendering():
                rendered: Any = render_jinja_template(
                    [conversation],
                    chat_template=self.chat_template,
                    return_assistant_tokens_mask=marks,
                    add_generation_prompt=prompt,
                    **variables,
                )
        except TemplateRefusal as error:
            raise RecordError(str(error)) from None
        texts, stretches_by_text = rendered
        if len(texts[0]) > LONGEST_TEXT:
            raise RecordError(f"the chat template makes a text of {len(texts[0]):,} characters")
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
            spans.append(self._span(text, start + offset, stop))
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
                return RenderedConversation(text, self._spans(text, pieces, words))
        raise RecordError("the chat template changes the words of an answer")

    def _spans(self, text: str, pieces: list[str], answers: list[str]) -> tuple[Span, ...]:
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
            spans.append(self._span(text, start, end_of_words + end.end()))
            start = end_of_words
        return tuple(spans)

    def _span(self, text: str, words: int, stop: int) -> Span:
        """The span of an answer whose words begin at `words`."""
        lead = len(self._lead) if text[:words].endswith(self._lead) else 0
        return Span(words - lead, stop)


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
