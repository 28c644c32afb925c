"""`regiontok chat`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from regiontok.cli.options import ChatTemplate, Device, Out, RegionSpec, Revision, Segmenter
from regiontok.cli.terminal import clear_errors, closing_json, note, stdout


def chat(
    model: Annotated[
        str,
        typer.Argument(
            help="mini or another name of `regiontok ls models`, a trained model's folder, or a "
            "released model's hub name or folder."
        ),
    ],
    images: Annotated[
        list[Path] | None, typer.Argument(help="Pictures for the first question.")
    ] = None,
    ask: Annotated[
        list[str] | None,
        typer.Option(
            help="Ask this and leave; may be given several times. Without it, questions are read."
        ),
    ] = None,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON line an answer and nothing else, for scripts."),
    ] = False,
    regions: RegionSpec = "",
    segmenter: Segmenter = "",
    template: ChatTemplate = "",
    as_trained: Annotated[
        bool,
        typer.Option(
            "--as-trained",
            help="For a trained model: read pictures as in training, not as the recipe's "
            "[inference.tokenizer] says.",
        ),
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="For a trained model: change how it reads pictures, such as "
            "regions=\"sort('random')\"; may be given several times.",
        ),
    ] = None,
    revision: Revision = "",
    longest: Annotated[int, typer.Option(min=1, help="Tokens of an answer at most.")] = 256,
    out: Out = Path("chat"),
    device: Device = "cpu",
) -> None:
    """Talk with a model about pictures, and see which regions an answer looked at.

    On a terminal, /help lists the commands, /regions draws under --out, and Ctrl-C stops an answer.
    Otherwise standard input holds one question a line. --regions and --segmenter are for released
    models.

    A model of `regiontok ls models` knows the generated world's questions alone, and says so of
    others.

    Examples:

    `regiontok chat mini world/images/test-0.png --ask "What colour is the ring?"`

    `regiontok chat run/1_colour photo.jpg`

    `regiontok chat run/1_colour photo.jpg --ask "What is on the table?" --json`

    `regiontok chat run/2_tuning photo.jpg --as-trained --set "encoder=filters(shuffle=0)"`

    `regiontok chat llava-hf/llava-1.5-7b-hf photo.jpg --regions "merge(0.7)" --device cuda`
    """
    with clear_errors():
        from regiontok.jobs.chat import command
        from regiontok.jobs.chat.session import open_chat

        session = open_chat(
            model,
            images or (),
            regions=regions,
            segmenter=segmenter,
            template=template,
            as_trained=as_trained,
            changes=changes or (),
            revision=revision,
            longest=longest,
            device=device,
        )
        if about := session.conversation_model.phrasing.note:
            note(f"{model}: {about}")
        write = command.writer_to(sys.stdout)
        typed = sys.stdin.isatty() and not json
        lines = ask or (command.typed_lines(input, write) if typed else sys.stdin)
        if json:
            for report in command.reports(session, lines):
                closing_json(report)
        else:
            output = command.ChatOutput(write, lambda table: stdout().print(table), out)
            command.converse(session, lines, output, strict=bool(ask))
    if ask and session.answers and session.answers[-1].stopped:
        raise typer.Exit(130)
