"""`regiontok pretrain`: every recipe of RICE takes two steps at scale mini; plans; lines."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from regiontok.cli.progress import follow
from regiontok.cli.run_tables import METRICS, evaluation_table, pretraining_line, pretraining_tables
from regiontok.jobs import curves as pretrain_curves
from regiontok.jobs.curves import curves, evaluations, write_curves
from regiontok.jobs.pretrain import plan_pretraining, pretrain
from regiontok.pretrain.build import build_transformer, class_heads, vit_config
from regiontok.pretrain.options import PretrainOptions
from regiontok.pretrain.plan import image_operations
from regiontok.settings.recipe import load_recipe, resolve, to_toml
from regiontok.settings.shipped import shipped_recipes

EIGHT = PretrainOptions(per_device=8)
RICE = {
    name: path
    for name, path in shipped_recipes().items()
    if name.startswith("rice/") and load_recipe(path).pretrain
}
FAST = ("rice/pretrain_l14", "rice/table5a_b16_n1")


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """Generated data of all tests here."""
    return tmp_path_factory.mktemp("scenes")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in RICE]
)
def test_takes_two_steps_at_scale_mini(name, cache, tmp_path):
    source = load_recipe(RICE[name]).pretrain.data[0].shards.replace("512", "48")
    few = [
        "every_stage.steps=2",
        "every_stage.warmup=1",
        "every_stage.batch=4",
        "evaluate.images=8",
    ]
    few += [
        f"data=[{{shards='{source}'}}]",
        "evaluate.shards='scenes(8, start=1_000_000, size=96)'",
    ]
    lines = []
    options = PretrainOptions(device="cpu", cache=str(cache))
    words = [f"pretrain.{change}" for change in few]
    result = pretrain(
        name,
        tmp_path / "run",
        overrides=words,
        options=options,
        tell=lambda entry: lines.append(pretraining_line(entry)),
    )
    assert result["step"] == 2 * len(load_recipe(RICE[name]).pretrain.stage)
    assert 0 < result["loss"] < 200
    assert lines[0].startswith("stage px224: 2 steps at ")
    assert lines[1].startswith("evaluation at step 0  region k-NN 0.")
    assert lines[-1].startswith(f"done at step {result['step']}  loss ")


def test_a_bar_counts_the_steps_of_each_stage_and_nobody_watching_gets_a_line_each_twentieth():
    terminal = StringIO()
    with Progress(console=Console(file=terminal, width=200)) as bar:
        tell = follow(bar, pretraining_line)
        about = {"kind": "stage", "size": [64, 96], "batch": 8, "ranks": 1, "left_out": []}
        tell(about | {"step": 0, "first": 0, "name": "low", "steps": 40})
        for step in range(1, 41):
            tell(
                {
                    "kind": "step",
                    "step": step,
                    "loss": 1.0,
                    "loss_object": 1.0,
                    "rate": 1e-3,
                    "images_per_second": 5.0,
                }
            )
        tell(about | {"step": 45, "first": 40, "name": "high", "steps": 10})
        tell(
            {
                "kind": "step",
                "step": 46,
                "loss": 2.0,
                "loss_object": 2.0,
                "rate": 1e-3,
                "images_per_second": 5.0,
            }
        )
        assert [(task.completed, task.total) for task in bar.tasks] == [(40, 40), (6, 10)]
        assert bar.tasks[1].description == "high loss 2.0000"
    lines = terminal.getvalue().splitlines()
    assert len([line for line in lines if line.startswith("step ")]) == 21
    assert "stage high: 10 steps from step 5 at 64 x 96, batch 8, 1 processes" in lines


class TestCurves:
    @staticmethod
    def log(folder: Path, steps: int) -> list[dict]:
        scores = dict.fromkeys(METRICS, 0.25) | {"distances": [0.5, 0.5]}
        entries = [{"kind": "stage", "step": 0}, {"kind": "eval", "step": 0, **scores}]
        entries += [
            {"kind": "step", "step": step, "rate": 1.0, "loss_text": 2.0 * step}
            for step in range(1, steps + 1)
        ]
        entries += [{"kind": "eval", "step": steps, **scores, "knn": 0.75}]
        folder.mkdir()
        (folder / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        return entries

    @pytest.mark.slow
    def test_a_run_is_a_picture_and_a_table(self, tmp_path):
        self.log(tmp_path / "run", 1000)
        path = write_curves(tmp_path / "run")
        with Image.open(path) as picture:
            assert picture.width > 2000
        table = evaluation_table("run", evaluations(tmp_path / "run"))
        assert [list(column.cells) for column in table.columns][:2] == [
            ["0", "1,000"],
            ["0.250", "0.750"],
        ]

    def test_long_losses_are_means_of_equal_parts(self, tmp_path, monkeypatch):
        entries, drawn = self.log(tmp_path / "run", 1000), []
        monkeypatch.setattr(
            pretrain_curves, "draw_panels", lambda panels, **words: drawn.extend(panels)
        )
        curves(entries, "run")
        (line,) = drawn[0].lines
        assert (line.name, len(line.x), line.x[0], line.y[0]) == ("loss of text", 200, 3.0, 6.0)
        assert [line.name for line in drawn[2].lines] == ["after step 0", "after step 1,000"]
        assert drawn[2].lines[0].x == (0.5, 1.5)

    def test_a_folder_of_something_else(self, tmp_path):
        (tmp_path / "log.jsonl").write_text('{"kind": "step", "step": 1, "loss": 3.0}\n')
        with pytest.raises(ValueError, match="or `regiontok pretrain` in its log yet"):
            write_curves(tmp_path)


class TestRecipes:
    def test_rates_of_table_5c_hold_at_scale_mini_too(self):
        rhos = [
            load_recipe(RICE[f"rice/table5c_b16_rho{name}"]).pretrain.loss.rho
            for name in ("005", "01", "02", "05")
        ]
        assert rhos == [0.05, 0.1, 0.2, 0.5]

    def test_every_ablation_of_the_paper_has_one(self):
        counts = Counter(name.split("/")[1].split("_")[0] for name in RICE)
        tables = dict.fromkeys(("table5a", "table5b", "table5c", "table5d"), 4)
        assert counts == {"pretrain": 2, "released": 2, **tables}

    @pytest.mark.parametrize("name", RICE)
    def test_resolved_it_reads_back(self, name):
        recipe = load_recipe(RICE[name], scale="paper")
        assert resolve(tomllib.loads(to_toml(recipe)), name=recipe.name, scale="paper") == recipe

    def test_rows_differ_in_what_they_are_named_for(self):
        tables = {
            name: load_recipe(path, scale="paper").pretrain
            for name, path in RICE.items()
            if "table5" in name
        }
        by_table = {
            "a": [tables[f"rice/table5a_b16_n{n}"].regions for n in (1, 5, 10, 20)],
            "b": [
                tables[f"rice/table5b_b16_k{k}"].object.classes
                for k in ("200k", "500k", "1m", "2m")
            ],
            "c": [
                tables[f"rice/table5c_b16_rho{rho}"].loss.rho for rho in ("005", "01", "02", "05")
            ],
            "d": [tables[f"rice/table5d_b16_m{m}"].text.positives for m in (3, 5, 10, 20)],
        }
        assert by_table == {
            "a": [1, 5, 10, 20],
            "b": [200_000, 500_000, 1_000_000, 2_000_000],
            "c": [0.05, 0.1, 0.2, 0.5],
            "d": [3, 5, 10, 20],
        }
        defaults = ("n10", "k1m", "rho01", "m10")
        same = [table for name, table in tables.items() if name.endswith(defaults)]
        assert len(same) == 4
        assert all(table == same[0] for table in same)

    def test_paper_scale_is_what_the_text_says(self):
        table = load_recipe(RICE["rice/pretrain_l14"], scale="paper").pretrain
        assert [(stage.sides[0], stage.learning_rate, stage.batch) for stage in table.stage] == [
            (224, 1e-3, 32768), (336, 1e-4, 32768), (378, 1e-4, 32768), (560, 1e-4, 32768),
        ]  # fmt: skip
        assert (table.loss.margin, table.loss.scale) == (0.3, 64)
        assert (table.loss.rho, table.regions) == (0.1, 10)
        assert [head.classes for head in class_heads(table)] == [1_000_000, 49_408]


class TestPlan:
    def test_the_encoder_of_vit_l_and_its_operations_are_the_known_ones(self):
        first, *_, last = plan_pretraining("rice/pretrain_l14", on="h100x64")
        assert first.parameters == pytest.approx(304e6, rel=0.01)  # ViT-L/14
        assert first.steps == 13_000_000_000 // 32768
        table = load_recipe(RICE["rice/pretrain_b16"], scale="paper").pretrain
        forward = image_operations(table, vit_config(table), table.stage[0], passes=1)
        # ViT-B/16 at 224: 17.6 G multiply-adds, as papers count
        assert forward == pytest.approx(2 * 17.6e9, rel=0.05)
        assert last.operations > 6 * first.operations

    def test_memory_shrinks_with_devices_and_fsdp(self):
        few, many = (
            plan_pretraining("rice/pretrain_l14", on=f"h100x{count}", options=EIGHT)[0].memory
            for count in (8, 64)
        )
        assert few["centres"] == pytest.approx(8 * many["centres"], rel=1e-6)
        assert few["weights"] == many["weights"]
        options = replace(EIGHT, shard=True)
        sharded = plan_pretraining("rice/pretrain_l14", on="h100x64", options=options)[0].memory
        assert sharded["optimiser"] == pytest.approx(many["optimiser"] / 64)

    def test_what_does_not_fit_goes_in_passes(self):
        (small, _), (large, _) = (
            plan_pretraining("rice/pretrain_b16", on=on) for on in ("rtx4090x8", "h200x8")
        )
        assert small.per_device < large.per_device <= 4096
        assert 4096 % small.per_device == 0

    def test_tables(self):
        plans = plan_pretraining("rice/pretrain_b16")
        costs, memory = pretraining_tables(plans, "h100x64")
        assert costs.row_count == memory.row_count == 2
        assert plans[0].as_dict()["size"] == [224, 224]

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ({"recipe_name": "study/table1_clip_patch"}, "has no .pretrain."),
            (
                {"recipe_name": "rice/pretrain_b16", "on": "h100x5"},
                "cannot be shared equally by 5 devices",
            ),
            ({"recipe_name": "rice/pretrain_b17"}, "unknown recipe"),
        ],
    )
    def test_what_cannot_be_planned(self, words, message):
        with pytest.raises(ValueError, match=message):
            plan_pretraining(**words)


def test_parameters_of_the_plan_are_those_of_the_model():
    recipe = load_recipe(RICE["rice/pretrain_b16"])
    counted = sum(
        parameter.numel() for parameter in build_transformer(recipe.pretrain).parameters()
    )
    (plan, *_) = plan_pretraining("rice/pretrain_b16", scale="mini", on="h100")
    assert plan.parameters == counted
