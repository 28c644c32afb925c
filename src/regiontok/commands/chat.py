"""Chat about pictures on a terminal, and see which regions an answer looked at."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from rich.table import Table
from transformers import TextStreamer

from regiontok.commands.chat_models import Prompt, Shown, Speaker, load_speaker
from regiontok.commands.output import grid_boxes, slug
from regiontok.core.files import replacing
from regiontok.core.picture import Picture
from regiontok.core.spec import nearest
from regiontok.core.tokens import KINDS
from regiontok.draw.attention import draw_attention, percent
from regiontok.draw.sheet import save_image
from regiontok.model.attention import RegionAttention, region_attention, watch

PARTS = ("encode", "regions", "prefill", "decode")
TOP = 5  # regions of a JSON line
ROWS = 12  # regions of a table
HELP = """/regions        which regions the last answer looked at: a table, and a picture on disk
/image PATH     show another picture with the next question
/reset          forget what was said; the pictures stay
/save FILE      write the conversation as JSON
/help           this
/quit           leave (or Ctrl-D); Ctrl-C stops an answer"""


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
        self._waiting = [picture for pictures, _, _ in self._turns for picture in pictures] + self._waiting
        self._turns, self.answers = [], []

    def ask(self, question: str, say: Callable[[str], None] = lambda text: None) -> Answer:
        """One question; the answer goes to `say` piece by piece. KeyboardInterrupt ends the answer, and the turn counts.

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
        """`[layers heads r t]` at the visual columns, a row for each token that came (None if there is none), and whether stopped."""
        options: dict[str, Any] = {"max_new_tokens": self.longest, "do_sample": False, "num_beams": 1, "streamer": streamer}
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
            looks.append(Look(shown, tuple(region_attention(own, shown.tokens, k, view=v) for v, k in enumerate(counts))))
    return tuple(looks)


def _ranked(look: Look) -> list[dict[str, Any]]:
    """All regions of a picture, the most looked at first: share of all attention, box in pixels of the picture."""
    rows: list[dict[str, Any]] = []
    for view, (found, regions) in enumerate(zip(look.views, look.shown.regions(), strict=True)):
        boxes = look.shown.frames[view].boxes_to_pixels(grid_boxes(regions)).tolist()
        for region, (share, box) in enumerate(zip(found.regions.tolist(), boxes, strict=True)):
            where = {"view": view} if len(look.views) > 1 else {}
            rows.append({**where, "region": region, "share": round(share, 6), "box": [round(side, 1) for side in box]})
    return sorted(rows, key=lambda row: -row["share"])


def _visual(look: Look) -> float:
    """Share of this picture of all attention."""
    return look.views[0].visual


def _attention_json(look: Look) -> dict[str, Any]:
    first = look.views[0]
    apart = {"visual": first.visual, "whole": first.whole, "cls": first.cls}
    top = {"regions": _ranked(look)[:TOP]}
    return {"image": look.shown.picture.name, **{name: round(value, 6) for name, value in apart.items()}, **top}


def region_tables(answer: Answer) -> list[Table]:
    """For each picture, which of its regions the answer looked at: share of all attention, share of that on the picture, box."""
    tables = []
    for look in answer.looks:
        visual = _visual(look)
        title = f"{look.shown.picture.name}: {percent(visual)} of the answer's attention; means over its tokens, heads, layers"
        table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0), header_style="dim")
        for head in ("region", "of all", "of visual", "box x0 y0 x1 y1"):
            table.add_column(head, justify="right", no_wrap=True)
        for name, share in (("G", look.views[0].whole), ("CLS", look.views[0].cls)):
            if share:
                table.add_row(name, percent(share), percent(share / visual), "")
        rows = _ranked(look)
        for row in rows[:ROWS]:
            name = f"{row['view']}.{row['region']}" if "view" in row else str(row["region"])
            box = " ".join(f"{side:.0f}" for side in row["box"])
            table.add_row(name, percent(row["share"]), percent(row["share"] / visual if visual else 0), box)
        if len(rows) > ROWS:
            table.add_row(f"... {len(rows) - ROWS} more", percent(sum(row["share"] for row in rows[ROWS:])), "", "")
        tables.append(table)
    return tables


def draw_answer(answer: Answer, folder: Path, number: int) -> list[Path]:
    """A picture for each picture that the answer had: `folder/NUMBER-NAME.png`, of its last view."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for place, look in enumerate(answer.looks):
        shown, found = look.shown, look.views[-1]
        letters = {name: share for name, share in (("G", found.whole), ("CLS", found.cls)) if share}
        regions = shown.regions()[-1]
        image = draw_attention(shown.picture, shown.frames[-1], regions, found.regions.numpy(), letters=letters)
        name = f"{number}-{place}-{slug(Path(shown.picture.name).stem)}.png" if len(answer.looks) > 1 else None
        paths.append(save_image(image, folder / (name or f"{number}-{slug(Path(shown.picture.name).stem)}.png")))
    return paths


def open_chat(
    name: str, images: Iterable[Any] = (), *, regions: str = "", segmenter: str = "", longest: int = 256, device: str = "cpu"
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


@dataclass(frozen=True)
class Desk:
    """Where a chat goes.

    Attributes:
        say: takes pieces of text as they come.
        table: takes a table of rich.
        out: the folder of drawings.
    """

    say: Callable[[str], None]
    table: Callable[[Table], None]
    out: Path


def converse(session: Chat, lines: Iterable[str], desk: Desk) -> None:
    """Answer lines one by one, until they end or `/quit`; a mistake is said and the chat goes on."""
    for line in lines:
        line = line.strip()
        if line in ("/quit", "/exit"):
            return
        if not line:
            continue
        try:
            _one(session, line, desk)
        except (ValueError, OSError) as error:
            desk.say(f"{' '.join(str(error).split())}\n")


def _one(session: Chat, line: str, desk: Desk) -> None:
    """A command, or a question."""
    word, _, rest = line.partition(" ")
    commands = {"/regions": _regions, "/image": _image, "/reset": _reset, "/save": _save, "/help": _help}
    if word in commands:
        commands[word](session, rest.strip(), desk)
    elif word.startswith("/") and "/" not in word[1:]:
        raise ValueError(f"no command {word}{nearest(word, [*commands, '/quit'])}; /help lists them")
    else:
        answer = session.ask(line, desk.say)
        desk.say(" [stopped]\n" if answer.stopped else "\n")


def _regions(session: Chat, _rest: str, desk: Desk) -> None:
    if not session.answers:
        raise ValueError("no answer yet: ask something first")
    if not session.answers[-1].looks:
        raise ValueError(session.blind or "the last answer had no picture with regions to look at")
    for table in region_tables(session.answers[-1]):
        desk.table(table)
    for path in draw_answer(session.answers[-1], desk.out, len(session.answers)):
        desk.say(f"look at {path}\n")


def _image(session: Chat, rest: str, desk: Desk) -> None:
    if not rest:
        raise ValueError("say which: /image PATH")
    picture = session.show(str(Path(rest).expanduser()))
    desk.say(f"{picture.name}: {picture.size[1]} x {picture.size[0]} px, shown with the next question\n")


def _reset(session: Chat, _rest: str, desk: Desk) -> None:
    session.reset()
    desk.say("forgotten; the pictures stay\n")


def _save(session: Chat, rest: str, desk: Desk) -> None:
    if not rest:
        raise ValueError("say where: /save FILE.json")
    path = Path(rest).expanduser()
    text = json.dumps([answer.report() for answer in session.answers], ensure_ascii=False, indent=2)
    with replacing(path) as part:
        part.write_text(text + "\n", encoding="utf-8")
    desk.say(f"{len(session.answers)} answers in {path}\n")


def _help(_session: Chat, _rest: str, desk: Desk) -> None:
    desk.say(HELP + "\n")
