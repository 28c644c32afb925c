"""Plans of papers' recipes on a machine without a hub, data or gated models."""

from __future__ import annotations

import pytest

from regiontok.settings.recipe import load_recipe
from regiontok.settings.shipped import shipped_recipes
from regiontok.system.hardware import hardware
from regiontok.train import assumed
from regiontok.train.assumed import LANGUAGE_MODELS, RECORDS, assumed_visual_tokens
from regiontok.train.build import meta_model
from regiontok.train.options import TrainOptions
from regiontok.train.parts import parameter_counts
from regiontok.train.plan import plan_run

# Parameters as the hub shows them, of the language model alone.
PUBLISHED = {
    "lmsys/vicuna-7b-v1.5": 6_738_415_616,
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
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

    monkeypatch.setattr("huggingface_hub.file_download.hf_hub_download", refuse)
    monkeypatch.setattr("transformers.utils.hub.cached_files", refuse)


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
        models = {recipe.model.language_model}
        assert models <= {*LANGUAGE_MODELS} or recipe.model.language_model.startswith("mini"), name
        for stage in recipe.stage:
            files = {data.records.rsplit("/", 1)[-1] for data in stage.data}
            assert files <= {*RECORDS} or all("miniworld" in file for file in files), name
        assert assumed_visual_tokens(recipe)[0] > 0


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
