"""Arguments and options that several commands share: one name and one help text each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from regiontok.cli.terminal import clear_errors


def command_group(help_text: str, **settings: Any) -> typer.Typer:
    """A Typer app, or a group of sub-commands, in the style of this command line."""
    return typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
        help=help_text,
        **settings,
    )


# what a command works on

ImagePaths = Annotated[
    list[str],
    typer.Argument(help="Images, folders or globs; - reads a list on standard input."),
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
Scale = Annotated[str, typer.Option("--scale", help="Scale of a recipe: mini, small or paper.")]

# methods

Encoder = Annotated[
    str,
    typer.Option(
        "--encoder",
        help="Encoder: a spec, a short name, a hub name or a folder; see `regiontok ls encoders`.",
    ),
]
Segmenter = Annotated[
    str,
    typer.Option(
        "--segmenter",
        help="Segmenter: a spec such as felzenszwalb, slic(100) or stored('masks.json'); see "
        "`regiontok ls segmenters`.",
    ),
]
_REGIONS = typer.Option(
    "--regions",
    help="Regions: a spec such as \"merge(k=64) | sort('com')\". Without it, regions are the "
    "encoder's or the model's own.",
)
RegionSpec = Annotated[str, _REGIONS]
RegionSpecs = Annotated[list[str] | None, _REGIONS]  # may be given several times

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
    int, typer.Option("--batch", min=1, help="Images that go through a model together.")
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on where a run with the same settings stopped: what is done is not done again.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")]
Out = Annotated[Path, typer.Option("--out", help="Where the results go.")]
StoreOut = Annotated[
    Path, typer.Option("--out", help="The mask store: a new folder, or one to go on with.")
]
