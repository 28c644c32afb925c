"""Arguments and options that several commands share: one name and one help text each."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from regiontok.cli import completion
from regiontok.cli.terminal import clear_errors, json_alone

JsonFlag = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print nothing but one line of JSON on standard output; tables go to standard error.",
    ),
]


def with_json(function: Callable[..., None]) -> Callable[..., None]:
    """A command's function with the flag --json; one that has a parameter `json` stays as it is.

    With the flag, stdout holds nothing but the command's JSON.
    """
    signature = inspect.signature(function, eval_str=True)
    if "json" in signature.parameters:
        return function

    @wraps(function)
    def command(*args: Any, json: bool = False, **kwargs: Any) -> None:
        with json_alone() if json else nullcontext():
            function(*args, **kwargs)

    flag = Parameter("json", Parameter.KEYWORD_ONLY, default=False, annotation=JsonFlag)
    with_flag = signature.replace(parameters=[*signature.parameters.values(), flag])
    command.__signature__ = with_flag  # type: ignore[attr-defined]
    command.__annotations__ = {**function.__annotations__, "json": JsonFlag}
    return command


class CommandGroup(TyperGroup):
    """A group of commands whose help and errors of usage are plain text without a terminal.

    On one they stand in boxes of its width, in which long paths are wrapped.
    """

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command that the words name."""
        if not sys.stderr.isatty():
            self.rich_markup_mode = None
        if not sys.stdout.isatty():
            _without_boxes(self)
        return super().main(*args, **kwargs)


def group_with_default(default: str) -> type[CommandGroup]:
    """The class of a group whose first word may be an argument of its default command.

    `masks photos/` means `masks build photos/`.

    Args:
        default: name of the command that is meant where none is named.
    """

    class GroupWithDefault(CommandGroup):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            if args and args[0] not in {*self.commands, "-h", "--help"}:
                args = [default, *args]
            return super().parse_args(ctx, args)

    return GroupWithDefault


def _without_boxes(group: Any) -> None:
    """Let a group's commands, and those of its groups, print their help as plain text."""
    for command in group.commands.values():
        command.rich_markup_mode = None
        if hasattr(command, "commands"):
            _without_boxes(command)


def command_group(help_text: str, **settings: Any) -> typer.Typer:
    """A Typer app, or a group of sub-commands, in the style of this command line."""
    return typer.Typer(
        no_args_is_help=True,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
        help=help_text,
        **{"cls": CommandGroup, "add_completion": False, **settings},
    )


# what a command works on

ImagePaths = Annotated[
    list[str],
    typer.Argument(help="Images, folders or globs; - reads a list on standard input."),
]
Photos = Annotated[
    list[str],
    typer.Option(
        "--images",
        help="Photos: images, folders or globs; - reads a list; may be given several times.",
    ),
]
ImageRoot = Annotated[
    Path, typer.Option("--images", help="Folder in which the images' relative paths begin.")
]
OptionalImageRoot = Annotated[
    Path | None,
    typer.Option("--images", help="Folder in which the images' relative paths begin."),
]
Humans = Annotated[
    Path | None,
    typer.Option("--humans", help="Folder of human segmentations: NAME.mat (BSDS500) or NAME.png."),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Changes of a recipe, such as tokenizer.pool=select.")
]
Scale = Annotated[
    str,
    typer.Option(
        "--scale",
        autocompletion=completion.words(("mini", "small", "paper")),
        help="Scale of a recipe: mini, small or paper.",
    ),
]

# methods

_ENCODER = typer.Option(
    "--encoder",
    autocompletion=completion.methods("encoder"),
    help="Encoder: a spec, a short name, a hub name or a folder; see `regiontok ls encoders`.",
)
Encoder = Annotated[str, _ENCODER]
Encoders = Annotated[list[str] | None, _ENCODER]  # may be given several times
Segmenter = Annotated[
    str,
    typer.Option(
        "--segmenter",
        autocompletion=completion.methods("segmenter"),
        help="Segmenter: a spec such as felzenszwalb, slic(100) or stored('masks.json'); see "
        "`regiontok ls segmenters`.",
    ),
]
Tiles = Annotated[
    str,
    typer.Option(
        "--tiles",
        help="Also encode the image in tiles, such as 2x2, 1x2,2x1,2x2, anyres or anyres(6).",
    ),
]
Cut = Annotated[
    str,
    typer.Option(
        "--cut", help="Where regions of tiles are made: stitched (on one grid) or tile (in each)."
    ),
]
_REGIONS = typer.Option(
    "--regions",
    help="Regions: a spec such as \"merge(k=64) | sort('com')\". Without it, regions are the "
    "encoder's or the model's own.",
)
RegionSpec = Annotated[str, _REGIONS]
RegionSpecs = Annotated[list[str] | None, _REGIONS]  # may be given several times

ChatTemplate = Annotated[
    str,
    typer.Option(
        "--template", help="For a trained model: another template than the saved one, by name."
    ),
]
Revision = Annotated[
    str, typer.Option("--revision", help="Branch, tag or commit of a model that is a hub name.")
]

# how and where a command runs


def _device(name: str) -> str:
    """The device that was named, if it is in this machine."""
    if name == "cpu":  # torch is not imported only to hear that
        return name
    with clear_errors():
        from regiontok.system.devices import resolve_device

        return resolve_device(name)


Device = Annotated[
    str,
    typer.Option(
        "--device",
        callback=_device,
        help="Device: cpu, cuda, cuda:1, mps, or auto for a GPU where there is one.",
    ),
]
Batch = Annotated[
    int,
    typer.Option("--batch", min=1, help="Images, or questions, that go through a model together."),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on where a run with the same settings stopped: what is done is not done again.",
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Replace what was made of another picture or with other settings at the same place; "
        "without it that is an error. Other files are never touched.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")]
Out = Annotated[Path, typer.Option("--out", help="Where the results go.")]
StoreOut = Annotated[
    Path, typer.Option("--out", help="The mask store: a new folder, or one to go on with.")
]
