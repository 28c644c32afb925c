"""A family that is not shipped, written after CONTRIBUTING alone and registered by its name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

transformers = pytest.importorskip("transformers", minversion="5.18")

from regiontok.released.loading import from_vlm  # noqa: E402 - after the skip
from regiontok.settings import registry  # noqa: E402
from samples import paligemma_family  # noqa: E402
from samples.models import byte_tokenizer, ready_to_answer  # noqa: E402
from samples.pictures import blurred_photo  # noqa: E402

SIDE, PATCH = 32, 8
PHOTOS = [blurred_photo(1, (40, 62)), blurred_photo(2, (90, 30))]
TEXTS = ["<image>What is it?", "<image>say"]
LAYERS = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """The family is known in this test, as in a process that called `register`."""
    monkeypatch.setitem(registry._REGISTERED, "family", {})
    registry.register("family", "paligemma", "samples.paligemma_family:PaliGemma")


@pytest.fixture(scope="module")
def released():
    """A tiny random PaliGemma and its processor."""
    tokenizer = byte_tokenizer(
        ("<pad>", "</s>", "<bos>", "<image>"), ("begin_token", "image_token")
    )
    tokenizer.bos_token = "<bos>"
    images = transformers.SiglipImageProcessor(size={"height": SIDE, "width": SIDE})
    images.image_seq_length = (SIDE // PATCH) ** 2
    processor = transformers.PaliGemmaProcessor(images, tokenizer)
    text = transformers.GemmaConfig(
        vocab_size=len(tokenizer),
        **LAYERS,
        num_key_value_heads=2,
        head_dim=8,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=None,
    )
    vision = transformers.SiglipVisionConfig(
        **LAYERS, image_size=SIDE, patch_size=PATCH, projection_dim=32, vision_use_head=False
    )
    config = transformers.PaliGemmaConfig(
        text_config=text, vision_config=vision, image_token_index=3, projection_dim=32
    )
    torch.manual_seed(0)
    return ready_to_answer(transformers.PaliGemmaForConditionalGeneration(config)), processor


def test_the_class_is_the_one_that_contributing_shows():
    source = Path(paligemma_family.__file__).read_text(encoding="utf-8")
    code = source[source.index("from collections.abc") :]
    contributing = Path(__file__).parents[2] / "CONTRIBUTING.md"
    assert code in contributing.read_text(encoding="utf-8")


def test_its_name_finds_the_class(released):
    assert "paligemma" in registry.names("family")
    assert isinstance(from_vlm(*released).family, paligemma_family.PaliGemma)


def test_a_model_type_that_nobody_registered_is_refused(released, monkeypatch):
    monkeypatch.setitem(registry._REGISTERED, "family", {})
    with pytest.raises(ValueError, match="model_type 'paligemma' is not one of gemma3, internvl"):
        from_vlm(*released)


@pytest.mark.parametrize("pool_stage", ["before", "after"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_empty_pipeline_is_the_untouched_model(released, side, pool_stage):
    model, processor = released
    vlm = from_vlm(model, processor, pool_stage=pool_stage)
    inputs = processor(
        images=PHOTOS, text=list(TEXTS), padding=True, padding_side=side, return_tensors="pt"
    )
    prepared = vlm.prepare(PHOTOS, TEXTS, side=side)
    assert torch.equal(prepared.input_ids, inputs["input_ids"])
    assert prepared.counts == [16, 16]
    with torch.no_grad():
        assert torch.equal(vlm(prepared).logits, model(**inputs).logits)


@pytest.mark.parametrize("pool_stage", ["before", "after"])
def test_merging_to_k_regions_gives_k_tokens_and_an_answer(released, pool_stage):
    vlm = from_vlm(*released, regions="merge(k=5)", pool_stage=pool_stage)
    prepared = vlm.prepare(PHOTOS, TEXTS)
    assert prepared.counts == [5, 5]
    assert prepared.tokens[0].grids == ((4, 4),)
    assert int((prepared.input_ids == vlm.image_token_id).sum()) == 10
    answers = vlm.generate(prepared, max_new_tokens=3, do_sample=False)
    assert answers.shape == (2, prepared.input_ids.shape[1] + 3)


def test_regions_of_single_patches_project_to_the_models_own_tokens(released):
    whole, regions = (
        from_vlm(*released, regions=text).prepare(PHOTOS[0], TEXTS[0]).tokens[0]
        for text in ("", "windows(16)")
    )
    torch.testing.assert_close(regions.values, whole.values, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_an_installed_family_answers_on_the_command_line(released, tmp_path):
    model, processor = released
    checkpoint, site, photo = tmp_path / "model", tmp_path / "site", tmp_path / "photo.png"
    model.save_pretrained(checkpoint)
    processor.chat_template = (
        "{% for m in messages %}{% for c in m.content %}"
        "{{ '<image>' if c.type == 'image' else c.text }}{% endfor %}{% endfor %}"
    )
    processor.save_pretrained(checkpoint)
    # what `pip install` leaves of a package that declares the family as an entry point
    site.mkdir()
    shutil.copy(paligemma_family.__file__, site / "my_paligemma.py")
    information = site / "my_paligemma-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: my-paligemma\nVersion: 1.0\n"
    )
    (information / "entry_points.txt").write_text(
        "[regiontok.family]\npaligemma = my_paligemma:PaliGemma\n"
    )
    PHOTOS[0].save(photo)
    words = [str(checkpoint), str(photo), "--ask", "What is it?", "--json", "--longest", "4"]
    process = subprocess.run(
        [sys.executable, "-m", "regiontok", "chat", *words, "--regions", "merge(k=5)"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *sys.path])},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    (answer,) = map(json.loads, process.stdout.splitlines())
    assert answer["tokens"]["region"] == 5, answer
