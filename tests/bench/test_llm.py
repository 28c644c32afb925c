"""The formula of bench/llm.py for the bytes of a cache: what a real cache of transformers holds."""

from __future__ import annotations

import pytest
import torch

from samples import benches

transformers = pytest.importorskip("transformers")
pytest.importorskip("matplotlib")

BODY = {
    "vocab_size": 40,
    "intermediate_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "pad_token_id": 0,
}


@pytest.fixture(scope="module")
def bench():
    return benches.load("llm")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("Llama", {"hidden_size": 16, "num_key_value_heads": 4}),
        ("Llama", {"hidden_size": 16, "num_key_value_heads": 2}),  # grouped queries
        # heads wider than hidden / heads
        ("Qwen3", {"hidden_size": 16, "num_key_value_heads": 1, "head_dim": 8}),
    ],
)
def test_bytes_by_formula_are_those_of_a_real_cache(bench, kind, options, dtype):
    config = getattr(transformers, f"{kind}Config")(**BODY, **options)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).to(dtype)
    with torch.no_grad():
        cache = model(torch.ones(2, 11, dtype=torch.int64), use_cache=True).past_key_values
    assert bench.kv_bytes(config, 11, itemsize=dtype.itemsize, batch=2) == bench.cache_bytes(cache)


def test_vicuna_7b_by_hand(bench):
    config = transformers.LlamaConfig(
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=32
    )
    assert bench.kv_bytes(config, 1, itemsize=2) == 512 * 1024  # half a MiB a token
    assert bench.kv_bytes(config, 576, itemsize=2) == 288 * 2**20
    assert bench.kv_bytes(config, 124, itemsize=2) == 62 * 2**20


def test_a_goal_stands_beside_its_figure(bench):
    rows = {
        576: {"batch_16": {"prefill_ms": 300.0, "kv_bytes_image": 576, "adds": 0.0}},
        124: {"batch_16": {"prefill_ms": 100.0, "kv_bytes_image": 124, "adds": 0.04}},
    }
    assert bench.verdict(rows, 16) == [
        "prefill at 124 of 576 tokens, batch 16: 3.00x faster (goal: at least 2.5x)",
        "KV memory of the image: 4.65x smaller (goal: 4.6x)",
        "regions add 4.0% to the encoder (goal: at most 5%)",
    ]
    assert bench.verdict({576: rows[576]}, 16) == []
