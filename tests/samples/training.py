"""A run of two short stages on a tiny model, for the tests of running and resuming."""

from __future__ import annotations

from regiontok.model.vlm import RegionVLM
from regiontok.runs.folder import RunFolder
from regiontok.settings.recipe import resolve
from regiontok.train.options import TrainOptions
from regiontok.train.run import train

DATA = "miniworld(12, size=64, fewest=1, most=1, questions='colour')"
ALIGN = {
    "name": "align",
    "data": [{"records": DATA}],
    "batch": 4,
    "steps": 4,
    "precision": "fp32",
    "max_length": 512,
}
TUNE = {
    **ALIGN,
    "name": "tune",
    "train": ["connector", "language_model"],
    "lora": {"rank": 2, "alpha": 4, "dropout": 0.5},
    "rates": {"language_model": 0.01},
    "weight_decay": 0.1,
    "checkpointing": True,
    "warmup": 0.5,
}


def toy_recipe(*stages, **tables):
    """A recipe of these stages; alignment and tuning where none is given."""
    table = {
        "what": "test",
        "tokenizer": {"encoder": "filters(size=56)", "regions": "windows(2)", "norm": "rms"},
        "model": {"language_model": "mini(width=32, layers=1, heads=2)"},
        "stage": [dict(stage) for stage in (stages or (ALIGN, TUNE))],
        **tables,
    }
    return resolve(table, name="toy")


def run_recipe(recipe, out, *, resume=False, **options):
    """Train a recipe on the CPU, with a checkpoint every third step."""
    return train(
        recipe,
        out,
        options=TrainOptions(device="cpu", save_every=3, **options),
        resume=resume,
        recipe_text="as given",
    )


def losses(out):
    """(stage, step, loss, gradient norm) of every step in a run's log."""
    return [
        (entry["stage"], entry["step"], entry["loss"], entry["grad_norm"])
        for entry in RunFolder(out).entries()
        if entry["kind"] == "step"
    ]


def weights(folder):
    """The weights of a saved model by name."""
    return {
        name: value.clone()
        for name, value in RegionVLM.from_pretrained(folder).state_dict().items()
    }
