"""Attention rows kept beside SDPA equal those of eager attention, wherever a row lies."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CLIPVisionConfig,
    Gemma2Config,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
    Qwen3Config,
)
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from regiontok.core.picture import Picture
from regiontok.model.attention import NAME, bytes_kept, text_decoder, watch
from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.region_attention import region_attention
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import TokenizerSettings
from samples.models import tiny_sizes

SIZES = tiny_sizes(vocab_size=50, head_dim=8, eos_token_id=None)
KINDS = {
    "llama": LlamaConfig(**SIZES),
    "qwen3": Qwen3Config(**SIZES),
    "mistral with a window": MistralConfig(**SIZES, sliding_window=5),
    "qwen3 with windows in some layers": Qwen3Config(
        **SIZES,
        use_sliding_window=True,
        sliding_window=4,
        layer_types=["full_attention", "sliding_attention"],
    ),
}


def tiny(config):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    # attention of fresh weights is nearly uniform, and would hide a wrong row
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "q_proj" in name or "k_proj" in name:
                weight.mul_(20)
    return model


@pytest.fixture(params=list(KINDS))
def model(request):
    return tiny(KINDS[request.param])


def eager(model, ids, mask=None):
    """`[layers b heads s s]`; rows and columns of padding are 0."""
    model.set_attn_implementation("eager")
    with torch.no_grad():
        attention = torch.stack(
            model(ids, mask, output_attentions=True, use_cache=False).attentions
        )
    model.set_attn_implementation("sdpa")
    return attention


def batch(padded=0):
    ids = torch.randint(3, 50, (2, 12), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    ids[0, :padded], mask[0, :padded] = 0, 0
    return ids, mask


@pytest.mark.parametrize("padded", [0, 4])
def test_rows_equal_eager_and_logits_equal_sdpa(model, padded):
    ids, mask = batch(padded)
    with torch.no_grad():
        plain = model(ids, mask).logits
        with watch(model, rows=[5, 8, -1]) as seen:
            watched = model(ids, mask).logits
    torch.testing.assert_close(
        seen.attention(), eager(model, ids, mask)[..., [5, 8, 11], :], atol=1e-6, rtol=0
    )
    assert torch.equal(watched, plain)
    assert float(seen.attention()[:, 0, ..., :padded].sum()) == 0


def test_rows_of_each_sequence_by_itself(model):
    ids, mask = batch(4)
    with watch(model, rows=torch.tensor([[5, 9], [2, 11]])) as seen, torch.no_grad():
        model(ids, mask)
    whole = eager(model, ids, mask)
    expected = torch.stack([whole[:, 0][..., [5, 9], :], whole[:, 1][..., [2, 11], :]], 1)
    torch.testing.assert_close(seen.attention(), expected, atol=1e-6, rtol=0)


def test_only_some_keys_of_rows_that_stay_normalised_over_all(model):
    ids, mask = batch()
    with watch(model, keys=[3, 10, 7]) as seen, torch.no_grad():
        model(ids, mask)
    torch.testing.assert_close(
        seen.attention(), eager(model, ids, mask)[..., [11], :][..., [3, 10, 7]], atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("padded", [0, 4])
def test_decode_steps_equal_eager_of_the_whole_sequence(model, padded):
    ids, mask = batch(padded)
    plain = model.generate(ids, attention_mask=mask, max_new_tokens=6, do_sample=False)
    with watch(model) as seen:
        out = model.generate(ids, attention_mask=mask, max_new_tokens=6, do_sample=False)
    assert torch.equal(out, plain)
    read = out[:, :-1]  # the last token is never read
    whole = eager(model, read, torch.cat([mask, mask.new_ones(2, 5)], 1))
    torch.testing.assert_close(seen.attention(), whole[..., 11:17, :], atol=2e-6, rtol=0)
    assert torch.allclose(seen.attention().sum(-1), torch.ones(()), atol=1e-5)


def test_a_cache_of_fixed_length(model):
    ids, mask = batch()
    with watch(model) as seen:
        out = model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=4,
            do_sample=False,
            cache_implementation="static",
        )
    torch.testing.assert_close(
        seen.attention(), eager(model, out[:, :-1])[..., 11:15, :], atol=2e-6, rtol=0
    )


def test_a_second_turn_from_the_cache(model):
    ids, _ = batch()
    with torch.no_grad():
        cache = model(ids[:, :7], use_cache=True).past_key_values
        with watch(model, rows=[8, 11]) as seen:
            model(ids[:, 7:], past_key_values=cache)
    torch.testing.assert_close(
        seen.attention(), eager(model, ids)[..., [8, 11], :], atol=2e-6, rtol=0
    )


def test_everything_is_restored_also_after_an_error(model):
    hooks = len(model.model._forward_pre_hooks)
    with watch(model):
        assert model.config._attn_implementation == NAME
    with pytest.raises(RuntimeError, match="stop"), watch(model):
        raise RuntimeError("stop")
    assert model.config._attn_implementation == "sdpa"
    assert len(model.model._forward_pre_hooks) == hooks
    model.set_attn_implementation("eager")
    with watch(model):
        pass
    assert model.config._attn_implementation == "eager"


def test_two_models_are_watched_at_once_and_one_only_once():
    first, second = tiny(KINDS["llama"]), tiny(KINDS["qwen3"])
    ids, _ = batch()
    with watch(first) as of_first, watch(second) as of_second, torch.no_grad():
        first(ids)
        with pytest.raises(ValueError, match="being watched already"), watch(first):
            pass
        assert (len(of_first.steps), len(of_second.steps)) == (1, 0)
    assert first.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("padded", [0, 4])
def test_a_soft_cap_is_computed_as_eager_attention_does(padded):
    """Gemma2 has no SDPA: with grouped queries, a window, and a cap that matters."""
    config = Gemma2Config(
        **SIZES, sliding_window=5, attn_logit_softcapping=2.0, query_pre_attn_scalar=8
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "q_proj" in name or "k_proj" in name:
                weight.mul_(20)
    ids, mask = batch(padded)
    with torch.no_grad():
        plain = model(ids, mask, output_attentions=True, use_cache=False)
        with watch(model, rows=[5, 8, -1]) as seen:
            watched = model(ids, mask).logits
    expected = torch.stack(plain.attentions)[..., [5, 8, 11], :]
    torch.testing.assert_close(seen.attention(), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(watched[:, -1], plain.logits[:, -1], atol=1e-5, rtol=0)
    assert model.config._attn_implementation == "eager"


def test_what_cannot_be_watched_is_said(model):
    ids, _ = batch()
    with pytest.raises(ValueError, match=r"not all among the 12 tokens"), watch(model, rows=[12]):
        model(ids)
    with (
        pytest.raises(ValueError, match="given for 3 sequences"),
        watch(model, rows=torch.zeros(3, 1, dtype=torch.int64)),
    ):
        model(ids)
    with (
        pytest.raises(ValueError, match=r"columns are \[r\] or \[b r\]"),
        watch(model, rows=torch.zeros(1, 1, 1)),
    ):
        pass
    with watch(model) as seen:
        pass
    with pytest.raises(ValueError, match="call the model inside"):
        seen.attention()
    with pytest.raises(ValueError, match="no decoder of text"), watch(torch.nn.Linear(2, 2)):
        pass


def test_a_region_vlm_and_its_visual_columns():
    tokenizer = mini_tokenizer()
    visual = TokenizerSettings(encoder="filters(size=112)", regions="merge(k=4)", whole=True)
    language_model = mini_language_model(width=48, layers=2, heads=4)
    model = RegionVLM.from_parts(
        language_model, visual, image_token_id=tokenizer.image_token_id
    ).eval()
    tokens = model.see(
        [Picture.of((torch.arange(64 * 64 * 3) % 251).view(64, 64, 3).to(torch.uint8))]
    )
    ids = tokenizer(
        "<s>user: <image> what?", return_tensors="pt", add_special_tokens=False
    ).input_ids
    columns = (model.spliced(ids, None, tokens).visual[0] >= 0).nonzero()[:, 0]
    with watch(model, keys=columns) as seen:
        model.generate(ids, None, tokens, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    assert seen.attention().shape == (2, 1, 4, 3, 5)
    assert text_decoder(model) is language_model.model
    shares = region_attention(seen.attention()[:, 0], tokens, 4)
    assert shares.regions.shape == (4,)
    assert shares.whole > 0 == shares.cls
    assert shares.visual + shares.text == pytest.approx(1)
    assert shares.visual == pytest.approx(float(seen.attention().sum(-1).mean()), abs=1e-6)


def test_a_released_vlm_keeps_its_vision_tower_as_it_is():
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
    )
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=LlamaConfig(**SIZES), image_token_index=49)
    ).eval()
    pixels, ids = torch.rand(1, 3, 28, 28), torch.tensor([[5, 49, 49, 49, 49, 6, 7]])
    model.set_attn_implementation("eager")
    with torch.no_grad():
        expected = torch.stack(model(ids, pixel_values=pixels, output_attentions=True).attentions)
        with watch(model, rows=[-2, -1]) as seen:
            assert model.config.vision_config._attn_implementation == "eager"
            model(ids, pixel_values=pixels)
    torch.testing.assert_close(seen.attention(), expected[..., 5:, :], atol=1e-6, rtol=0)
    assert model.config.text_config._attn_implementation == "eager"


def test_bytes_are_what_is_kept(model):
    ids, mask = batch()
    with watch(model, rows=[3, 4, 5]) as seen, torch.no_grad():
        model(ids, mask)
    total = sum(rows.numel() * rows.element_size() for rows in seen.steps[0].values())
    assert total == bytes_kept(model.config, rows=3, keys=12, sequences=2)


def test_the_mask_function_is_registered():
    assert NAME in ALL_MASK_ATTENTION_FUNCTIONS.valid_keys()
