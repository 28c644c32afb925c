"""`regiontok export`, as it is typed."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip("transformers", minversion="5.18")

from transformers import AutoModelForCausalLM

from regiontok.cli.app import app
from regiontok.core.picture import Picture
from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.vlm import RegionVLM
from regiontok.serve.prompt_rows import PromptWriter
from regiontok.serve.vllm_requests import exported_rows, read_manifest
from regiontok.settings.recipe import TokenizerSettings
from samples.models import IMAGE
from samples.pictures import blurred_photo


def run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result, result.stdout.strip().splitlines()


@torch.no_grad()
def test_as_lm_writes_a_language_model_that_reads_the_written_tokens(tmp_path):
    settings = TokenizerSettings(encoder="filters(size=56)", regions="merge(0.7)")
    language_model = mini_language_model(width=32, layers=1, heads=2)
    model = RegionVLM.from_parts(language_model, settings, image_token_id=IMAGE).eval()
    model.save_pretrained(tmp_path / "model")
    RegionVLMProcessor(mini_tokenizer()).save_pretrained(tmp_path / "model")
    blurred_photo(0, (40, 90)).save(tmp_path / "0.png")
    Image.new("RGB", (30, 30), "red").save(tmp_path / "1.png")
    photos = [tmp_path / "0.png", tmp_path / "1.png"]
    out, lm = tmp_path / "tokens", tmp_path / "lm"
    words = ["export", tmp_path / "model", *photos, "--as-lm", lm, "--out", out]
    result, lines = run(*words, "--dtype", "float32")
    assert result.exit_code == 0, result.output
    said = json.loads(lines[-1])
    assert (said["command"], said["images"], said["equal"]) == ("export", 2, False)

    alone = AutoModelForCausalLM.from_pretrained(lm, dtype="float32").eval()
    writer = PromptWriter(lm)
    ids = torch.tensor([writer.tokenizer("<image>Why?").input_ids])
    counts = set()
    for photo, (_, tokens) in zip(photos, exported_rows(out, read_manifest(out)), strict=True):
        counts.add(len(tokens))
        rows = writer.every_row(writer.prompt("<image>Why?", [tokens]))
        expected = model(ids, torch.ones_like(ids), [Picture.of(photo)]).logits
        torch.testing.assert_close(alone(inputs_embeds=rows[None]).logits, expected)
    assert len(counts) == 2

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    words[words.index(lm)] = tmp_path / "mine"
    result, _ = run(*words, "--overwrite")
    assert result.exit_code == 2
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
