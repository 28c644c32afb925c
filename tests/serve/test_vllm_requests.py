"""Tokens of families as `image_embeds`: what vLLM does with a request, done by transformers.

vLLM itself is not run here. What is taken from it (0.32): the placeholder of a prompt becomes as
many as the tensor has rows; without a grid the positions count tokens; with a grid of [1, 2, 2k]
patches a Qwen-VL lays k tokens at (s, s, s), (s, s, s + 1) ... and the text goes on at s + k; and
the rows of Qwen3-VL hold the levels side by side.
"""

from __future__ import annotations

import pytest
import torch

transformers = pytest.importorskip("transformers", minversion="5.18")

from regiontok.data.collect import collect  # noqa: E402
from regiontok.released.family import ImageTokens  # noqa: E402
from regiontok.released.loading import from_vlm  # noqa: E402
from regiontok.released.ready_tokens import visual_outputs  # noqa: E402
from regiontok.serve.export import Export  # noqa: E402
from regiontok.serve.token_source import NotServed, open_token_source  # noqa: E402
from regiontok.serve.vllm_requests import (  # noqa: E402
    UnusableExport,
    answering,
    read_manifest,
    requests,
    serving,
)
from samples.internvl_family import tiny_internvl  # noqa: E402
from samples.llava_family import tiny_llava_family  # noqa: E402
from samples.pictures import blurred_photo  # noqa: E402
from samples.qwen_family import tiny_qwen_family  # noqa: E402

QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
MODELS = {
    "llava_next": (lambda: tiny_llava_family("llava_next"), "<s>What <image> is?"),
    "llava_onevision": (lambda: tiny_llava_family("llava_onevision"), "<s>What <image> is?"),
    "internvl": (tiny_internvl, "What <IMG_CONTEXT> is?"),
    "qwen2_vl": (lambda: tiny_qwen_family("qwen2_vl"), f"What {QWEN_IMAGE} is?"),
    "qwen2_5_vl": (lambda: tiny_qwen_family("qwen2_5_vl"), f"What {QWEN_IMAGE} is?"),
    "qwen3_vl": (lambda: tiny_qwen_family("qwen3_vl"), f"What {QWEN_IMAGE} is?"),
}
KINDS = [
    kind if kind == "qwen3_vl" else pytest.param(kind, marks=pytest.mark.slow) for kind in MODELS
]


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, size in enumerate(((50, 90), (70, 33), (20, 37))):
        blurred_photo(number, size).save(folder / f"{number}.png")
    return folder


def logits_as_vllm(model, ids, data, form, levels):
    """The logits of a request over an expanded prompt, by the untouched model of transformers."""
    rows = data["image_embeds"] if form.grid else data[0]
    values, *deepstack = rows.chunk(1 + levels, 1)
    none = torch.zeros(0)
    tokens = ImageTokens(values, tuple(deepstack), none, none, none, ())
    options = {}
    is_image = ids[0] == model.config.image_token_id
    if form.grid:
        assert int(data["image_grid_thw"].prod()) == 4 * len(rows)
        # vLLM counts positions by the grid, as transformers does
        options["position_ids"], _ = model.model.get_rope_index(
            input_ids=ids,
            mm_token_type_ids=is_image[None].int(),
            image_grid_thw=data["image_grid_thw"],
        )
    with torch.no_grad():
        return model(input_ids=ids, mm_encoder_outputs=visual_outputs([tokens]), **options).logits


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_has_the_logits_of_transformers(kind, photos, tmp_path):
    make, prompt = MODELS[kind]
    for saved in make():
        saved.save_pretrained(tmp_path / "model")
    spec = "merge(0.6)" if "qwen" in kind else "merge(k=6)"
    source = open_token_source(str(tmp_path / "model"), regions=spec)
    run = Export(source, tmp_path / "out", dtype="float32")
    list(run.run(collect([str(photos)])))
    manifest = read_manifest(tmp_path / "out")
    assert not run.failed
    options = serving(manifest, text=64)
    expected_limits = {"image": 1 if kind == "qwen3_vl" else 0, "video": 0}
    if kind == "llava_next":
        del expected_limits["video"]
    assert options["limit_mm_per_prompt"] == expected_limits
    vlm = from_vlm(str(tmp_path / "model"), regions=spec)
    assert answering(manifest) == {"logit_bias": {vlm.image_token_id: -100.0}}
    counts = []
    for entry, asked in zip(manifest["images"], requests(tmp_path / "out", prompt), strict=True):
        prepared = vlm.prepare(entry["image"], prompt)
        counts += prepared.counts
        data = asked["multi_modal_data"]["image"]
        ours = logits_as_vllm(vlm.model, prepared.input_ids, data, source.form, source.levels)
        inputs = prepared.inputs()
        if source.form.grid:  # from_vlm lays regions at their centroids; here at vLLM's places
            is_image = prepared.input_ids[0] == vlm.image_token_id
            row = is_image.long().cumsum(0).sub(1).clamp(min=0)
            start = int(is_image.nonzero()[0])
            text = torch.arange(len(is_image))
            width = torch.where(is_image, start + row, text)
            still = torch.where(is_image, start, text)
            inputs["position_ids"] = torch.stack([still, still, width])[:, None]
        with torch.no_grad():
            expected = vlm.model(**inputs).logits
        assert torch.allclose(ours, expected, rtol=0, atol=1e-6)
    assert (len(set(counts)) > 1) == source.form.mixed_counts


def test_families_without_such_a_form_are_refused(tmp_path):
    from samples.paligemma_family import PaliGemma

    assert PaliGemma.server_form is None


def test_different_counts_are_refused_where_the_engine_would_die():
    manifest = {
        "model": "m",
        "model_type": "llava",
        "k": None,
        "most": 9,
        "equal": False,
        "longest": 64,
        "dtype": "bfloat16",
        "form": {"as_lm": True},
    }
    with pytest.raises(UnusableExport, match="at which vLLM's engine dies"):
        serving(manifest, text=5)
    mixed = serving({**manifest, "form": {"grid": True, "video": True}}, text=5, images=2)
    assert mixed["max_model_len"] == 23
    with pytest.raises(UnusableExport, match="2 images of 9 tokens and 50 of text are 68"):
        serving({**manifest, "form": {"grid": True}}, text=50, images=2)
    assert issubclass(NotServed, ValueError)
