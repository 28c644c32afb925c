"""The plans of `train` and `pretrain` as tables, and the entries of their logs as lines."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from regiontok.pretrain.plan import PretrainPlan
    from regiontok.train.plan import StagePlan


EVALUATED = "eval_"  # how the figures of an evaluation are called in the log of training
# what the table of a pretraining run shows of each evaluation
METRICS = (
    "knn",
    "knn_patches",
    "knn_chance",
    "neighbour_cosine",
    "far_cosine",
    "neighbour_gain",
    "total_variation",
    "distance",
)


def training_tables(plans: Sequence[StagePlan], on: str) -> list[Table]:
    """The plan as three tables: what learns, what is read, and what it takes.

    Args:
        plans: the plans of the stages.
        on: the hardware's name.
    """
    learning = _table("what learns", ("stage", "part", "learning", "of"), left=("stage", "part"))
    spread = ("median", "95 %", "most")
    samples = _table(
        "samples (tokens with visual ones)",
        ("stage", "records", "set aside", "no mask", "cut", *spread, "visual", "measured"),
    )
    memory = ("weights", "grad.", "AdamW", "activ.", "checkp.")
    costs = _table(
        f"on {on} (estimate)",
        ("stage", "steps", "batch", *memory, "fits", "hours"),
        left=("stage", "batch", "fits"),
    )
    for plan in plans:
        for part_name, (learned, total) in plan.parts.items():
            learning.add_row(plan.name, part_name, f"{learned:,}", f"{total:,}")
        samples.add_row(*_sample_cells(plan))
        costs.add_row(*_cost_cells(plan))
    return [learning, samples, costs]


def _sample_cells(plan: StagePlan) -> list[str]:
    return [
        plan.name,
        f"{plan.samples:,}",
        str(sum(plan.set_aside.values())),
        str(plan.without_masks),
        f"{plan.cut:.1%}",
        *(f"{plan.tokens[key]:.0f}" for key in ("median", "p95", "most")),
        f"{plan.visual:.0f}",
        f"{plan.measured:,}",
    ]


def _cost_cells(plan: StagePlan) -> list[str]:
    division, memory = plan.division, plan.memory
    factors = (division.processes, division.per_device, division.accumulate)
    sizes = (
        memory.weights,
        memory.gradients,
        memory.optimiser,
        memory.activations,
        plan.checkpointed.activations,
    )
    return [
        plan.name,
        str(plan.steps),
        f"{division.batch} = {' x '.join(map(str, factors))}",
        *(f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB" for size in sizes),
        "yes" if plan.fits else "no",
        f"{plan.hours:.2g}",
    ]


def training_warnings(plans: Sequence[StagePlan]) -> list[str]:
    """What a plan warns of: regions that cannot be made of the measured pictures."""
    return [
        f"stage {plan.name}: the regions of {plan.without_regions:.1%} of the measured samples "
        f"with pictures cannot be made; they are set aside: {reason}"
        for plan in plans
        if plan.without_regions
        for reason in plan.set_aside
        if "regions cannot be made" in reason
    ]


def training_line(entry: dict[str, Any]) -> str:
    """One entry of the log as a line for a terminal."""
    kind = entry["kind"]
    if kind == "note":
        return str(entry["text"])
    if kind == "stage":
        return _training_stage_line(entry)
    if kind == "step":
        return f"step {entry['step']}  loss {entry['loss']:.4f}  rate {entry['learning_rate']:.2e}"
    metrics = "  ".join(
        f"{name.removeprefix('eval_')} {value:.4g}"
        for name, value in entry.items()
        if isinstance(value, float)
    )
    return f"{'evaluation' if kind == 'eval' else 'done'} at step {entry['step']}  {metrics}"


def _training_stage_line(entry: dict[str, Any]) -> str:
    learning = ", ".join(
        f"{part_name} {learned:,}" for part_name, (learned, _) in entry["parts"].items() if learned
    )
    set_aside = "".join(
        f"; {count} set aside: {reason}" for reason, count in entry["set_aside"].items()
    )
    if entry.get("cut"):
        set_aside += f"; {entry['cut']} of {entry['samples']} samples CUT at the longest length"
    if entry.get("images_without_masks"):
        set_aside += f"; {entry['images_without_masks']} images without any mask"
    batch = f"{entry['processes']} x {entry['per_device']} x {entry['accumulate']}"
    resumed = f" from step {entry['step']}" if entry["step"] else ""
    return (
        f"stage {entry['stage']} {entry['name']}: {entry['steps']} steps{resumed}, "
        f"batch {batch}, learns {learning}{set_aside}"
    )


def pretraining_tables(plans: Sequence[PretrainPlan], on: str) -> list[Table]:
    """The plan as two tables: the stages, and the memory of one device.

    Args:
        plans: the plans of the stages.
        on: the hardware's name.
    """
    sizes = ("encoder", "centres", "pass", "GFLOP an image", "memory")
    costs = _table(
        f"on {on} (estimate)",
        ("stage", "pixels", "steps", "batch", *sizes, "fits", "hours"),
    )
    memory = _table("memory of one device", ("stage", *(plans[0].memory if plans else ())))
    for plan in plans:
        costs.add_row(
            plan.name,
            "x".join(map(str, plan.size)),
            f"{plan.steps:,}",
            f"{plan.batch:,}",
            f"{plan.parameters / 1e6:.0f} M",
            f"{plan.centres:,}",
            str(plan.per_device),
            f"{plan.operations / 1e9:.0f}",
            f"{sum(plan.memory.values()) / 1e9:.1f} GB",
            "yes" if plan.fits else "no",
            f"{plan.hours:.3g}",
        )
        memory.add_row(plan.name, *(f"{size / 1e9:.2f} GB" for size in plan.memory.values()))
    return [costs, memory]


def pretraining_line(entry: dict[str, Any]) -> str:
    """One entry of the log as a line for a terminal."""
    if entry["kind"] == "note":
        return str(entry["text"])
    if entry["kind"] == "stage":
        return _pretraining_stage_line(entry)
    if entry["kind"] == "step":
        return _pretraining_step_line(entry)
    parts = [f"{'evaluation' if entry['kind'] == 'eval' else 'done'} at step {entry['step']}"]
    if "loss" in entry:
        parts.append(f"loss {entry['loss']:.4f}")
    if "knn" in entry:
        parts.append(f"region k-NN {entry['knn']:.3f} (blind {entry['knn_chance']:.3f})")
        parts += [
            f"{name.replace('_', ' ')} {entry[name]:.3f}"
            for name in ("far_cosine", "neighbour_gain", "distance")
        ]
    return "  ".join(parts)


def _pretraining_stage_line(entry: dict[str, Any]) -> str:
    taken = entry["step"] - entry["first"]
    resumed = f" from step {taken}" if taken else ""
    size = " x ".join(map(str, entry["size"]))
    left_out = "".join(f"; left out: {reason}" for reason in entry["left_out"])
    return (
        f"stage {entry['name']}: {entry['steps']} steps{resumed} at {size}, "
        f"batch {entry['batch']}, {entry['ranks']} processes{left_out}"
    )


def _pretraining_step_line(entry: dict[str, Any]) -> str:
    head_losses = ", ".join(
        f"{name.removeprefix('loss_')} {value:.4f}"
        for name, value in entry.items()
        if name.startswith("loss_")
    )
    speed = f"{entry['images_per_second']:.0f} images/s"
    if "peak_share" in entry:
        speed += f" ({entry['peak_share']:.0%} of peak)"
    return (
        f"step {entry['step']}  loss {entry['loss']:.4f} ({head_losses})  "
        f"rate {entry['rate']:.2e}  {speed}"
    )


def evaluation_table(name: str, evaluations: Sequence[dict[str, Any]]) -> Table:
    """Every evaluation of a training or pretraining run, a row each.

    Args:
        name: the run's name.
        evaluations: the evaluations in its log, one at least.
    """
    first = evaluations[0]
    metrics = [metric for metric in METRICS if metric in first]
    metrics = metrics or [key for key in first if key.startswith(EVALUATED)]
    stages = ["stage"] if "stage" in first else []
    heads = (metric.removeprefix(EVALUATED).replace("_", " ") for metric in metrics)
    table = _table(name, (*stages, "step", *heads), left=())
    for entry in evaluations:
        table.add_row(
            *(str(entry[stage]) for stage in stages),
            f"{entry['step']:,}",
            *(_number(entry.get(metric)) for metric in metrics),
        )
    return table


def _number(value: float | None) -> str:
    """A figure of an evaluation; counts stand as whole numbers."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1 and value == int(value) else f"{value:.3f}"


def _table(title: str, columns: Sequence[str], *, left: Collection[str] = ("stage",)) -> Table:
    """An empty table.

    Args:
        title: what stands above it.
        columns: heads of its columns.
        left: columns that are aligned to the left; the others hold numbers.
    """
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        header_style="dim",
        pad_edge=False,
    )
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right", no_wrap=True)
    return table
