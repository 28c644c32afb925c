"""The visual side of a saved RegionVLM makes the whole model's tokens, and reads nothing else."""

from __future__ import annotations

import pytest
import torch

hub = pytest.importorskip("transformers")

from regiontok.model.eyes import RegionEyes  # noqa: E402
from regiontok.model.vlm import RegionVLM  # noqa: E402
from regiontok.settings.recipe import TokenizerSettings  # noqa: E402
from samples.models import mini_vlm, save_clip_tower, shake  # noqa: E402
from samples.pictures import noise  # noqa: E402
from samples.read_tensors import watch_reading  # noqa: E402

PICTURES = [noise(40, 60), noise(64, 30, seed=1)]
PLAIN = TokenizerSettings(
    encoder="filters(size=56)", regions="merge(0.7)", norm="rms", whole=True, pool="mean"
)
DELIMITED = PLAIN.model_copy(update={"pool": "select", "place_tokens": "delimiter(token='(')"})


def saved(folder, settings, **options) -> RegionVLM:
    model = mini_vlm(settings, **options)
    shake(model)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize(
    ("settings", "options"),
    [(PLAIN, {}), (DELIMITED, {"delimiter_token_id": 44})],
    ids=["plain", "delimiter"],
)
def test_tokens_are_the_whole_models(settings, options, tmp_path, monkeypatch):
    saved(tmp_path, settings, **options)
    model = RegionVLM.from_pretrained(tmp_path).eval()
    read = watch_reading(monkeypatch)
    eyes = RegionEyes.of_folder(tmp_path).eval()
    assert {name.partition(".")[0] for name in read} == {"head"}
    assert all(name.startswith("head.") for name, _ in eyes.named_parameters())
    assert eyes.width == 24
    with torch.no_grad():
        theirs, ours = model.see(PICTURES), eyes.see(PICTURES)
    assert torch.equal(theirs.values, ours.values)
    assert theirs.counts.tolist() == ours.counts.tolist()


@pytest.mark.slow
def test_a_tuned_encoder_comes_along(tmp_path, monkeypatch):
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    tower = save_clip_tower(tmp_path / "clip", side=28, patch_size=14, **sizes)
    settings = TokenizerSettings(encoder=f"transformers('{tower}')", regions="merge(k=2)")
    saved(tmp_path / "model", settings, tune_encoder=True)
    model = RegionVLM.from_pretrained(tmp_path / "model").eval()
    read = watch_reading(monkeypatch)
    eyes = RegionEyes.of_folder(tmp_path / "model").eval()
    assert {name.partition(".")[0] for name in read} == {"head", "vision"}
    with torch.no_grad():
        assert torch.equal(model.see(PICTURES).values, eyes.see(PICTURES).values)


def test_a_checkpoint_without_its_head_is_refused(tmp_path):
    language_model = mini_vlm(PLAIN).language_model
    language_model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="not a 'regiontok_vlm' one"):
        RegionEyes.of_folder(tmp_path)


def test_the_language_models_embeddings_are_not_there(tmp_path):
    saved(tmp_path, PLAIN)
    with pytest.raises(ValueError, match="the language model was left out"):
        RegionEyes.of_folder(tmp_path).get_input_embeddings()
