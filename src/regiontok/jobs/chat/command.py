"""Chat about pictures on a terminal, and see which regions an answer looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from PIL import Image
from rich.table import Table

from regiontok.conversation import PictureTokens
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.draw.attention import draw_attention, percent
from regiontok.draw.sheet import Panel, save_image, scaled, side_by_side
from regiontok.jobs.chat.session import Chat, ChatAnswer, ranked
from regiontok.jobs.kept_attention import KeptAttention
from regiontok.jobs.tokenize.names import slug
from regiontok.model.picture_attention import PictureAttention
from regiontok.model.region_attention import RegionAttention
from regiontok.system.choices import nearest
from regiontok.system.files import replacing
from regiontok.system.printable import printable, printable_lines
from regiontok.system.strict_json import json_bytes

MAX_ROWS = 12  # regions of a table
HELP = """/regions        which regions the last answer looked at: a table, and a picture on disk
/image PATH     show another picture with the next question
/reset          forget what was said; the pictures stay
/save FILE      write the conversation as JSON
/help           this
/quit           leave (or Ctrl-D); Ctrl-C stops an answer"""


def region_tables(answer: ChatAnswer) -> list[Table]:
    """For each picture a table of its regions, the most looked at first.

    A row has the share of all attention, the share of that on the picture, and the region's box.
    """
    return [_region_table(attention) for attention in answer.attention]


def _region_table(attention: PictureAttention) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for head in ("region", "of all", "of visual", "box x0 y0 x1 y1"):
        table.add_column(head, justify="right", no_wrap=True)
    visual = attention.first_view.visual
    for letters, share in letters_of(attention.first_view).items():
        table.add_row(letters, percent(share), percent(share / visual), "")
    rows = ranked(attention)
    for row in rows[:MAX_ROWS]:
        name = f"{row['view']}.{row['region']}" if "view" in row else str(row["region"])
        of_visual = row["share"] / visual if visual else 0
        box = " ".join(f"{side:.0f}" for side in row["box"])
        table.add_row(name, percent(row["share"]), percent(of_visual), box)
    if len(rows) > MAX_ROWS:
        share = sum(row["share"] for row in rows[MAX_ROWS:])
        table.add_row(f"... {len(rows) - MAX_ROWS} more", percent(share), "", "")
    return table


def letters_of(view: RegionAttention) -> dict[str, float]:
    """The shares of what is no region, by the letters that stand for it in tables and drawings."""
    return {name: share for name, share in (("G", view.whole), ("CLS", view.cls)) if share}


def drawn_base_view(
    picture: Picture, shown: PictureTokens, view: RegionAttention, side: int
) -> Image.Image:
    """A picture with the attention on the regions of its base view, its letters not named.

    Args:
        picture: the picture.
        shown: its regions.
        view: the attention on them.
        side: longest side of the drawing in pixels.
    """
    return draw_attention(
        picture,
        shown.frames[0],
        shown.regions[0],
        view.regions.numpy(),
        letters=letters_of(view),
        named=0,
        longest=side,
    )


def draw_answer(answer: ChatAnswer, folder: Path, number: int) -> list[Path]:
    """Draw where an answer looked: a drawing for each view of each picture.

    They are `folder/NUMBER[-PICTURE]-NAME[-VIEW].png`; the base view is 0, and numbers stand only
    where there are several pictures or views.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, attention in enumerate(answer.attention):
        shown = attention.picture
        picture_index = [str(index)] if len(answer.attention) > 1 else []
        stem = [str(number), *picture_index, slug(Path(shown.picture.name).stem, always_plain=True)]
        for view, (shares, regions) in enumerate(zip(attention.views, shown.regions, strict=True)):
            image = draw_attention(
                shown.picture,
                shown.frames[view],
                regions,
                shares.regions.numpy(),
                letters=letters_of(shares),
            )
            photo = Panel(scaled(shown.picture, max(image.size)), "photo", answer.question)
            beside = Panel(image, "attention by area", _scale_text(shares, regions))
            view_index = [str(view)] if len(attention.views) > 1 else []
            drawing = side_by_side([photo, beside])
            paths.append(save_image(drawing, folder / f"{'-'.join([*stem, *view_index])}.png"))
    return paths


def _scale_text(shares: RegionAttention, regions: Regions) -> str:
    """What the strongest tint means, and how much of the attention is on the picture at all."""
    by_patch = shares.regions / regions.sizes.clamp(min=1)
    strongest = float(by_patch.max()) if len(by_patch) else 0.0
    patches = int(regions.sizes.sum())
    even = shares.visual / max(patches, 1)
    times = f", {strongest / even:.1f} times as much as if all were looked at alike" if even else ""
    return (
        f"grey: none; full orange: {100 * strongest:.2g} % of the answer's attention a patch{times}"
    )


@dataclass(frozen=True)
class ChatOutput:
    """Where a chat goes.

    Attributes:
        say: takes pieces of text as they come.
        table: takes a table of rich.
        out: the folder of drawings.
    """

    say: Callable[[str], None]
    table: Callable[[Table], None]
    out: Path


def writer_to(stream: TextIO) -> Callable[[str], None]:
    """A function that writes pieces of text to a stream at once."""

    def say(text: str) -> None:
        stream.write(printable_lines(text))
        stream.flush()

    return say


def typed_lines(read: Callable[[str], str], say: Callable[[str], None]) -> Iterator[str]:
    """Lines from a terminal until Ctrl-D; Ctrl-C at the prompt ends nothing.

    Args:
        read: takes the prompt and gives the line, as `input` does.
        say: takes what is said about the keys.
    """
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


def converse(
    session: Chat, lines: Iterable[str], output: ChatOutput, *, strict: bool = False
) -> None:
    """Answer lines one by one, until they end or `/quit`.

    A mistake is said and the chat goes on.

    Raises:
        ValueError, OSError: If there is a mistake and `strict` is set.
    """
    for line in lines:
        line = line.strip()
        if line in ("/quit", "/exit"):
            return
        if not line:
            continue
        try:
            _answer_line(session, line, output)
        except (ValueError, OSError) as error:
            if strict:
                raise
            output.say(f"{' '.join(str(error).split())}\n")


def _answer_line(session: Chat, line: str, output: ChatOutput) -> None:
    """Do a command, or answer a question."""
    word, _, argument = line.partition(" ")
    commands = {
        "/regions": _say_regions,
        "/image": _show_image,
        "/reset": _reset,
        "/save": _save,
        "/help": _help,
    }
    if word in commands:
        commands[word](session, argument.strip(), output)
    elif word.startswith("/") and "/" not in word[1:]:
        raise ValueError(
            f"no command {word}{nearest(word, [*commands, '/quit'])}; /help lists them"
        )
    else:
        answer = session.ask(line, output.say)
        output.say(" [stopped]\n" if answer.stopped else "\n")


def _say_regions(session: Chat, _argument: str, output: ChatOutput) -> None:
    if not session.answers:
        raise ValueError("no answer yet: ask something first")
    answer = session.answers[-1]
    if not answer.attention:
        raise ValueError(
            session.no_attention or "the last answer had no picture with regions to look at"
        )
    for attention, table in zip(answer.attention, region_tables(answer), strict=True):
        share = percent(attention.first_view.visual)
        output.say(
            f"{printable(attention.picture.picture.name)}: {share} of the answer's attention "
            "(mean over its tokens, heads and layers)\n"
        )
        output.table(table)
    for path in draw_answer(answer, output.out, len(session.answers)):
        output.say(f"look at {printable(str(path))}\n")


def _show_image(session: Chat, argument: str, output: ChatOutput) -> None:
    if not argument:
        raise ValueError("say which: /image PATH")
    picture = session.show(str(Path(argument).expanduser()))
    height, width = picture.size
    output.say(f"{printable(picture.name)}: {width} x {height} px, shown with the next question\n")


def _reset(session: Chat, _argument: str, output: ChatOutput) -> None:
    session.reset()
    output.say("forgotten; the pictures stay\n")


def _save(session: Chat, argument: str, output: ChatOutput) -> None:
    if not argument:
        raise ValueError("say where: /save FILE.json")
    path = Path(argument).expanduser()
    with replacing(path) as unfinished:
        unfinished.write_bytes(json_bytes([_saved(answer) for answer in session.answers], indent=2))
    output.say(f"{len(session.answers)} answers in {printable(str(path))}\n")


def _saved(answer: ChatAnswer) -> dict[str, Any]:
    """An answer as a file has it: its report, and what each word looked at."""
    looked = KeptAttention.of(answer.by_word).record() if answer.by_word else None
    return {**answer.report(), "looked": looked}


def _help(_session: Chat, _argument: str, output: ChatOutput) -> None:
    output.say(HELP + "\n")
