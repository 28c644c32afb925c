"""`regiontok train`: a recipe's stages, one after the other; or the plan of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regiontok.settings.recipe import load_recipe
from regiontok.settings.recipes import find_recipe
from regiontok.system.hardware import hardware
from regiontok.train import run
from regiontok.train.dry import plan_run
from regiontok.train.options import Options
from regiontok.train.plan import StagePlan
from regiontok.train.trackers import check

if TYPE_CHECKING:
    from rich.table import Table


def train(
    text: str,
    out: Path,
    *,
    scale: str = "mini",
    overrides: Sequence[str] = (),
    options: Options | None = None,
    resume: bool = False,
    tell: Callable[[dict[str, Any]], None] = lambda entry: None,
) -> dict[str, Any]:
    """Train a recipe, named or by its path; see `regiontok.train.run.train`.

    Raises:
        ValueError: an unknown recipe or tracker; whatever `run.train` cannot do.
    """
    options = options or Options()
    check(options.log)
    path = find_recipe(text)
    recipe = load_recipe(path, scale=scale, overrides=overrides)
    given = path.read_text(encoding="utf-8")
    return run.train(recipe, out, options=options, resume=resume, given=given, tell=tell)


def plan(
    text: str,
    *,
    scale: str = "mini",
    overrides: Sequence[str] = (),
    options: Options | None = None,
    on: str = "h100",
    sharded: bool = False,
    samples: int = 256,
) -> list[StagePlan]:
    """What training a recipe would be on named hardware; nothing is loaded and nothing written.

    Raises:
        ValueError: an unknown recipe or hardware, records that cannot be read.
    """
    recipe = load_recipe(find_recipe(text), scale=scale, overrides=overrides)
    return plan_run(recipe, options or Options(), hardware(on), sharded=sharded, samples=samples)


def results(plans: Sequence[StagePlan], on: str) -> list[Table]:
    """The plan as tables: what learns, what is read, what it takes."""
    from rich.table import Table

    learns = _table(Table, "what learns", "stage", "part", "learning", "of")
    reads = _table(
        Table,
        "samples (tokens with visual ones)",
        "stage",
        "records",
        "set aside",
        "median",
        "95 %",
        "most",
        "visual",
        "measured",
    )
    takes = _table(
        Table,
        f"on {on} (estimate)",
        "stage",
        "steps",
        "batch",
        "weights",
        "grad.",
        "AdamW",
        "activ.",
        "checkp.",
        "fits",
        "hours",
    )
    for one in plans:
        for part, (learning, whole) in one.parts.items():
            learns.add_row(one.name, part, f"{learning:,}", f"{whole:,}")
        spread = (f"{one.tokens[key]:.0f}" for key in ("median", "p95", "most"))
        aside = str(sum(one.aside.values()))
        reads.add_row(
            one.name, f"{one.samples:,}", aside, *spread, f"{one.visual:.0f}", f"{one.measured:,}"
        )
        division, held = one.division, one.memory
        batch = f"{division.batch} = {division.world} x {division.each} x {division.accumulate}"
        parts = (
            held.weights,
            held.gradients,
            held.optimiser,
            held.activations,
            one.checkpointed.activations,
        )
        sizes = (
            f"{part / 1e9:.1f} GB" if part >= 1e8 else f"{part / 1e6:.1f} MB" for part in parts
        )
        takes.add_row(
            one.name, str(one.steps), batch, *sizes, "yes" if one.fits else "no", f"{one.hours:.2g}"
        )
    return [learns, reads, takes]


def show(entry: dict[str, Any]) -> str:
    """One line of the log for a terminal; "" where there is nothing to say."""
    kind = entry["kind"]
    if kind == "stage":
        learning = ", ".join(
            f"{part} {pair[0]:,}" for part, pair in entry["parts"].items() if pair[0]
        )
        aside = "".join(
            f"; {count} set aside: {reason}" for reason, count in entry["aside"].items()
        )
        batch = f"{entry['world']} x {entry['each']} x {entry['accumulate']}"
        again = f" from step {entry['step']}" if entry["step"] else ""
        return f"stage {entry['stage']} {entry['name']}: {entry['steps']} steps{again}, batch {batch}, learns {learning}{aside}"
    if kind == "step":
        return f"step {entry['step']}  loss {entry['loss']:.4f}  rate {entry['learning_rate']:.2e}"
    words = {
        key.removeprefix("eval_"): value for key, value in entry.items() if isinstance(value, float)
    }
    said = "  ".join(f"{key} {value:.4g}" for key, value in words.items())
    return f"{'evaluation' if kind == 'eval' else 'done'} at step {entry['step']}  {said}"


def is_first_process() -> bool:
    """True where what is said should be said once."""
    return os.environ.get("RANK", "0") == "0"


def _table(kind: Any, title: str, *heads: str) -> Any:
    table = kind(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        header_style="dim",
        pad_edge=False,
    )
    for place, head in enumerate(heads):
        table.add_column(
            head,
            justify="left" if place == 0 or head in ("part", "batch", "fits") else "right",
            no_wrap=True,
        )
    return table
