"""Plans: parameters, memory and time by formulas one can check by hand, and against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regiontok.settings.recipe import ModelSettings, Stage, resolve
from regiontok.system.hardware import MFU, hardware
from regiontok.train.batching import Division, divide_batch
from regiontok.train.build import (
    build_model,
    check_stages,
    load_tokenizer,
    loads_bfloat16,
    meta_model,
)
from regiontok.train.estimate import (
    Shape,
    activation_bytes,
    most_samples,
    sample_operations,
    shape_of,
    stage_memory,
)
from regiontok.train.options import TrainOptions
from regiontok.train.parts import merge_lora, parameter_counts, parameter_groups, set_trainable
from regiontok.train.plan import plan_run
from regiontok.train.stage_data import load_stage_data
from samples.models import OTHER_FAMILIES

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
        "stage": [{**STAGE, **changes} for changes in stages or ({},)],
    }
    return resolve(table, name="toy")


@pytest.mark.parametrize(
    ("family", "feed_forward"),
    [("bloom", 128), ("ctrl", 48), ("gpt2", 128), ("mamba", 64), ("mpt", 128), ("opt-350m", 48)],
)
def test_the_sizes_of_other_families(family, feed_forward):
    shape = Shape.of(OTHER_FAMILIES[family]().config)
    assert (shape.width, shape.queries, shape.feed_forward) == (32, 32, feed_forward)


def test_a_meta_model_has_the_parameters_of_the_model_and_no_weights():
    adapted = {"name": "two", "train": ["connector", "language_model"], "lora": {"rank": 2}}
    toy = recipe({}, adapted)
    on_meta, real = meta_model(toy), build_model(toy).model
    assert all(parameter.is_meta for parameter in on_meta.parameters())
    for stage in toy.stage:
        on_meta, real = set_trainable(on_meta, stage), set_trainable(real, stage)
        assert parameter_counts(on_meta) == parameter_counts(real)
        on_meta, real = merge_lora(on_meta), merge_lora(real)
    assert parameter_counts(real)["connector"][1] == 320 * 32 + 32 + 32 * 32 + 32


def test_memory_of_a_7b_by_hand():
    """Vicuna-7B in full on one device: 6.74 billion weights, 16 bytes each."""
    shape = Shape(
        layers=32, width=4096, queries=4096, keys=4096, feed_forward=11008, vocabulary=32000
    )
    layer = 2 * (6 * 4096 + 3 * 4096 + 3 * 4096 + 4 * 11008) + 8 * 4096
    logits = 10 * 32000
    plain = activation_bytes(shape, 1000, number_bytes=2, checkpointing=False)
    assert plain == 1000 * (32 * layer + logits)
    checkpointed = activation_bytes(shape, 1000, number_bytes=2, checkpointing=True)
    assert checkpointed == 1000 * (32 * 2 * 4096 + layer + logits)


def test_memory_counts_what_learns_and_divides_it():
    toy = recipe({"train": ["connector"]})
    model = set_trainable(meta_model(toy), toy.stage[0])
    (connector, connector_total) = parameter_counts(model)["connector"]
    (learning, frozen) = parameter_counts(model)["language_model"]
    assert (connector, learning) == (connector_total, 0)
    whole = stage_memory(model, toy.stage[0], 0, half=True)
    assert whole.weights == 4 * connector + 2 * frozen
    assert (whole.gradients, whole.optimiser) == (4 * connector, 8 * connector)
    quarter = stage_memory(model, toy.stage[0], 0, half=True, devices=4)
    assert quarter.total == whole.total / 4


def test_activations_are_near_what_torch_keeps_for_the_backward_pass():
    toy = recipe({"train": ["connector", "language_model"]})
    built = build_model(toy)
    model = set_trainable(built.model, toy.stage[0])
    data = load_stage_data(
        toy, toy.stage[0], tokenizer=built.tokenizer, placeholder=model.config.image_token_id
    )
    batch = data.collate([data.dataset[row] for row in data.rows_of_step(0)])
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved_bytes = {}

    def save(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved_bytes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        model.train()(**batch, use_cache=False)
    spliced = model.spliced(batch["input_ids"], batch["attention_mask"], batch["pictures"])
    tokens = int(spliced.mask.numel())
    formula = activation_bytes(shape_of(model), tokens, number_bytes=4, checkpointing=False)
    assert 0.7 < formula / sum(saved_bytes.values()) < 1.4


def test_operations_of_a_sample():
    toy = recipe(
        {"train": ["connector"]},
        {"name": "two", "train": ["connector", "language_model"], "checkpointing": True},
    )
    model = meta_model(toy)
    # the embedding is tied: it is multiplied by at the end
    language_model = parameter_counts(model)["language_model"][1]
    connector = parameter_counts(model)["connector"][1]
    attention = 2 * 10 * 32 * 2
    forward = 2 * language_model + attention
    set_trainable(model, toy.stage[0])
    expected = 10 * (2 * forward + attention + 2 * connector)
    assert sample_operations(model, toy.stage[0], 10) == expected
    set_trainable(model, toy.stage[1])
    expected = 10 * (3 * forward + attention + 2 * (language_model + connector))
    assert sample_operations(model, toy.stage[1], 10) == expected


def test_the_plan_of_a_run_is_what_the_run_does():
    adapted = {"name": "two", "train": ["connector", "language_model"], "lora": {"rank": 2}}
    toy = recipe({"steps": None, "epochs": 2.0}, adapted)
    first, second = plan_run(toy, TrainOptions(held_out=2), hardware("rtx4090x2"))
    built = build_model(toy)
    data = load_stage_data(toy, toy.stage[0], tokenizer=built.tokenizer, placeholder=3, held_out=2)
    assert first.steps == data.steps == 6
    assert first.samples == data.samples == 10
    assert first.tokens["most"] == data.measure.lengths.max()
    assert first.visual == 2.0
    assert first.division == Division(processes=2, per_device=2, accumulate=1)
    assert first.fits
    # rank x layers x (in + out) of 7 matrices
    assert second.parts["language_model"][0] == 2 * 2 * (4 * (32 + 32) + 3 * (32 + 128))
    assert first.hours > 0
    assert first.as_dict()["total"] == first.memory.total


def test_a_sampled_plan_measures_few_and_counts_all():
    (plan,) = plan_run(recipe({"steps": None}), TrainOptions(), hardware("h100"), samples=3)
    assert (plan.measured, plan.samples, plan.steps) == (3, 12, 3)


def test_packed_plans_count_rows():
    packed = recipe({"steps": None, "pack": True, "max_length": 400, "batch": 1})
    (plan,) = plan_run(packed, TrainOptions(), hardware("h100"))
    assert plan.steps == np.ceil(12 * plan.tokens["mean"] / 400 / 0.98)


def test_divided_weights_are_planned_by_the_same_option_as_they_are_trained_with():
    toy = recipe({"train": ["connector", "language_model"]})
    (whole,), (divided,) = (
        plan_run(toy, TrainOptions(shard=shard), hardware("h100x4")) for shard in (False, True)
    )
    assert divided.memory.weights == whole.memory.weights / 4
    assert divided.memory.activations == whole.memory.activations


def test_more_memory_holds_more_samples_and_a_batch_is_met_exactly():
    toy = recipe({"train": ["connector", "language_model"]})
    model = set_trainable(meta_model(toy), toy.stage[0])
    few, many = (
        most_samples(model, toy.stage[0], row=100, memory=memory, half=False)
        for memory in (2e7, 2e8)
    )
    assert 1 <= few < many
    assert divide_batch(12, processes=2, most_per_device=4) == Division(2, 3, 2)
    assert divide_batch(7, most_per_device=4) == Division(1, 1, 7)
    with pytest.raises(ValueError, match="a batch of 6 cannot be shared equally by 4 processes"):
        divide_batch(6, processes=4, most_per_device=4)


def test_every_sample_of_a_batch_goes_to_one_process_once():
    division = divide_batch(12, processes=2, most_per_device=4)
    batch = list(range(12))
    micro_batches = [rows for rank in (0, 1) for rows in division.micro_batches(batch, rank)]
    assert sorted(sample for rows in micro_batches for sample in rows) == batch
    assert all(len(rows) == 3 for rows in micro_batches)


def test_hardware_is_known_by_name():
    assert hardware("h100x4").peak == 989e12
    assert 0.3 <= MFU <= 0.5
    with pytest.raises(ValueError, match=r"unknown hardware 'h101' \(did you mean 'h100'\?\)"):
        hardware("h101")


def test_groups_have_their_parts_rates_and_only_matrices_decay():
    toy = recipe(
        {
            "train": ["connector", "language_model"],
            "rates": {"language_model": 2e-5},
            "weight_decay": 0.1,
        }
    )
    model = set_trainable(build_model(toy).model, toy.stage[0])
    groups = {
        (group["part"], group["weight_decay"]): group
        for group in parameter_groups(model, toy.stage[0])
    }
    assert {key: group["lr"] for key, group in groups.items()} == {
        ("connector", 0.1): 1e-3,
        ("connector", 0.0): 1e-3,
        ("language_model", 0.1): 2e-5,
        ("language_model", 0.0): 2e-5,
    }
    for (_, weight_decay), group in groups.items():
        if weight_decay:
            assert all(parameter.ndim >= 2 for parameter in group["params"])
    grouped = sum(len(group["params"]) for group in groups.values())
    assert grouped == len(list(model.parameters()))


def test_bfloat16_is_for_frozen_language_models_on_a_gpu():
    trained = recipe({"train": ["language_model"], "precision": "bf16"})
    frozen = recipe({"precision": "bf16"})
    assert loads_bfloat16(frozen, cuda=True)
    assert not loads_bfloat16(frozen, cuda=False)
    assert not loads_bfloat16(trained, cuda=True)
    assert not loads_bfloat16(recipe({"precision": "fp32"}), cuda=True)


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
        check_stages(recipe(stage))


def test_a_recipe_without_stages_is_refused():
    with pytest.raises(ValueError, match="has no \\[\\[stage\\]\\]: nothing to train"):
        check_stages(resolve({"what": "x"}, name="toy"))


def test_an_encoder_without_weights_cannot_learn():
    with pytest.raises(ValueError, match="filters"):
        build_model(recipe({"train": ["encoder"]}))
    stage = Stage(name="one", data=[], train=["encoder"])
    with pytest.raises(
        ValueError,
        match="trains the encoder, but the model holds no weights of it: "
        "build it with tune_encoder",
    ):
        set_trainable(build_model(recipe()).model, stage)


def test_mini_takes_sizes():
    assert len(load_tokenizer(ModelSettings(language_model="mini(width=32)"))) == 260
    closed = recipe(language_model="mini(width=24, heads=2, vocabulary='world')")
    built = build_model(closed)
    assert len(built.tokenizer) == built.model.config.language_config.vocab_size > 500
    with pytest.raises(ValueError, match=r"vocabulary must be.*not 'word'|'word'"):
        load_tokenizer(ModelSettings(language_model="mini(vocabulary='word')"))
    with pytest.raises(ValueError, match="mini takes width, layers, heads, inner and"):
        build_model(recipe(language_model="mini(depth=3)"))
