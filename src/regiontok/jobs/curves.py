"""The log of a pretraining run as a picture.

Losses, region k-NN, and the token distances of RICE's figure 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from regiontok.draw.plot import Line, Panel, draw_panels
from regiontok.runs.folder import RunFolder
from regiontok.system.files import replacing

if TYPE_CHECKING:
    from PIL import Image

POINTS = 200  # points of a loss curve: means over as many stretches of the run
HISTOGRAMS = 4  # evaluations whose distances are drawn: the first, the last, and some between


def write_curves(run: Path) -> Path:
    """Draw a run's log into its folder; returns the picture's path.

    Raises:
        ValueError: If the folder has no log of pretraining.
        MissingPackage: If matplotlib is not installed.
    """
    picture = curves(_entries(run), run.name)
    path = run / "curves.png"
    with replacing(path) as temporary:
        picture.save(temporary, format="png")
    return path


def curves(entries: Sequence[dict[str, Any]], name: str) -> Image.Image:
    """Draw a panel of the losses and, if there are evaluations, one of k-NN and one of distances.

    Args:
        entries: the entries of the log.
        name: the run's name, for the title.
    """
    steps = [entry for entry in entries if entry["kind"] == "step"]
    judged = [entry for entry in entries if entry["kind"] == "eval"]
    panels = [_loss_panel(steps)]
    if judged:
        panels += [_knn_panel(judged), _distance_panel(judged)]
    last_step = steps[-1]["step"]
    return draw_panels(panels, title=f"Pretraining: {name}", subtitle=f"{last_step} steps")


def _loss_panel(steps: Sequence[dict[str, Any]]) -> Panel:
    lines = tuple(
        _averaged(
            f"loss of {name.removeprefix('loss_')}",
            [(step["step"], step[name]) for step in steps],
        )
        for name in steps[0]
        if name.startswith("loss_")
    )
    return Panel("Loss", "step", "mean over regions", lines, doubling=False)


def _averaged(label: str, points: Sequence[tuple[int, float]]) -> Line:
    """A curve through the means of equal stretches of the points."""
    length = -(-len(points) // POINTS)
    stretches = [points[start : start + length] for start in range(0, len(points), length)]
    return Line(
        label,
        tuple(fmean(x for x, _ in stretch) for stretch in stretches),
        tuple(fmean(y for _, y in stretch) for stretch in stretches),
    )


def _knn_panel(evaluations: Sequence[dict[str, Any]]) -> Panel:
    steps = tuple(float(evaluation["step"]) for evaluation in evaluations)
    lines = tuple(
        Line(label, steps, tuple(evaluation[key] for evaluation in evaluations))
        for label, key in {"region k-NN": "knn", "blind neighbour": "knn_chance"}.items()
    )
    axes = ("step", "share of held-out regions")
    return Panel("Regions named rightly", *axes, lines, low=0, doubling=False)


def _distance_panel(evaluations: Sequence[dict[str, Any]]) -> Panel:
    last = len(evaluations) - 1
    chosen = sorted({round(number * last / (HISTOGRAMS - 1)) for number in range(HISTOGRAMS)})
    bins = len(evaluations[0]["distances"])
    bin_width = 2 / bins
    middles = tuple((number + 0.5) * bin_width for number in range(bins))
    lines = tuple(
        Line(f"after step {evaluation['step']:,}", middles, tuple(evaluation["distances"]))
        for evaluation in (evaluations[index] for index in chosen)
    )
    axes = ("1 - cosine of two patches", "share of pairs")
    return Panel("Token distances", *axes, lines, log=True, low=1e-4, doubling=False)


def evaluations(run: Path) -> list[dict[str, Any]]:
    """The entries of a run's log that are evaluations.

    Raises:
        ValueError: If the folder has no log of pretraining.
    """
    return [entry for entry in _entries(run) if entry["kind"] == "eval"]


def _entries(run: Path) -> list[dict[str, Any]]:
    """The entries of a run's log, which must be one of pretraining."""
    entries = RunFolder(run).entries()
    if not any(entry["kind"] == "step" and "rate" in entry for entry in entries):
        raise ValueError(f"{run}: no step of `regiontok pretrain` in its log")
    return entries
