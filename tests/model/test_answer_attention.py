"""Rows of an answer equal those of eager attention, for trained and released models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, Qwen3Config

from regiontok.core.picture import Picture
from regiontok.core.tokens import REGION
from regiontok.evaluation.focus import focus_sample, score
from regiontok.evaluation.focus_options import FocusOptions
from regiontok.evaluation.focus_targets import token_overlaps
from regiontok.model.answer_attention import NoAnswer, answer_attention
from regiontok.model.conversation import TrainedConversationModel
from regiontok.model.mini import mini_tokenizer
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.vlm import RegionVLM
from regiontok.released.conversation import ReleasedConversationModel
from regiontok.released.vlm import ReleasedVLM
from regiontok.settings.recipe import TokenizerSettings
from samples.models import tiny_sizes
from samples.released import tiny_llava

SIZES = tiny_sizes(vocab_size=260, head_dim=8)
KINDS = {
    "llama": LlamaConfig(**SIZES),
    "qwen3": Qwen3Config(
        **SIZES,
        use_sliding_window=True,
        sliding_window=6,
        layer_types=["full_attention", "sliding_attention"],
    ),
    "gemma3": Gemma3TextConfig(
        **SIZES,
        sliding_window=6,
        query_pre_attn_scalar=8,
        layer_types=["sliding_attention", "full_attention"],
    ),
}
MESSAGES = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]
PICTURE = Picture.of((np.arange(64 * 64 * 3) % 251).reshape(64, 64, 3).astype(np.uint8), "a.png")


def trained(config, regions="merge(k=4)", **settings):
    torch.manual_seed(0)
    language_model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    with (
        torch.no_grad()
    ):  # attention of fresh weights is nearly uniform, and would hide a wrong row
        for name, weight in language_model.named_parameters():
            if "q_proj" in name or "k_proj" in name:
                weight.mul_(20)
    visual = TokenizerSettings(encoder="filters(size=56)", regions=regions, **settings)
    processor = RegionVLMProcessor(mini_tokenizer())
    model = RegionVLM.from_parts(
        language_model, visual, image_token_id=processor.tokenizer.image_token_id
    )
    return TrainedConversationModel(model.eval(), processor)


@pytest.fixture(scope="module", params=list(KINDS))
def model(request):
    return trained(KINDS[request.param], whole=True)


def eager_rows(model, prepared, answer, first):
    """`[layers heads r t]`, by a call of the language model that is written out."""
    ids = torch.tensor([model._ids(MESSAGES)[0].tolist() + model.tokenizer(answer).input_ids])
    spliced = model.model.spliced(ids, None, prepared.pictures[0].tokens)
    language_model = model.model.language_model
    language_model.set_attn_implementation("eager")
    with torch.no_grad():
        output = language_model(inputs_embeds=spliced.embeds, output_attentions=True)
    language_model.set_attn_implementation("sdpa")
    whole = torch.stack(output.attentions)[:, 0]
    return whole[..., first : first + len(answer), :][..., prepared.visual_columns]


@pytest.mark.parametrize("rows", ["own", "predicting"])
def test_forced_rows_and_their_focus_equal_eager(model, rows):
    prepared = model.prepare(MESSAGES, [PICTURE])
    kept = answer_attention(model, prepared, "red", rows=rows)
    expected = eager_rows(model, prepared, "red", prepared.length - (rows == "predicting"))
    assert (kept.text, kept.pieces) == ("red", ("r", "e", "d"))
    torch.testing.assert_close(kept.rows, expected, atol=1e-6, rtol=0)
    (shown,) = prepared.pictures
    annotation = torch.zeros(64, 64, dtype=torch.bool)
    annotation[8:40, 8:40] = True
    overlaps, options = token_overlaps(shown, annotation), FocusOptions()
    sample = focus_sample(
        kept.rows, shown.tokens, overlaps, options, id="1", image="", question="", answer=""
    )
    targets = (shown.tokens.kind == REGION) & (overlaps.share > options.threshold)
    assert int(targets.sum()) > 0
    focus = float(expected.double().mean((0, 1, 2))[targets].sum())
    assert score(sample, options).focus == pytest.approx(focus, abs=1e-6)
    assert sample.whole > 0


@pytest.mark.parametrize("rows", ["own", "predicting"])
def test_decoded_rows_equal_forced_ones(model, rows):
    prepared = model.prepare(MESSAGES, [PICTURE])
    forced = answer_attention(model, prepared, rows=rows, longest=4)
    decoded = answer_attention(model, prepared, rows=rows, longest=4, capture="decoded")
    assert decoded.pieces == forced.pieces
    torch.testing.assert_close(decoded.rows, forced.rows, atol=2e-6, rtol=0)


def test_the_row_of_the_end(model):
    prepared = model.prepare(MESSAGES, [PICTURE])
    without, with_end = (answer_attention(model, prepared, "no", end=end) for end in (False, True))
    assert with_end.pieces == ("n", "o", "</s>")
    torch.testing.assert_close(with_end.rows[..., :2, :], without.rows, atol=1e-6, rtol=0)


@pytest.mark.parametrize("regions", ["", "windows(4)"])
def test_a_released_model_forced_and_decoded(regions):
    model = ReleasedConversationModel(ReleasedVLM(*tiny_llava(), regions=regions))
    prepared = model.prepare(MESSAGES, [PICTURE])
    assert len(prepared.visual_columns) == (4 if regions else 16)
    forced = answer_attention(model, prepared, longest=3)
    decoded = answer_attention(model, prepared, longest=3, capture="decoded")
    torch.testing.assert_close(decoded.rows, forced.rows, atol=2e-6, rtol=0)


def test_object_guided_tokens_keep_their_patches():
    model = ReleasedConversationModel(
        ReleasedVLM(*tiny_llava(), regions="windows(4)", pool="select")
    )
    tokens = model.prepare(MESSAGES, [PICTURE]).pictures[0].tokens
    assert sorted(tokens.patch.tolist()) == list(range(16))


def test_what_cannot_be_kept_is_said(model):
    prepared = model.prepare(MESSAGES, [PICTURE])
    with pytest.raises(NoAnswer, match="the answer is empty"):
        answer_attention(model, prepared, "")
    with pytest.raises(ValueError, match="decoding keeps rows of the model's own answer"):
        answer_attention(model, prepared, "red", capture="decoded")
