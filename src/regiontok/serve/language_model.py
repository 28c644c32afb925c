"""`regiontok export --as-lm`: the language model of a model that sees, as a plain checkpoint.

A server that knows the language model then answers from rows of prompts, in which the visual tokens
stand among the text's embeddings: any number of them an image, any mix in a batch.

After: vLLM's `prompt_embeds`.
Differs: nothing known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from regiontok.model.config import RegionVLMConfig
from regiontok.model.saved_processor import load_processor
from regiontok.model.vlm import RegionVLM
from regiontok.released.family import Family
from regiontok.released.loading import load_model_and_processor
from regiontok.serve.checkpoint_folder import check_place
from regiontok.serve.token_source import NotServed, check_positions
from regiontok.settings import registry
from regiontok.system.checkpoint import locate, read_json
from regiontok.system.files import replacing
from regiontok.system.pretrained import quiet_transformers
from regiontok.system.strict_json import json_bytes

FACTS = "regiontok_prompts.json"


def write_language_model(
    name: str, out: str | Path, *, dtype: str = "bfloat16", revision: str = ""
) -> dict[str, Any]:
    """Write the language model with tokenizer and chat template; gives what prompts need to know.

    That is also written to `regiontok_prompts.json` beside the weights, for `PromptWriter`.

    Args:
        name: folder of a `RegionVLM` with its tokenizer; or folder or hub name of a released model
            whose language model counts positions (LLaVA, LLaVA-NeXT, LLaVA-OneVision).
        out: the folder to write; it is there whole or not at all.
        dtype: type of the weights.
        revision: branch, tag or commit of a hub name; "" is its main branch.

    Raises:
        NotServed: If rows alone do not give the model's answers.
        ValueError: If there is no such model, or the folder to write holds something else than a
            checkpoint.
    """
    out = Path(out)
    check_place(out)
    folder = locate(name, revision or None)
    config = read_json(folder / "config.json")
    if config.get("model_type") == RegionVLMConfig.model_type:
        language_model, tokenizer, facts = _of_trained(name, folder, dtype)
    else:
        model_type = str(config.get("model_type"))
        language_model, tokenizer, facts = _of_released(name, model_type, dtype, revision)
    text_config = language_model.config.get_text_config()
    facts |= {
        "model": name,
        "vocabulary": int(text_config.vocab_size),
        "longest": getattr(text_config, "max_position_embeddings", None),
        **_embedding_facts(language_model),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as part_folder, quiet_transformers():
        language_model.save_pretrained(part_folder)
        tokenizer.save_pretrained(part_folder)
        (part_folder / FACTS).write_bytes(json_bytes(facts, indent=2))
    return facts


def read_facts(folder: Path) -> dict[str, Any]:
    """What `write_language_model` wrote of a language model beside its weights.

    Raises:
        ValueError: If there is nothing of it.
    """
    if not (folder / FACTS).is_file():
        raise ValueError(f"{folder} has no {FACTS}: write it by `regiontok export --as-lm`")
    return read_json(folder / FACTS)


def _of_trained(name: str, folder: Path, dtype: str) -> tuple[Any, Any, dict[str, Any]]:
    check_positions(folder, name)
    processor = load_processor(folder)
    model = RegionVLM.from_pretrained(folder, dtype=dtype)
    processor.check_model(model.config.image_token_id)
    language_model = model.language_model
    language_model.generation_config = model.generation_config
    processor.tokenizer.chat_template = processor.chat_template
    facts = {
        "image_token": processor.image_token,
        "image_token_id": int(model.config.image_token_id),
        "in_pieces": True,
    }
    return language_model, processor.tokenizer, facts


def _of_released(
    name: str, model_type: str, dtype: str, revision: str
) -> tuple[Any, Any, dict[str, Any]]:
    known = registry.names("family")
    if model_type in known:
        family: type[Family] = registry.load("family", model_type)
        if family.server_form is None or not family.server_form.as_lm:
            raise NotServed(
                f"{name} is a {model_type!r}, whose language model reads more than rows (positions "
                "on several axes, deep-stacked levels, or marks around an image): serve it by "
                "image_embeds"
            )
    model, processor = load_model_and_processor(
        name, known, device="cpu", dtype=dtype, attention=None, revision=revision or None
    )
    tokenizer = processor.tokenizer
    # the processor's knows pictures, and is the one that from_vlm asks by
    tokenizer.chat_template = processor.chat_template or tokenizer.chat_template
    facts = {
        "image_token": processor.image_token,
        "image_token_id": int(model.config.image_token_id),
        "in_pieces": False,
    }
    return _causal(model, name), tokenizer, facts


def _causal(model: Any, name: str) -> Any:
    """The language model inside a released one, with its head, as a causal language model."""
    inner, head = model.model.language_model, model.lm_head
    embedding = inner.get_input_embeddings()
    text_config = model.config.get_text_config()
    with torch.device("meta"):
        causal: Any = AutoModelForCausalLM.from_config(text_config, dtype=model.dtype)
    parts = [getattr(causal, part, None) for part in ("model", "lm_head")]
    if type(parts[0]) is not type(inner) or not isinstance(parts[1], nn.Linear):
        raise NotServed(
            f"{name}: a {type(causal).__name__} has no place for a {type(inner).__name__} and its "
            "head"
        )
    causal.model, causal.lm_head = inner, head
    causal.config.tie_word_embeddings = head.weight is embedding.weight
    causal.generation_config = model.generation_config
    return causal


def _embedding_facts(language_model: Any) -> dict[str, Any]:
    """Where the text's embeddings are in the checkpoint, and whether they are its plain rows.

    Those of Gemma3 come out of their module scaled: then the server must look them up.
    """
    embedding = language_model.get_input_embeddings()
    names = {id(module): name for name, module in language_model.named_modules()}
    ids = torch.arange(min(4, embedding.weight.shape[0]))
    with torch.no_grad():
        plain = torch.equal(embedding(ids), embedding.weight[ids])
    return {
        "width": int(embedding.weight.shape[1]),
        "embedding": f"{names[id(embedding)]}.weight" if plain else None,
    }
