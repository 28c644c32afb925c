"""Conversation -> text and the spans of it that are supervised: by a tokenizer's own chat template,
or a published one by name.

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
    """An answer in a text: `[start, words)` are the assistant's words, `[words, stop)` what ends
    them; all of it is supervised."""

    start: int
    words: int
    stop: int


@dataclass(frozen=True)
class Rendered:
    """A conversation as text, with a span an answer."""

    text: str
    spans: tuple[Span, ...]


class Template:
    """How a conversation becomes text.

    Args:
        tokenizer: whose chat template or special tokens are used.
        name: "plain", "vicuna_v1", or "" for the tokenizer's own chat template.

    Raises:
        ValueError: an unknown name; no chat template; one that cannot give spans, or puts no end
            token behind an answer.
    """

    def __init__(self, tokenizer: Any, name: str = "") -> None:
        self.name = name or "chat template"
        self.tokenizer = tokenizer
        self._begin = _begin(tokenizer)
        self._end = _end(tokenizer)
        self._jinja = "" if name else _jinja(tokenizer)
        if name and name not in NAMED:
            raise ValueError(
                f"unknown template {name!r}{nearest(name, NAMED)}; known: {', '.join(NAMED)}, or '' for the model's own"
            )
        if name == "vicuna_v1" and not tokenizer.eos_token:
            raise ValueError(
                "the template vicuna_v1 ends answers with the tokenizer's end token, and this tokenizer has none"
            )
        if not name:
            self._marked = bool(re.search(r"\{%-?\s*generation\s*-?%\}", self._jinja))
            try:
                self.render(_PROBE)
            except RecordError as error:
                owner = getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__
                raise ValueError(
                    f"the chat template of {owner} cannot give the spans of answers: {error}. Name a template "
                    f"({', '.join(NAMED)}), or put {{% generation %}} marks around the assistant's words and end token in it"
                ) from None

    @property
    def identity(self) -> str:
        """What decides the text and its spans."""
        return f"{self.name}: {self._jinja} {self.tokenizer.special_tokens_map} {self._begin}"

    def render(self, turns: Sequence[Turn]) -> Rendered:
        """The text of a conversation and the spans of its answers.

        Raises:
            RecordError: the template does not take this conversation.
        """
        if self.name == "plain":
            return self._plain(turns)
        if self.name == "vicuna_v1":
            return self._vicuna(turns)
        return self._by_marks(turns) if self._marked else self._by_sentinels(turns)

    def _plain(self, turns: Sequence[Turn]) -> Rendered:
        if [turn.role for turn in turns] != ["user", "assistant"] or IMAGE not in turns[0].text:
            raise RecordError(
                "the template plain takes one question with a picture and one caption"
            )
        front = self._begin + IMAGE * turns[0].text.count(IMAGE)
        caption = turns[1].text
        return Rendered(
            f"{front}{caption}\n",
            (Span(len(front), len(front) + len(caption), len(front) + len(caption) + 1),),
        )

    def _vicuna(self, turns: Sequence[Turn]) -> Rendered:
        end = self.tokenizer.eos_token
        system = turns[0].text if turns[0].role == "system" else VICUNA
        text, spans = f"{self._begin}{system} ", []
        for turn in turns:
            if turn.role == "user":
                text += f"USER: {turn.text} "
            elif turn.role == "assistant":
                text += "ASSISTANT: "
                spans.append(
                    Span(
                        len(text), len(text) + len(turn.text), len(text) + len(turn.text) + len(end)
                    )
                )
                text += turn.text + end
        return Rendered(text, tuple(spans))

    def _rendered(
        self, turns: Sequence[Turn], *, marks: bool = False
    ) -> tuple[str, list[tuple[int, int]]]:
        conversation = [{"role": turn.role, "content": turn.text} for turn in turns]
        variables = getattr(self.tokenizer, "special_tokens_map", {})
        try:
            rendered: Any = render_jinja_template(
                [conversation],
                chat_template=self._jinja,
                return_assistant_tokens_mask=marks,
                **variables,
            )
        except (
            TemplateError,
            TypeError,
        ) as error:  # TypeError: it takes content as a list of parts, say
            raise RecordError(
                f"the chat template refuses it ({str(error).splitlines()[0] if str(error) else error})"
            ) from None
        texts, found = rendered
        return texts[0], [(int(start), int(stop)) for start, stop in found[0]] if marks else []

    def _by_marks(self, turns: Sequence[Turn]) -> Rendered:
        text, marks = self._rendered(turns, marks=True)
        answers = [turn.text for turn in turns if turn.role == "assistant"]
        if len(marks) != len(answers):
            raise RecordError(
                f"the chat template marks {len(marks)} stretches as generated, for {len(answers)} answers"
            )
        spans = []
        for (start, stop), answer in zip(marks, answers, strict=True):
            own = text[start:stop]
            words = answer if answer in own else answer.strip()
            at = own.find(words)
            end = own[at + len(words) :]
            if at < 0 or own[:at].strip() or not self._end.fullmatch(end):
                raise RecordError(
                    "what the chat template marks as generated is not the answer and an end token"
                )
            spans.append(Span(start + at, start + at + len(words), stop))
        return Rendered(text, tuple(spans))

    def _by_sentinels(self, turns: Sequence[Turn]) -> Rendered:
        text, _ = self._rendered(turns)
        hidden = [
            Turn(t.role, _sentinel(at)) if t.role == "assistant" else t
            for at, t in enumerate(turns)
        ]
        skeleton, _ = self._rendered(hidden)
        places = [at for at, turn in enumerate(turns) if turn.role == "assistant"]
        if any(skeleton.count(_sentinel(at)) != 1 for at in places):
            raise RecordError("the chat template does not write every answer once")
        pieces = re.split("|".join(_sentinel(at) for at in places), skeleton)
        for said in ([turns[at].text for at in places], [turns[at].text.strip() for at in places]):
            if (
                "".join(part for pair in zip(pieces, [*said, ""], strict=True) for part in pair)
                == text
            ):
                return Rendered(text, self._spans(text, pieces, said))
        raise RecordError("the chat template changes the words of an answer")

    def _spans(self, text: str, pieces: list[str], said: list[str]) -> tuple[Span, ...]:
        spans, at = [], 0
        for before, words, after in zip(pieces, said, pieces[1:], strict=False):
            at += len(before)
            end = self._end.match(after)
            if end is None:
                raise RecordError(
                    f"the chat template puts no end token behind an answer ({after[:20]!r} stands there)"
                )
            spans.append(Span(at, at + len(words), at + len(words) + end.end()))
            at += len(words)
        return tuple(spans)


def _sentinel(at: int) -> str:
    return f"Zq{at}sentinel{at}qZ"


def _end(tokenizer: Any) -> re.Pattern[str]:
    """White space, and one special token that may end an answer."""
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    special |= {str(tokenizer.eos_token)} if tokenizer.eos_token else set()
    special -= {IMAGE, str(tokenizer.pad_token)} - {str(tokenizer.eos_token)}
    if tokenizer.bos_token != tokenizer.eos_token:
        special.discard(str(tokenizer.bos_token))
    return re.compile(
        rf"\s*(?:{'|'.join(re.escape(token) for token in sorted(special, key=len, reverse=True)) or '(?!)'})"
    )


def _jinja(tokenizer: Any) -> str:
    found = getattr(tokenizer, "chat_template", None)
    found = found.get("default") if isinstance(found, dict) else found
    if not found:
        raise ValueError(
            f"this tokenizer has no chat template: name one of {', '.join(NAMED)} (template = ... in the recipe)"
        )
    return found


def _begin(tokenizer: Any) -> str:
    """The begin token, if the tokenizer puts it in front of texts by itself."""
    ids = tokenizer("a").input_ids
    return (
        tokenizer.bos_token
        if tokenizer.bos_token_id is not None and ids and ids[0] == tokenizer.bos_token_id
        else ""
    )
