"""Plans: parameters, memory and time by formulas one can check by hand, and against what torch
keeps and learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regiontok.settings.recipe import ModelSettings, Stage, resolve
from regiontok.system.hardware import MFU, hardware
from regiontok.train.batching import Division, divide
from regiontok.train.build import (
    build,
    choose,
    counts,
    groups,
    is_half,
    merged,
    settings_of,
    sketch,
    tokenizer_for,
)
from regiontok.train.dry import plan_run
from regiontok.train.feed import feed
from regiontok.train.options import Options
from regiontok.train.plan import Shape, activations, memory, most_samples, operations, shape_of

STAGE = {
    "name": "one",
    "data": [{"records": "miniworld(12, size=64)"}],
    "batch": 4,
    "steps": 4,
    "precision": "fp32",
}


def recipe(*stages, **model):
    table = {
        "what": "test",
        "tokenizer": {"encoder": "filters(size=56)", "regions": "windows(2)"},
        "model": {"language_model": "mini(width=32, layers=2, heads=2)", **model},
        "stage": [{**STAGE, **stage} for stage in stages or ({},)],
    }
    return resolve(table, name="toy")


def test_a_sketch_has_the_parameters_of_the_model_and_no_weights():
    made = recipe(
        {}, {"name": "two", "train": ["connector", "language_model"], "lora": {"rank": 2}}
    )
    drawn, real = sketch(made), build(made).model
    assert all(parameter.is_meta for parameter in drawn.parameters())
    for stage in made.stage:
        drawn, real = choose(drawn, stage), choose(real, stage)
        assert counts(drawn) == counts(real)
        drawn, real = merged(drawn), merged(real)
    assert counts(real)["connector"][1] == 320 * 32 + 32 + 32 * 32 + 32


def test_memory_of_a_7b_by_hand():
    """Vicuna-7B in full on one device: 6.74 billion weights, 16 bytes each."""
    shape = Shape(layers=32, width=4096, queries=4096, keys=4096, feed=11008, vocabulary=32000)
    layer = 2 * (6 * 4096 + 3 * 4096 + 3 * 4096 + 4 * 11008) + 8 * 4096
    assert activations(shape, 1000, width=2, checkpointing=False) == 1000 * (
        32 * layer + 10 * 32000
    )
    assert activations(shape, 1000, width=2, checkpointing=True) == 1000 * (
        32 * 2 * 4096 + layer + 10 * 32000
    )


def test_memory_counts_what_learns_and_divides_it():
    made = recipe({"train": ["connector"]})
    model = choose(sketch(made), made.stage[0])
    (learn, own), (none, other) = counts(model)["connector"], counts(model)["language_model"]
    assert (learn, none) == (own, 0)
    one = memory(model, made.stage[0], 0, half=True)
    assert (one.weights, one.gradients, one.optimiser) == (
        4 * learn + 2 * other,
        4 * learn,
        8 * learn,
    )
    four = memory(model, made.stage[0], 0, half=True, shards=4)
    assert four.total == one.total / 4


def test_activations_are_near_what_torch_keeps_for_the_backward_pass():
    made = recipe({"train": ["connector", "language_model"]})
    built = build(made)
    model = choose(built.model, made.stage[0])
    rows = feed(
        made, made.stage[0], tokenizer=built.tokenizer, placeholder=model.config.image_token_id
    )
    batch = rows.collate([rows.dataset[row] for row in rows.at(0)])
    kept = {}

    def keep(tensor):
        if not any(
            tensor.untyped_storage().data_ptr() == p.untyped_storage().data_ptr()
            for p in model.parameters()
        ):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.train()(**batch, use_cache=False)
    tokens = int(
        model.spliced(batch["input_ids"], batch["attention_mask"], batch["pictures"]).mask.numel()
    )
    formula = activations(shape_of(model), tokens, width=4, checkpointing=False)
    assert 0.7 < formula / sum(kept.values()) < 1.4


def test_operations_of_a_sample():
    made = recipe(
        {"train": ["connector"]},
        {"name": "two", "train": ["connector", "language_model"], "checkpointing": True},
    )
    model = sketch(made)
    own = counts(model)["language_model"][
        1
    ]  # the embedding is tied: it is multiplied by at the end
    attention = 2 * 10 * 32 * 2
    head = counts(model)["connector"][1]
    assert operations(choose(model, made.stage[0]), made.stage[0], 10) == 10 * (
        2 * (2 * own + attention) + attention + 2 * head
    )
    both = 10 * (3 * (2 * own + attention) + attention + 2 * (own + head))
    assert operations(choose(model, made.stage[1]), made.stage[1], 10) == both


def test_the_plan_of_a_run_is_what_the_run_does():
    made = recipe(
        {"steps": None, "epochs": 2.0},
        {"name": "two", "train": ["connector", "language_model"], "lora": {"rank": 2}},
    )
    plans = plan_run(made, Options(held_out=2), hardware("rtx4090x2"))
    built = build(made)
    rows = feed(made, made.stage[0], tokenizer=built.tokenizer, placeholder=3, held_out=2)
    assert plans[0].steps == rows.steps == 6
    assert plans[0].samples == rows.samples == 10
    assert plans[0].tokens["most"] == rows.measure.lengths.max()
    assert plans[0].visual == 2.0
    assert plans[0].division == Division(world=2, each=2, accumulate=1)
    assert plans[0].fits
    assert plans[1].parts["language_model"][0] == 2 * 2 * (
        4 * (32 + 32) + 3 * (32 + 128)
    )  # rank x layers x (in + out) of 7 matrices
    assert plans[0].hours > 0
    assert plans[0].as_dict()["total"] == plans[0].memory.total


def test_a_sampled_plan_measures_few_and_counts_all():
    (one,) = plan_run(recipe({"steps": None}), Options(), hardware("h100"), samples=3)
    assert (one.measured, one.samples, one.steps) == (3, 12, 3)


def test_packed_plans_count_rows():
    (one,) = plan_run(
        recipe({"steps": None, "pack": True, "max_length": 400, "batch": 1}),
        Options(),
        hardware("h100"),
    )
    assert one.steps == np.ceil(12 * one.tokens["mean"] / 400 / 0.98)


def test_more_memory_holds_more_samples_and_a_batch_is_met_exactly():
    made = recipe({"train": ["connector", "language_model"]})
    model, stage = choose(sketch(made), made.stage[0]), made.stage[0]
    few, many = (
        most_samples(model, stage, row=100, memory_bytes=size, half=False) for size in (2e7, 2e8)
    )
    assert 1 <= few < many
    assert divide(12, world=2, largest=4) == Division(2, 3, 2)
    assert divide(7, largest=4) == Division(1, 1, 7)
    with pytest.raises(ValueError, match="a batch of 6 cannot be shared equally by 4 processes"):
        divide(6, world=4, largest=4)


def test_every_sample_of_a_batch_goes_to_one_process_once():
    division = divide(12, world=2, largest=4)
    parts = [part for rank in (0, 1) for part in division.parts(list(range(12)), rank)]
    assert sorted(sample for part in parts for sample in part) == list(range(12))
    assert all(len(part) == 3 for part in parts)


def test_hardware_is_known_by_name():
    assert hardware("h100x4").peak == 989e12
    assert 0.3 <= MFU <= 0.5
    with pytest.raises(ValueError, match=r"unknown hardware 'h101' \(did you mean 'h100'\?\)"):
        hardware("h101")


def test_groups_have_their_parts_rates_and_only_matrices_decay():
    words = {
        "train": ["connector", "language_model"],
        "rates": {"language_model": 2e-5},
        "weight_decay": 0.1,
    }
    made = recipe(words)
    model = choose(build(made).model, made.stage[0])
    made_groups = {
        (group["part"], group["weight_decay"]): group for group in groups(model, made.stage[0])
    }
    assert {key: group["lr"] for key, group in made_groups.items()} == {
        ("connector", 0.1): 1e-3,
        ("connector", 0.0): 1e-3,
        ("language_model", 0.1): 2e-5,
        ("language_model", 0.0): 2e-5,
    }
    assert all(p.ndim >= 2 for key, group in made_groups.items() if key[1] for p in group["params"])
    assert sum(len(group["params"]) for group in made_groups.values()) == len(
        list(model.parameters())
    )


def test_half_is_for_frozen_language_models_on_a_gpu():
    full, adapted = (
        recipe({"train": ["language_model"], "precision": "bf16"}),
        recipe({"precision": "bf16"}),
    )
    assert is_half(adapted, cuda=True)
    assert not is_half(adapted, cuda=False)
    assert not is_half(full, cuda=True)
    assert not is_half(recipe({"precision": "fp32"}), cuda=True)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"train": []}, "trains nothing"),
        ({"lora": {"rank": 2}}, "has lora but does not train the language_model"),
        ({"rates": {"encoder": 1e-6}}, "learning rate for encoder, which it does not train"),
        ({"steps": 0}, "at least one step"),
        ({"warmup": 3.0}, "warmup is a share"),
        ({"batch": 0}, "a batch holds at least one"),
        ({"name": "a b"}, "different plain names"),
    ],
)
def test_stages_that_cannot_be_trained_are_refused(stage, message):
    with pytest.raises(ValueError, match=message):
        settings_of(recipe(stage))


def test_a_recipe_without_stages_is_refused():
    with pytest.raises(ValueError, match="has no \\[\\[stage\\]\\]: nothing to train"):
        settings_of(resolve({"what": "x"}, name="toy"))


def test_an_encoder_without_weights_cannot_learn():
    with pytest.raises(ValueError, match="filters"):
        build(recipe({"train": ["encoder"]}))
    stage = Stage(name="one", data=[], train=["encoder"])
    with pytest.raises(
        ValueError,
        match="trains the encoder, but the model holds no weights of it: build it with tune_encoder",
    ):
        choose(build(recipe()).model, stage)


def test_mini_takes_sizes():
    assert len(tokenizer_for(ModelSettings(language_model="mini(width=32)"))) == 260
    with pytest.raises(ValueError, match="mini takes width, layers and heads"):
        build(recipe(language_model="mini(depth=3)"))
