"""A trained model as the start of another: what is taken, what stays fresh, what does not fit."""

from __future__ import annotations

import pytest
import torch

from regiontok.model.mini import mini_language_model
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import TokenizerSettings
from regiontok.train.start import start_from


def model_of(seed=0, pool="mean", **sizes):
    visual = TokenizerSettings(
        encoder="filters(size=56)", regions="windows(4)", norm="rms", pool=pool, seed=seed
    )
    return RegionVLM.from_parts(
        mini_language_model(seed, width=48, heads=2, **{"layers": 1, **sizes}),
        visual,
        image_token_id=3,
    )


def test_weights_are_those_of_the_trained_model(tmp_path):
    trained, fresh = model_of(seed=1), model_of(seed=2)
    trained.save_pretrained(tmp_path)
    assert start_from(fresh, tmp_path) == []
    for name, value in fresh.state_dict().items():
        assert torch.equal(value, trained.state_dict()[name]), name


def test_another_pool_stays_fresh(tmp_path):
    trained, fresh = model_of(seed=1), model_of(seed=2, pool="attend")
    before = {name: value.clone() for name, value in fresh.head.pool.state_dict().items()}
    trained.save_pretrained(tmp_path)
    names = start_from(fresh, tmp_path)
    assert names
    assert all(name.startswith("head.pool.") for name in names)
    for name, value in fresh.head.pool.state_dict().items():
        assert torch.equal(value, before[name])
    assert torch.equal(fresh.head.norm.weight, trained.head.norm.weight)


def test_further_layers_change_nothing_at_first_and_learn(tmp_path):
    trained, grown = model_of(seed=1).eval(), model_of(seed=2, layers=3).eval()
    trained.save_pretrained(tmp_path)
    assert start_from(grown, tmp_path) == []
    ids = torch.tensor([[5, 9, 7, 30]])
    before, after = (model.language_model(ids).logits for model in (trained, grown))
    assert torch.allclose(before, after, atol=1e-5)
    after.square().mean().backward()
    layer = grown.language_model.model.layers[2]
    assert layer.mlp.down_proj.weight.grad.abs().max() > 0
    assert layer.self_attn.o_proj.weight.grad.abs().max() > 0


def test_fewer_layers_are_an_error(tmp_path):
    model_of(layers=2).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"layers\.1\..* does not fit"):
        start_from(model_of(), tmp_path)


def test_another_language_model_is_an_error(tmp_path):
    model_of(inner=32).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="another language model"):
        start_from(model_of(), tmp_path)
    with pytest.raises(ValueError, match=r"has no model\.safetensors"):
        start_from(model_of(), tmp_path / "nothing")
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="cannot be read"):
        start_from(model_of(), tmp_path)
