"""The app of the command line: its commands, `--version`, and the entry point.

Heavy packages are imported inside the commands, so that help answers at once.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from io import TextIOWrapper
from typing import Annotated

import typer

from regiontok.cli.answer import answer
from regiontok.cli.chat import chat
from regiontok.cli.check import check
from regiontok.cli.compare import compare
from regiontok.cli.curate import curate_app
from regiontok.cli.diagnose import diagnose_app
from regiontok.cli.export import export
from regiontok.cli.focus import focus
from regiontok.cli.frontier import frontier
from regiontok.cli.listing import ls, show
from regiontok.cli.masks import masks_app
from regiontok.cli.migrate import migrate_app
from regiontok.cli.miniworld import miniworld
from regiontok.cli.options import command_group, with_json
from regiontok.cli.probe import probe_app
from regiontok.cli.report import report
from regiontok.cli.score import score
from regiontok.cli.shards import shards
from regiontok.cli.study import study
from regiontok.cli.terminal import note
from regiontok.cli.tokenize import demo, tokenize
from regiontok.cli.training import pretrain, train
from regiontok.cli.view import view
from regiontok.system.logs import warnings_to

app = command_group(
    "Region tokens for vision-language models: photos in, regions and their tokens out.",
    add_completion=True,
)
LOOK = (demo, tokenize, view, frontier, ls, show, check)
TRAIN = (
    *(train, chat, answer, score, report, compare, focus),
    *(export, shards, pretrain, miniworld, study),
)
for command in (*LOOK[:4], *TRAIN, *LOOK[4:]):
    app.command()(with_json(command))
app.add_typer(masks_app, name="masks")
app.add_typer(curate_app, name="curate")
app.add_typer(diagnose_app, name="diagnose")
app.add_typer(migrate_app, name="migrate")
app.add_typer(probe_app, name="probe")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"regiontok {version('regiontok')}")
        raise typer.Exit


@app.callback()
def _options_of_all_commands(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version, and stop."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """The entry point of the `regiontok` command.

    A character that the terminal's encoding lacks is printed as an escape, and each warning of the
    library as a line on stderr.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    with warnings_to(lambda text: note(f"warning: {' '.join(text.split())}")):
        app()


if __name__ == "__main__":
    main()
