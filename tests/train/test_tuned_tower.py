"""Row R9: a tiny MLCD and a tiny Qwen2 through the recipe's second stage, which tunes the tower."""

from __future__ import annotations

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from regiontok.model.mini import mini_tokenizer
from regiontok.rice.export import save
from regiontok.rice.vit import ViT, ViTConfig
from regiontok.settings.recipe import load_recipe
from regiontok.train.options import TrainOptions
from regiontok.train.run import train
from samples.tokenizers import CHATML
from samples.training import weights

pytestmark = pytest.mark.slow
PARTS = {"tower": "vision.", "connector": "head.", "language_model": "language_model."}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Folders of a random encoder in MLCD's layout, and of a random Qwen2."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    save(ViT(ViTConfig.named("mini")), folder / "mlcd")
    tokenizer = mini_tokenizer()
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>"})
    tokenizer.chat_template = CHATML
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder / "qwen2")
    tokenizer.save_pretrained(folder / "qwen2")
    return folder


def trained(checkpoints, out, **changes):
    """The recipe, its second stage changed, and the weights that two steps of each stage leave."""
    data = "miniworld(8, size=64, fewest=1, most=1, questions='colour')"
    overrides = [
        f"tokenizer.encoder=\"transformers('{checkpoints / 'mlcd'}', layer=-2, size=32)\"",
        f"model.language_model={str(checkpoints / 'qwen2')!r}",
        f'every_stage.data=[{{ records = "{data}" }}]',
        "every_stage.batch=2",
        "every_stage.steps=2",
        "every_stage.warmup=0.0",
        "every_stage.schedule='constant'",
        "every_stage.precision='fp32'",
    ]
    recipe = load_recipe("rice/table1_next_rice336", scale="paper", overrides=overrides)
    stages = [recipe.stage[0], recipe.stage[1].model_copy(update=changes)]
    recipe = recipe.model_copy(update={"stage": stages})
    train(recipe, out, options=TrainOptions(device="cpu"), recipe_text="as given")
    return recipe, weights(out / "1_alignment"), weights(out / "2_instruction")


def largest_changes(before, after):
    """The largest change of a weight in each part."""
    return {
        part: max(
            float((after[name] - value).abs().max())
            for name, value in before.items()
            if name.startswith(prefix)
        )
        for part, prefix in PARTS.items()
    }


def test_the_tower_moves_at_a_fifth_of_the_rate(checkpoints, tmp_path):
    recipe, before, after = trained(checkpoints, tmp_path / "run")
    assert [stage.rates for stage in recipe.stage] == [{}, {"encoder": 2e-6}]
    changes = largest_changes(before, after)
    # Adam's first steps are as long as the rate where a gradient keeps its sign
    assert changes["language_model"] == pytest.approx(2 * 1e-5, rel=0.05)
    assert changes["connector"] == pytest.approx(2 * 1e-5, rel=0.05)
    assert changes["tower"] == pytest.approx(changes["language_model"] / 5, rel=0.05)


def test_a_tower_of_rate_0_is_a_frozen_one_to_the_last_bit(checkpoints, tmp_path):
    # without a bound, or the tower's gradient would shorten the others
    free = {"max_grad_norm": 1e9, "learning_rate": 1e-3}
    parts = ["connector", "language_model"]
    _, start, still = trained(
        checkpoints, tmp_path / "still", train=[*parts, "encoder"], rates={"encoder": 0.0}, **free
    )
    _, _, frozen = trained(checkpoints, tmp_path / "frozen", train=parts, rates={}, **free)
    assert largest_changes(start, still)["tower"] == 0
    assert any(name.startswith("vision.") for name in still)
    for name, value in frozen.items():
        assert torch.equal(value, still[name]), name
