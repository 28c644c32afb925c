"""`regiontok focus`: how much of the answers' attention goes to the objects asked about."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regiontok.cli.options import Device, OptionalImageRoot, Out, Overwrite, Revision, Segmenter
from regiontok.cli.terminal import (
    clear_errors,
    closing_json,
    print_tables,
    say,
    say_names,
    warn,
)

if TYPE_CHECKING:
    from rich.table import Table


def focus(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Models: mini or another name of `regiontok ls models`, a trained model's folder, "
            "or a released model's hub name or folder with ::REGIONS behind it; in front "
            "NAME= names its row."
        ),
    ],
    data: Annotated[
        str,
        typer.Option(help="PixCV-Bench's or PixMMVP's folder, or generated: 'miniworld(200)'."),
    ],
    images: OptionalImageRoot = None,
    ask: Annotated[
        str,
        typer.Option(help="Ask this of every picture; {objects} stands for what it is about."),
    ] = "",
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SETTING=VALUE",
            help="A choice of the metric, such as threshold=0.5; may be given several times.",
        ),
    ] = None,
    segmenter: Segmenter = "",
    longest: Annotated[int, typer.Option(min=1, help="Tokens of an answer at most.")] = 32,
    most: Annotated[int, typer.Option(min=0, help="Ask the first so many; 0 asks all.")] = 0,
    out: Out = Path("focus"),
    overwrite: Overwrite = False,
    revision: Revision = "",
    device: Device = "cpu",
) -> None:
    """Measure how much of the answers' attention goes to the objects that questions are about.

    Focus is the study's (tables 1, 2 and 6): the attention that answer tokens pay to the visual
    tokens on the annotated objects. Chance is the share of such tokens among the regular ones, lift
    is focus over chance. "Within" is of the attention on regular tokens alone. Settings: rows, end,
    answer, capture, keys, ratio, threshold, without_target, support, rest, annotation, average,
    layers, heads.

    The same command goes on where it stopped; another threshold asks no model again.

    Examples:

    `regiontok focus Patch=runs/patch/2_tuning Regions=runs/cluster/2_tuning --data pixcvbench`

    `regiontok focus llava-hf/llava-1.5-7b-hf "llava-hf/llava-1.5-7b-hf::merge(0.7)" --data
    pixcvbench --set keys=visual --set threshold=0.5 --device cuda`

    `regiontok focus run/1_colour --data "miniworld(200, questions='colour')" --set answer=gold`
    """
    with clear_errors():
        from regiontok.cli.progress import counting
        from regiontok.evaluation.focus_options import FocusOptions
        from regiontok.jobs.chat.comparison import ComparedModel
        from regiontok.jobs.focus.run import FocusRun, measure_focus

        run = FocusRun(
            models=[ComparedModel.of(model, revision) for model in models],
            data=data,
            out=out,
            options=FocusOptions.parsed(changes or []),
            images=images,
            ask=ask,
            segmenter=segmenter,
            longest=longest,
            most=most,
            device=device,
            overwrite=overwrite,
        )
        questions = run.questions()
        with counting("questions", len(run.models) * len(questions)) as tick:
            report = measure_focus(run, questions, tick)
        _show(report)
        closing_json({**report, "out": str(out)})
    raise typer.Exit(1 if any(entry["set_aside"] for entry in report["models"].values()) else 0)


def _show(report: dict[str, Any]) -> None:
    failed = [
        f"{name}: {id}: {reason}"
        for name, entry in report["models"].items()
        for id, reason in entry["set_aside"].items()
    ]
    if failed:
        warn(f"set aside: {len(failed)}")
        say_names(failed)
    print_tables([focus_rows(report["models"])])
    say(", ".join(f"{name}={value}" for name, value in report["options"].items()))
    rescaled = max(entry["rescaled"] for entry in report["models"].values())
    if rescaled:
        warn(f"{rescaled} pictures have masks of another size, which were rescaled to theirs")


def focus_rows(entries: dict[str, dict[str, Any]]) -> Table:
    """A row a model: focus, chance and lift, and the same within the regular tokens."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", title_justify="left")
    table.add_column("model")
    columns = {
        "focus %": ("focus", 100, 2),
        "chance %": ("chance", 100, 2),
        "lift": ("lift", 1, 2),
        "regular %": ("regular", 100, 2),
        "within %": ("within", 100, 2),
        "lift within": ("lift_within", 1, 2),
        "tokens": ("tokens", 1, 1),
        "targets": ("targets", 1, 1),
        "samples": ("samples", 1, 0),
        "no target": ("without_target", 1, 0),
    }
    for head in columns:
        table.add_column(head, justify="right", no_wrap=True)
    for name, entry in entries.items():
        cells = (_cell(entry, *column) for column in columns.values())
        table.add_row(escape(name), *cells)
    return table


def _cell(entry: dict[str, Any], key: str, scale: int, digits: int) -> str:
    """A number, with its interval if it has one."""
    if entry[key] is None:
        return "-"
    ends = entry.get(f"{key}_interval") or ()
    interval = "-".join(f"{end * scale:.{digits}f}" for end in ends)
    return f"{entry[key] * scale:.{digits}f}" + (f" ({interval})" if interval else "")
