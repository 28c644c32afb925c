"""Chat about pictures on a terminal, and see which regions an answer looked at."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from rich.table import Table

from regiontok.draw.attention import draw_attention, percent
from regiontok.draw.sheet import save_image
from regiontok.jobs.chat.session import Answer, Chat, ranked
from regiontok.jobs.tokenize.output import slug
from regiontok.system.choices import nearest
from regiontok.system.files import replacing

ROWS = 12  # regions of a table
HELP = """/regions        which regions the last answer looked at: a table, and a picture on disk
/image PATH     show another picture with the next question
/reset          forget what was said; the pictures stay
/save FILE      write the conversation as JSON
/help           this
/quit           leave (or Ctrl-D); Ctrl-C stops an answer"""


def region_tables(answer: Answer) -> list[Table]:
    """For each picture, which of its regions the answer looked at: share of all attention, share of
    that on the picture, box."""
    tables = []
    for look in answer.looks:
        visual = look.views[0].visual
        table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
        for head in ("region", "of all", "of visual", "box x0 y0 x1 y1"):
            table.add_column(head, justify="right", no_wrap=True)
        for name, share in (("G", look.views[0].whole), ("CLS", look.views[0].cls)):
            if share:
                table.add_row(name, percent(share), percent(share / visual), "")
        rows = ranked(look)
        for row in rows[:ROWS]:
            name = f"{row['view']}.{row['region']}" if "view" in row else str(row["region"])
            box = " ".join(f"{side:.0f}" for side in row["box"])
            table.add_row(
                name, percent(row["share"]), percent(row["share"] / visual if visual else 0), box
            )
        if len(rows) > ROWS:
            table.add_row(
                f"... {len(rows) - ROWS} more",
                percent(sum(row["share"] for row in rows[ROWS:])),
                "",
                "",
            )
        tables.append(table)
    return tables


def draw_answer(answer: Answer, folder: Path, number: int) -> list[Path]:
    """A drawing for each picture that the answer had, and for each of its views if it has several
    (the base view is 0): `folder/NUMBER[-PICTURE]-NAME[-VIEW].png`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for place, look in enumerate(answer.looks):
        shown = look.shown
        for view, (found, regions) in enumerate(zip(look.views, shown.regions(), strict=True)):
            letters = {
                name: share for name, share in (("G", found.whole), ("CLS", found.cls)) if share
            }
            image = draw_attention(
                shown.picture, shown.frames[view], regions, found.regions.numpy(), letters=letters
            )
            several = [str(place)] if len(answer.looks) > 1 else []
            name = "-".join(
                [
                    str(number),
                    *several,
                    slug(Path(shown.picture.name).stem),
                    *([str(view)] if len(look.views) > 1 else []),
                ]
            )
            paths.append(save_image(image, folder / f"{name}.png"))
    return paths


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


def written(stream: TextIO) -> Callable[[str], None]:
    """Writes pieces of text at once."""

    def say(text: str) -> None:
        stream.write(text)
        stream.flush()

    return say


def typed(read: Callable[[str], str], say: Callable[[str], None]) -> Iterator[str]:
    """Lines from a terminal (`read` is `input`) until Ctrl-D; Ctrl-C at the prompt ends nothing."""
    while True:
        try:
            yield read("> ")
        except EOFError:
            say("\n")
            return
        except KeyboardInterrupt:
            say("\n(/quit or Ctrl-D leaves)\n")


def reports(session: Chat, questions: Iterable[str]) -> Iterator[dict[str, Any]]:
    """For scripts: what the JSON line of each question says; empty lines are left out."""
    for question in questions:
        if question.strip():
            yield {"command": "chat", **session.ask(question.strip()).report()}


def converse(session: Chat, lines: Iterable[str], desk: Desk, *, strict: bool = False) -> None:
    """Answer lines one by one, until they end or `/quit`; a mistake is said and the chat goes on.

    Raises:
        ValueError, OSError: `strict`, and a mistake.
    """
    for line in lines:
        line = line.strip()
        if line in ("/quit", "/exit"):
            return
        if not line:
            continue
        try:
            _one(session, line, desk)
        except (ValueError, OSError) as error:
            if strict:
                raise
            desk.say(f"{' '.join(str(error).split())}\n")


def _one(session: Chat, line: str, desk: Desk) -> None:
    """A command, or a question."""
    word, _, rest = line.partition(" ")
    commands = {
        "/regions": _regions,
        "/image": _image,
        "/reset": _reset,
        "/save": _save,
        "/help": _help,
    }
    if word in commands:
        commands[word](session, rest.strip(), desk)
    elif word.startswith("/") and "/" not in word[1:]:
        raise ValueError(
            f"no command {word}{nearest(word, [*commands, '/quit'])}; /help lists them"
        )
    else:
        answer = session.ask(line, desk.say)
        desk.say(" [stopped]\n" if answer.stopped else "\n")


def _regions(session: Chat, _rest: str, desk: Desk) -> None:
    if not session.answers:
        raise ValueError("no answer yet: ask something first")
    if not session.answers[-1].looks:
        raise ValueError(session.blind or "the last answer had no picture with regions to look at")
    for look, table in zip(
        session.answers[-1].looks, region_tables(session.answers[-1]), strict=True
    ):
        share = percent(look.views[0].visual)
        desk.say(
            f"{look.shown.picture.name}: {share} of the answer's attention (mean over its tokens, heads and layers)\n"
        )
        desk.table(table)
    for path in draw_answer(session.answers[-1], desk.out, len(session.answers)):
        desk.say(f"look at {path}\n")


def _image(session: Chat, rest: str, desk: Desk) -> None:
    if not rest:
        raise ValueError("say which: /image PATH")
    picture = session.show(str(Path(rest).expanduser()))
    desk.say(
        f"{picture.name}: {picture.size[1]} x {picture.size[0]} px, shown with the next question\n"
    )


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
