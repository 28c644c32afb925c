"""The arguments and flags that `regiontok train` and `regiontok pretrain` share."""

from __future__ import annotations

from typing import Annotated

import typer

from regiontok.cli import completion

Recipe = Annotated[
    str,
    typer.Argument(
        autocompletion=completion.recipes,
        help="A recipe's name or path; `regiontok ls recipes` lists them.",
    ),
]
HardwareName = Annotated[
    str,
    typer.Option(
        "--hardware",
        help="What a --dry-run plans for: h100x4, h200, a100x8, rtx4090 ... Without it, h100, and "
        "h100x64 for pretraining at the paper's scale.",
    ),
]
PerDevice = Annotated[
    int,
    typer.Option(
        "--per-device",
        min=0,
        help="Samples of one pass on a device; 0: as many as the command sees fit.",
    ),
]
Tracker = Annotated[
    str, typer.Option("--tracker", help="tensorboard, trackio or wandb, beside log.jsonl.")
]
SaveEvery = Annotated[int, typer.Option("--save-every", min=1, help="Steps between checkpoints.")]
Keep = Annotated[int, typer.Option("--keep", min=1, help="Checkpoints that stay.")]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        help="Processes that load data, for each process that trains. Default: none; to pretrain "
        "on a GPU its share of the cores, less one.",
    ),
]
StopAfter = Annotated[
    int | None,
    typer.Option(
        "--stop-after", min=1, help="Steps of this call, then a checkpoint. Default: to the end."
    ),
]
Device = Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu or cuda.")]
Shard = Annotated[
    bool, typer.Option("--shard", help="Divide the weights among the devices (FSDP2).")
]
Cache = Annotated[
    str,
    typer.Option(
        "--cache", help="Folder for frozen features (train) or generated sources (pretrain)."
    ),
]
