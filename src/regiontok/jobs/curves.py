"""The log of a training or pretraining run as a picture.

Of training: losses and exact answers, the stages one after the other. Of pretraining: losses,
region k-NN, and the token distances of RICE's figure 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from regiontok.draw.plot import Line, Panel, draw_panels
from regiontok.draw.sheet import save_image
from regiontok.runs.folder import RunFolder

if TYPE_CHECKING:
    from PIL import Image

POINTS = 200  # points of a loss curve: means over as many stretches of the run
HISTOGRAMS = 4  # evaluations whose distances are drawn: the first, the last, and some between


def write_curves(run: str | Path) -> Path:
    """Draw a run's log into its folder; returns the picture's path.

    Raises:
        ValueError: If no step of training or pretraining stands in the folder's log.
        MissingPackage: If matplotlib is not installed.
    """
    run = Path(run)
    picture = curves(_entries(run), run.resolve().name)
    return save_image(picture, run / "curves.png")


def curves(entries: Sequence[dict[str, Any]], name: str) -> Image.Image:
    """Draw what a log tells: a panel of the losses, and more where there are evaluations.

    Args:
        entries: the entries of the log, with a step at least.
        name: the run's name, for the title.
    """
    kind, panels, last_step = _kind_and_panels(entries)
    return draw_panels(panels, title=f"{kind}: {name}", subtitle=f"{last_step} steps")


def curve_panels(run: str | Path) -> tuple[str, list[Panel], int]:
    """What `curves` draws of a run, as numbers: its kind, its panels, and its number of steps.

    Raises:
        ValueError: If no step of training or pretraining stands in the folder's log.
    """
    return _kind_and_panels(_entries(Path(run)))


def _kind_and_panels(entries: Sequence[dict[str, Any]]) -> tuple[str, list[Panel], int]:
    steps = [entry for entry in entries if entry["kind"] == "step"]
    if _is_training(steps[0]):
        return "Training", *_training_panels(entries)
    judged = [entry for entry in entries if entry["kind"] == "eval"]
    panels = [_loss_panel(steps)]
    if judged:
        panels += [_knn_panel(judged), _distance_panel(judged)]
    return "Pretraining", panels, steps[-1]["step"]


def _is_training(step: dict[str, Any]) -> bool:
    """True of a step of `regiontok train`, whose log counts stages."""
    return "stage" in step and "learning_rate" in step


def _training_panels(entries: Sequence[dict[str, Any]]) -> tuple[list[Panel], int]:
    """The panels of a training run, and its number of steps; steps are counted over all stages."""
    points: dict[str, list[tuple[int, float]]] = {}
    names: dict[int, str] = {}
    first = last = 0
    for entry in entries:
        stage = entry["stage"]
        if entry["kind"] == "stage" and stage not in names:
            names[stage], first = entry["name"], last
        if entry["kind"] not in ("step", "eval"):
            continue
        last = first + entry["step"]
        curve_values = {
            f"loss of {names.get(stage, stage)}": entry.get("loss"),
            "loss held out": entry.get("eval_loss"),
            "exact answers": entry.get("eval_exact_match"),
        }
        for curve, value in curve_values.items():
            if value is not None:
                points.setdefault(curve, []).append((last, value))
    exact = points.pop("exact answers", None)
    held_out = points.pop("loss held out", None)
    lines = [_averaged(curve, of_curve) for curve, of_curve in points.items()]
    lines += [_line("loss held out", held_out)] if held_out else []
    panels = [Panel("Loss", "step", "mean over answer tokens", tuple(lines), doubling=False)]
    if exact:
        axes = ("step", "share of held-out records")
        line = _line("answered exactly", exact)
        panels.append(Panel("Exact answers", *axes, (line,), low=0, doubling=False))
    return panels, last


def _line(name: str, points: Sequence[tuple[int, float]]) -> Line:
    return Line(name, tuple(float(x) for x, _ in points), tuple(y for _, y in points))


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
    keys = {"region k-NN": "knn", "by patches": "knn_patches", "blind neighbour": "knn_chance"}
    lines = tuple(
        Line(label, steps, tuple(evaluation[key] for evaluation in evaluations))
        for label, key in keys.items()
        if all(key in evaluation for evaluation in evaluations)  # older logs have no patches
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


def evaluations(run: str | Path) -> list[dict[str, Any]]:
    """The entries of a run's log that are evaluations.

    Raises:
        ValueError: If no step of training or pretraining stands in the folder's log.
    """
    return [entry for entry in _entries(Path(run)) if entry["kind"] == "eval"]


def _entries(run: Path) -> list[dict[str, Any]]:
    """The entries of a run's log, in which there must be a step."""
    entries = RunFolder(run).entries()
    steps = [entry for entry in entries if entry.get("kind") == "step"]
    if not steps or not (_is_training(steps[0]) or "rate" in steps[0]):
        raise ValueError(
            f"{run}: no step of `regiontok train` or `regiontok pretrain` in its log yet"
        )
    return entries
