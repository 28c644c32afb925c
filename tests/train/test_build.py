"""From a recipe to a model: what a language model's folder leaves out, its tokenizer says."""

from __future__ import annotations

import pytest

from regiontok.settings.recipe import resolve
from regiontok.train.build import build_model
from samples.models import tiny_sizes
from samples.tokenizers import llama_like

hub = pytest.importorskip("transformers")


def test_a_built_model_knows_its_padding(tmp_path):
    """Vicuna's and Llama 3's configs name none, and the tokenizer's is then taken."""
    folder = tmp_path / "language_model"
    config = hub.LlamaConfig(**tiny_sizes(vocab_size=500, pad_token_id=None))
    hub.LlamaForCausalLM(config).save_pretrained(folder)
    llama_like().save_pretrained(folder)
    recipe = resolve(
        {
            "what": "test",
            "tokenizer": {"encoder": "filters(size=56)"},
            "model": {"language_model": str(folder), "template": "vicuna_v1"},
            "stage": [{"name": "align", "data": [{"records": "miniworld(4)"}]}],
        },
        name="toy",
    )
    built = build_model(recipe)
    assert built.model.generation_config.pad_token_id == built.tokenizer.pad_token_id == 0
