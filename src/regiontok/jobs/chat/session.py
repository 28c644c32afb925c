"""A conversation about pictures: each is encoded once, answers stream, and what they looked at is
kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch
from transformers import TextStreamer

from regiontok.core.picture import Picture
from regiontok.core.tokens import KINDS
from regiontok.jobs.chat.models import Prompt, Shown, Speaker, load_speaker
from regiontok.jobs.tokenize.output import grid_boxes
from regiontok.model.attention import RegionAttention, region_attention, watch

PARTS = ("encode", "regions", "prefill", "decode")
TOP = 5  # regions of a JSON line


@dataclass(frozen=True, eq=False)
class Look:
    """What one answer made of one picture: `views[v]` are the shares of view v's regions."""

    shown: Shown
    views: tuple[RegionAttention, ...]


@dataclass(frozen=True, eq=False)
class Answer:
    """One turn.

    Attributes:
        question, text: what was said.
        stopped: by Ctrl-C; the text is what had come.
        tokens: of the prompt by kind, and of the answer.
        seconds: by part; a picture is encoded in its first turn only.
        looks: one a picture; empty if no attention could be kept.
    """

    question: str
    text: str
    stopped: bool
    tokens: dict[str, int]
    seconds: dict[str, float]
    looks: tuple[Look, ...] = ()

    def report(self) -> dict[str, Any]:
        """What the JSON line says."""
        return {
            "question": self.question,
            "answer": self.text,
            "stopped": self.stopped,
            "tokens": self.tokens,
            "seconds": {part: round(value, 4) for part, value in self.seconds.items()},
            "attention": [_attention_json(look) for look in self.looks],
        }


@dataclass
class Chat:
    """A conversation: what was said, about which pictures.

    Attributes:
        speaker: the model.
        longest: tokens of an answer at most.
        answers: the turns so far.
        blind: why no attention can be kept of this model; "" if it can.
    """

    speaker: Speaker
    longest: int = 256
    answers: list[Answer] = field(default_factory=list)
    blind: str = ""
    _waiting: list[Picture] = field(default_factory=list)
    _turns: list[tuple[list[Picture], str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        try:
            with watch(self.speaker.model):
                pass
        except ValueError as error:
            self.blind = str(error)

    def show(self, picture: Any) -> Picture:
        """A picture for the next question, after those that wait already.

        Raises:
            PictureError: it cannot be decoded.
        """
        self._waiting.append(Picture.of(picture))
        return self._waiting[-1]

    def reset(self) -> None:
        """Forget what was said; all pictures wait for the next question."""
        self._waiting = [
            picture for pictures, _, _ in self._turns for picture in pictures
        ] + self._waiting
        self._turns, self.answers = [], []

    def ask(self, question: str, say: Callable[[str], None] = lambda text: None) -> Answer:
        """One question; the answer goes to `say` piece by piece. KeyboardInterrupt ends the answer,
        and the turn counts.

        Raises:
            ValueError: the conversation is longer than the model takes; it stays as it was.
        """
        turns = [*self._turns, (list(self._waiting), question, "")]
        seconds = dict.fromkeys(PARTS, 0.0)
        pictures = [picture for own, _, _ in turns for picture in own]
        prompt = self.speaker.prompt(_messages(turns), pictures, seconds)
        streamer = _Streamer(self.speaker.tokenizer, say)
        start = perf_counter()
        rows, stopped = self._generate(prompt, streamer)
        end = perf_counter()
        seconds["prefill"] = (streamer.first or end) - start
        seconds["decode"] = end - (streamer.first or end)
        text = "".join(streamer.parts).strip()
        looks = () if rows is None else _looks(prompt, rows)
        answer = Answer(question, text, stopped, _counts(prompt, streamer.count), seconds, looks)
        self._turns, self._waiting = [*self._turns, (list(self._waiting), question, text)], []
        self.answers.append(answer)
        return answer

    def _generate(self, prompt: Prompt, streamer: _Streamer) -> tuple[torch.Tensor | None, bool]:
        """`[layers heads r t]` at the visual columns, a row for each token that came (None if there
        is none), and whether stopped."""
        options: dict[str, Any] = {
            "max_new_tokens": self.longest,
            "do_sample": False,
            "num_beams": 1,
            "streamer": streamer,
        }
        stopped, seen = False, None
        with ExitStack() as stack:
            if not self.blind:
                seen = stack.enter_context(watch(self.speaker.model, keys=prompt.columns))
            try:
                prompt.generate(**options)
            except KeyboardInterrupt:
                stopped = True
        if stopped:
            streamer.end()
        if seen is None or not len(prompt.columns) or not streamer.count:
            return None, stopped
        del seen.steps[streamer.count :]  # what was stopped half way
        return seen.attention()[:, 0], stopped


class _Streamer(TextStreamer):
    """Passes the text on, and notes when the first token came and how many did."""

    def __init__(self, tokenizer: Any, say: Callable[[str], None]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.parts: list[str] = []
        self.first: float | None = None
        self.count = 0
        self._say = say

    def put(self, value: Any) -> None:
        """A new token (or the prompt, which is left out)."""
        if not self.next_tokens_are_prompt:
            self.first = self.first or perf_counter()
            self.count += 1
        super().put(value)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """A piece of the answer."""
        self.parts.append(text)
        if text:
            self._say(text)


def _messages(turns: Sequence[tuple[list[Picture], str, str]]) -> list[dict[str, Any]]:
    """The conversation as chat templates take it; the last answer is still to come."""
    messages: list[dict[str, Any]] = []
    for pictures, question, answer in turns:
        parts = [*({"type": "image"} for _ in pictures), {"type": "text", "text": question}]
        messages.append({"role": "user", "content": parts})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    return messages[:-1]


def _counts(prompt: Prompt, new: int) -> dict[str, int]:
    kinds = {kind: sum(one.tokens.count(kind) for one in prompt.shown) for kind in KINDS}
    text = prompt.length - len(prompt.columns)
    return {"text": text, **{kind: count for kind, count in kinds.items() if count}, "answer": new}


def _looks(prompt: Prompt, rows: torch.Tensor) -> tuple[Look, ...]:
    parts = rows.split([len(one.tokens) for one in prompt.shown], -1)
    looks = []
    for shown, own in zip(prompt.shown, parts, strict=True):
        counts = [len(regions) for regions in shown.regions()]
        if counts and own.shape[-1]:
            looks.append(
                Look(
                    shown,
                    tuple(
                        region_attention(own, shown.tokens, k, view=v) for v, k in enumerate(counts)
                    ),
                )
            )
    return tuple(looks)


def ranked(look: Look) -> list[dict[str, Any]]:
    """All regions of a picture, the most looked at first: share of all attention, box in pixels of
    the picture."""
    rows: list[dict[str, Any]] = []
    for view, (found, regions) in enumerate(zip(look.views, look.shown.regions(), strict=True)):
        boxes = look.shown.frames[view].boxes_to_pixels(grid_boxes(regions)).tolist()
        for region, (share, box) in enumerate(zip(found.regions.tolist(), boxes, strict=True)):
            where = {"view": view} if len(look.views) > 1 else {}
            rows.append(
                {
                    **where,
                    "region": region,
                    "share": round(share, 6),
                    "box": [round(side, 1) for side in box],
                }
            )
    return sorted(rows, key=lambda row: -row["share"])


def _attention_json(look: Look) -> dict[str, Any]:
    first = look.views[0]
    apart = {"visual": first.visual, "whole": first.whole, "cls": first.cls}
    top = {"regions": ranked(look)[:TOP]}
    return {
        "image": look.shown.picture.name,
        **{name: round(value, 6) for name, value in apart.items()},
        **top,
    }


def open_chat(
    name: str,
    images: Iterable[Any] = (),
    *,
    regions: str = "",
    segmenter: str = "",
    longest: int = 256,
    device: str = "cpu",
) -> Chat:
    """A chat with a model about pictures; see `load_speaker`.

    Raises:
        ValueError: no such model, or one without tokenizer or chat template.
        PictureError: a picture that is missing or damaged; it is found before the model is loaded.
    """
    pictures = [Picture.of(image) for image in images]
    session = Chat(load_speaker(name, regions=regions, segmenter=segmenter, device=device), longest)
    for picture in pictures:
        session.show(picture)
    return session
