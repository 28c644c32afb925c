"""Plans of papers' recipes on a machine without a hub, data or gated models."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers.utils.hub import cached_files

from regiontok.data.generated import is_generated
from regiontok.settings.recipe import load_recipe
from regiontok.settings.shipped import shipped_recipes
from regiontok.system.hardware import hardware
from regiontok.train import assumed
from regiontok.train.assumed import LANGUAGE_MODELS, RECORDS, assumed_visual_tokens
from regiontok.train.build import meta_model
from regiontok.train.built_in import built_in
from regiontok.train.options import TrainOptions
from regiontok.train.parts import parameter_counts
from regiontok.train.plan import plan_run

# Parameters as the hub shows them, of the language model alone.
PUBLISHED = {
    "lmsys/vicuna-7b-v1.5": 6_738_415_616,
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "Qwen/Qwen2-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-0.6B": 596_049_920,
}


@pytest.fixture(autouse=True)
def _offline(tmp_path, monkeypatch):
    """An empty cache, an empty folder to work in, and a hub that nobody may ask."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def refuse(*words, **more):
        raise AssertionError("the hub was asked")

    of_folder = cached_files

    def only_folders(path_or_repo_id, filenames, **more):
        here = Path(path_or_repo_id).is_dir()
        return of_folder(path_or_repo_id, filenames, **more) if here else refuse()

    monkeypatch.setattr("huggingface_hub.file_download.hf_hub_download", refuse)
    monkeypatch.setattr("transformers.utils.hub.cached_files", only_folders)


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_known_sizes_give_the_published_number_of_parameters(name):
    model = f"model.language_model={name}"
    recipe = load_recipe("study/table1_clip_patch", scale="paper", overrides=[model])
    _, total = parameter_counts(meta_model(recipe))["language_model"]
    assert total == PUBLISHED[name]


@pytest.mark.slow
def test_all_that_papers_recipes_name_is_known():
    for name in shipped_recipes():
        recipe = load_recipe(name, scale="paper")
        if not recipe.stage or recipe.model is None:
            continue
        known = recipe.model.language_model in LANGUAGE_MODELS
        assert known or built_in(recipe.model.language_model) is not None, name
        for stage in recipe.stage:
            sources = {data.records for data in stage.data if not is_generated(data.records)}
            assert {source.rsplit("/", 1)[-1] for source in sources} <= {*RECORDS}, name
        assert assumed_visual_tokens(recipe)[0] > 0, name


# Parameters of the vision towers alone, without a text tower, in millions, as their papers have it.
TOWER_MILLIONS = {
    "aimv2_336": 309, "clip336": 304, "mlcd336": 304, "rice336": 303, "rice378": 303,
    "rice560": 303, "siglip2_384": 428, "siglip2_560": 429, "siglip384": 428,
}  # fmt: skip


@pytest.mark.parametrize(("tower", "side"), [
    ("aimv2_336", 24), ("clip336", 24), ("mlcd336", 24), ("rice336", 24), ("rice378", 27),
    ("rice560", 40), ("siglip2_384", 27), ("siglip2_560", 35), ("siglip384", 27),
])  # fmt: skip
def test_the_plans_of_rices_table_1_know_their_towers(tower, side):
    recipe = load_recipe(f"rice/table1_next_{tower}", scale="paper")
    first, second = plan_run(recipe, TrainOptions(), hardware("h100x8"))
    assert first.visual == second.visual == 5 * side * side  # four tiles and the whole
    learns, total = second.parts["encoder"]
    assert learns == total
    assert total / 1e6 == pytest.approx(TOWER_MILLIONS[tower], abs=0.6)
    assert "as of a photo of 640 x 480" in " ".join(second.assumed)


@pytest.mark.parametrize(("tower", "side"), [("rice378", 27), ("siglip384", 27)])
def test_the_plans_of_llava_onevision_choose_a_grid_of_tiles(tower, side):
    recipe = load_recipe(f"rice/table1_onevision_{tower}", scale="paper")
    plans = plan_run(recipe, TrainOptions(), hardware("h100x8"))
    assert {plan.visual for plan in plans} == {5 * side * side}


def test_a_papers_plan():
    recipe = load_recipe("study/table1_clip_cluster_rms", scale="paper")
    first, second = plan_run(recipe, TrainOptions(), hardware("h100x8"))
    assert (first.samples, second.samples) == (558_128, 665_298)
    assert (first.steps, second.steps) == (-(-558_128 // 256), -(-665_298 // 128))
    assert first.visual == recipe.expect["tokens"] == 257
    assert (first.measured, first.tokens["median"]) == (0, 257 + 25)
    assert second.tokens["most"] == 2048
    assert second.parts["language_model"] == (6_738_415_616, 6_738_415_616)
    assert second.hours > first.hours > 0
    assert "llava_v1_5_mix665k.json is not here: 665,298 records" in " ".join(second.assumed)
    assert "257 visual tokens an image: the recipe's [expect]" in second.assumed
    assert second.as_dict()["assumed"] == second.assumed


@pytest.mark.parametrize(
    ("changes", "tokens"),
    [
        (["tokenizer.regions=merge(k=64) | sort('com')"], 66),  # CLS and the whole image
        (["tokenizer.regions="], 578),
        (["tokenizer.regions=", "tokenizer.cls=false", "tokenizer.whole=false"], 576),
        (["tokenizer.encoder=radio('nvidia/RADIO-L', size=768)", "tokenizer.regions="], 2306),
    ],
)
def test_tokens_follow_from_the_steps_where_no_table_gives_them(changes, tokens):
    recipe = load_recipe("study/table1_clip_cluster_rms", scale="paper", overrides=changes)
    assert assumed_visual_tokens(recipe.model_copy(update={"expect": {}}))[0] == tokens


def test_records_of_which_nothing_is_known_are_missed(tmp_path):
    (tmp_path / "mine.toml").write_text(
        'extends = "study/table1_clip_patch"\nwhat = "Mine"\n'
        '[every_stage]\ndata = [{ records = "mine.json" }]\n[tokenizer]\nencoder = "filters"\n'
        'cls = false\n[model]\nlanguage_model = "mini"'
    )
    recipe = load_recipe(tmp_path / "mine.toml", scale="paper")
    assert assumed.assumed_samples(recipe, recipe.stage[0]) is None
