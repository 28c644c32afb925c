"""Positions between whole numbers, as a server's whole numbers carry them."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("transformers", minversion="5.18")

from transformers import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VLRotaryEmbedding,
    apply_rotary_pos_emb,
)

from regiontok.serve.fixed_point import (
    FRACTION_BITS,
    MOST_POSITIONS,
    AxesRotary,
    decoded_positions,
    encoded_positions,
)


def test_a_position_comes_back_to_the_last_fraction_and_text_as_it_is():
    exact = torch.rand(1000, generator=torch.Generator().manual_seed(0)).double() * 1500
    numbers = encoded_positions(exact)
    assert int(numbers.max()) < 2**31  # a GPU's runner keeps int32
    assert (decoded_positions(numbers.int()) - exact).abs().max() <= 2.0 ** -(FRACTION_BITS + 1)
    text = torch.arange(0, 131_000, 1_000)
    assert decoded_positions(text).tolist() == text.tolist()


def test_positions_that_do_not_fit_are_refused():
    for value in (-0.5, float(MOST_POSITIONS)):
        with pytest.raises(ValueError, match="positions of visual tokens"):
            encoded_positions(torch.tensor([value]))


def test_heads_turn_as_in_transformers():
    torch.manual_seed(0)
    sections, head, tokens = [2, 3, 3], 16, 7
    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 32,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": sections,
                "rope_theta": 1e4,
            },
        }
    ).text_config
    rotary = Qwen2_5_VLRotaryEmbedding(config)
    positions = torch.cat([torch.randint(0, 9, (3, 3)).float(), torch.rand(3, 4) * 9], 1)
    query, key = torch.randn(tokens, 2 * head), torch.randn(tokens, head)
    cosine, sine = rotary(query, positions[:, None])
    by_head = [rows.unflatten(-1, (-1, head)).transpose(0, 1)[None] for rows in (query, key)]
    expected = apply_rotary_pos_emb(*by_head, cosine, sine)
    numbers = torch.cat([positions[:, :3].long(), encoded_positions(positions[:, 3:])], 1)
    turned = AxesRotary(rotary.inv_freq, sections, head)(numbers, query, key)
    for ours, theirs in zip(turned, expected, strict=True):
        flat = theirs[0].transpose(0, 1).flatten(-2)
        torch.testing.assert_close(ours, flat, atol=5e-4, rtol=0)
    with pytest.raises(ValueError, match="rotary pairs"):
        AxesRotary(rotary.inv_freq, [2, 3, 4], head)
