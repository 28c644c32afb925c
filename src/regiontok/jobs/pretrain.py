"""`regiontok pretrain`: a recipe's region cluster discrimination, stage by stage; or the plan of
it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from regiontok.jobs.curves import write_curves
from regiontok.pretrain import plan as formulas
from regiontok.pretrain import run
from regiontok.pretrain.plan import PretrainPlan
from regiontok.pretrain.run import PretrainOptions
from regiontok.settings.recipe import load_recipe
from regiontok.settings.recipes import find_recipe
from regiontok.system.hardware import KNOWN, MFU, hardware

if TYPE_CHECKING:
    from rich.table import Table


def pretrain(
    text: str,
    out: Path,
    *,
    scale: str = "mini",
    overrides: Sequence[str] = (),
    options: PretrainOptions | None = None,
    resume: bool = False,
    tell: Callable[[dict[str, Any]], None] = lambda entry: None,
) -> dict[str, Any]:
    """Pretrain a recipe, named or by its path; see `regiontok.pretrain.run.pretrain`.

    Raises:
        ValueError: an unknown recipe; whatever `run.pretrain` cannot do.
    """
    path = find_recipe(text)
    recipe = load_recipe(path, scale=scale, overrides=overrides)
    options = options or PretrainOptions()
    if not options.peak and options.device != "cpu" and torch.cuda.is_available():
        options = replace(options, peak=peak_of(torch.cuda.get_device_name()))
    given = path.read_text(encoding="utf-8")
    return run.pretrain(recipe, out, options=options, resume=resume, given=given, tell=tell)


def plan(
    text: str,
    *,
    scale: str = "paper",
    overrides: Sequence[str] = (),
    on: str = "h100x64",
    shard: bool = False,
    each: int = 0,
) -> list[PretrainPlan]:
    """What pretraining a recipe would be on named hardware; nothing is loaded and nothing written.

    Raises:
        ValueError: an unknown recipe or hardware, a recipe without `[pretrain]`.
    """
    recipe, there = load_recipe(find_recipe(text), scale=scale, overrides=overrides), hardware(on)
    if recipe.pretrain is None:
        raise ValueError(
            f"{recipe.name} has no [pretrain]: nothing to plan; `regiontok train --dry-run` plans [[stage]]s"
        )
    given: dict[str, Any] = {
        "devices": there.devices,
        "memory": there.memory,
        "peak": there.peak,
        "mfu": MFU,
    }
    return formulas.plan(recipe.pretrain, **given, shard=shard, each=each)


def peak_of(device: str) -> float:
    """Dense bf16 operations a second of a device by torch's name for it; 0 if it is not known.

    >>> peak_of("NVIDIA H200") / 1e12, peak_of("NVIDIA GeForce RTX 4090") / 1e12, peak_of("something else")
    (989.0, 165.0, 0.0)
    """
    plain = device.lower().replace(" ", "")
    found = [name for name in KNOWN if name in plain]
    return KNOWN[max(found, key=len)][1] * 1e12 if found else 0.0


def results(plans: Sequence[PretrainPlan], on: str) -> list[Table]:
    """The plan as a table."""
    from rich.table import Table

    table = Table(
        title=f"on {on} (estimate)",
        title_justify="left",
        title_style="bold",
        box=None,
        header_style="dim",
        pad_edge=False,
    )
    heads = (
        "stage",
        "pixels",
        "steps",
        "batch",
        "encoder",
        "centres",
        "pass",
        "GFLOP an image",
        "memory",
        "fits",
        "hours",
    )
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place == 0 else "right", no_wrap=True)
    for one in plans:
        table.add_row(
            one.name,
            "x".join(map(str, one.size)),
            f"{one.steps:,}",
            f"{one.batch:,}",
            f"{one.parameters / 1e6:.0f} M",
            f"{one.centres:,}",
            str(one.each),
            f"{one.operations / 1e9:.0f}",
            f"{sum(one.memory.values()) / 1e9:.1f} GB",
            "yes" if one.fits else "no",
            f"{one.hours:.3g}",
        )
    parts = Table(
        title="memory of one device",
        title_justify="left",
        title_style="bold",
        box=None,
        header_style="dim",
        pad_edge=False,
    )
    names = list(plans[0].memory) if plans else []
    for head in ("stage", *names):
        parts.add_column(head, justify="left" if head == "stage" else "right", no_wrap=True)
    for one in plans:
        parts.add_row(one.name, *(f"{size / 1e9:.2f} GB" for size in one.memory.values()))
    return [table, parts]


def show(entry: dict[str, Any]) -> str:
    """One line of the log for a terminal."""
    kind = entry["kind"]
    if kind == "stage":
        gone = entry["step"] - entry["first"]
        left = "".join(f"; left out: {reason}" for reason in entry["left_out"])
        again = f" from step {gone}" if gone else ""
        size = " x ".join(map(str, entry["size"]))
        return f"stage {entry['name']}: {entry['steps']} steps{again} at {size}, batch {entry['batch']}, {entry['ranks']} processes{left}"
    if kind == "step":
        heads = [
            f"{key[5:]} {value:.4f}" for key, value in entry.items() if key.startswith("loss_")
        ]
        pace = f"{entry['images_per_second']:.0f} images/s" + (
            f" ({entry['peak_share']:.0%} of peak)" if "peak_share" in entry else ""
        )
        return f"step {entry['step']}  loss {entry['loss']:.4f} ({', '.join(heads)})  rate {entry['rate']:.2e}  {pace}"
    said = f"{'evaluation' if kind == 'eval' else 'done'} at step {entry['step']}"
    if "loss" in entry:
        said += f"  loss {entry['loss']:.4f}"
    if "knn" in entry:
        said += f"  region k-NN {entry['knn']:.3f} (blind {entry['knn_chance']:.3f})"
        said += "".join(
            f"  {key.replace('_', ' ')} {entry[key]:.3f}"
            for key in ("far_cosine", "neighbour_gain", "distance")
        )
    return said


def drawn(out: Path, steps: int) -> str:
    """The path of the run's picture, drawn anew; "" before the first step, or without
    matplotlib."""
    if not steps or find_spec("matplotlib") is None:
        return ""
    return str(write_curves(out))


def is_first_process() -> bool:
    """True where what is said should be said once."""
    return os.environ.get("RANK", "0") == "0"
