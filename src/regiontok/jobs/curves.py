"""What a pretraining run's log says, as a picture and a table: losses, region k-NN, and the token
distances of RICE's figure 4."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from regiontok.draw.plot import Line, Panel, draw_panels
from regiontok.pretrain.folder import PretrainFolder
from regiontok.system.files import replacing

if TYPE_CHECKING:
    from PIL import Image
    from rich.table import Table

POINTS = 200  # of a loss: means over as many parts of the run
SHOWN = 4  # evaluations whose distances are drawn: the first, the last, and some between
COLUMNS = (
    "knn",
    "knn_chance",
    "neighbour_cosine",
    "far_cosine",
    "neighbour_gain",
    "total_variation",
    "distance",
)


def write_curves(run: Path) -> Path:
    """Draw a run's log into its folder; returns the picture's path.

    Raises:
        ValueError: a folder without a log of pretraining.
        MissingPackage: matplotlib is not installed.
    """
    picture = curves(_entries(run), run.name)
    path = run / "curves.png"
    with replacing(path) as part:
        picture.save(part, format="png")
    return path


def curves(entries: Sequence[dict[str, Any]], name: str) -> Image.Image:
    """A panel of the losses, and where there are evaluations one of region k-NN and one of token
    distances."""
    steps, judged = (
        [entry for entry in entries if entry["kind"] == kind] for kind in ("step", "eval")
    )
    heads = [key.removeprefix("loss_") for key in steps[0] if key.startswith("loss_")]
    losses = tuple(
        _averaged(f"loss of {head}", [(one["step"], one[f"loss_{head}"]) for one in steps])
        for head in heads
    )
    panels = [Panel("Loss", "step", "mean over regions", losses, doubling=False)]
    if judged:
        at = tuple(float(one["step"]) for one in judged)
        named = {"region k-NN": "knn", "blind neighbour": "knn_chance"}
        scores = tuple(
            Line(label, at, tuple(one[key] for one in judged)) for label, key in named.items()
        )
        panels.append(
            Panel(
                "Regions named rightly",
                "step",
                "share of held-out regions",
                scores,
                low=0,
                doubling=False,
            )
        )
        axes = ("Token distances", "1 - cosine of two patches", "share of pairs")
        panels.append(Panel(*axes, _histograms(judged), log=True, low=1e-4, doubling=False))
    return draw_panels(panels, title=f"Pretraining: {name}", subtitle=f"{steps[-1]['step']} steps")


def evaluations(run: Path) -> Table:
    """Every evaluation of a run, a row each.

    Raises:
        ValueError: a folder without a log of pretraining.
    """
    from rich.table import Table

    table = Table(
        title=run.name,
        title_justify="left",
        title_style="bold",
        box=None,
        header_style="dim",
        pad_edge=False,
    )
    for head in ("step", *COLUMNS):
        table.add_column(head.replace("_", " "), justify="right")
    for one in _entries(run):
        if one["kind"] == "eval":
            table.add_row(f"{one['step']:,}", *(f"{one[key]:.3f}" for key in COLUMNS))
    return table


def _entries(run: Path) -> list[dict[str, Any]]:
    entries = PretrainFolder(run).entries()
    if not any(entry["kind"] == "step" and "rate" in entry for entry in entries):
        raise ValueError(f"{run}: no step of `regiontok pretrain` in its log")
    return entries


def _averaged(name: str, points: Sequence[tuple[int, float]]) -> Line:
    each = -(-len(points) // POINTS)
    parts = [points[at : at + each] for at in range(0, len(points), each)]
    return Line(
        name,
        tuple(fmean(x for x, _ in part) for part in parts),
        tuple(fmean(y for _, y in part) for part in parts),
    )


def _histograms(judged: Sequence[dict[str, Any]]) -> tuple[Line, ...]:
    chosen = sorted({round(place * (len(judged) - 1) / (SHOWN - 1)) for place in range(SHOWN)})
    width = 2 / len(judged[0]["distances"])
    middles = tuple((place + 0.5) * width for place in range(len(judged[0]["distances"])))
    return tuple(
        Line(f"after step {judged[at]['step']:,}", middles, tuple(judged[at]["distances"]))
        for at in chosen
    )
