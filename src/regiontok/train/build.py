"""From a recipe to a model whose right parts learn: language model and tokenizer, stages' parts,
LoRA, groups of parameters.

After: diagnostic study, section 4 (row D13); OG-LLaVA, section 5.1 (row O4: LoRA of rank 128, alpha
256).
Differs: LoRA is merged at the end of its stage, so that every stage's folder holds a plain model.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from regiontok.model.config import RegionVLMConfig
from regiontok.model.delimiters import delimiter_token
from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.vlm import RegionVLM
from regiontok.settings import spec
from regiontok.settings.recipe import ModelSettings, Recipe, Stage
from regiontok.system.need import need
from regiontok.tokenizer.regionizer import build_encoder

IMAGE = "<image>"
# A part's parameters by the start of their name.
PARTS = {"connector": "head.", "encoder": "vision.", "language_model": "language_model."}


@dataclass(frozen=True)
class Built:
    """A model and the tokenizer of its language model, which knows the placeholder."""

    model: RegionVLM
    tokenizer: PreTrainedTokenizerBase


def settings_of(recipe: Recipe) -> ModelSettings:
    """What the recipe says about the model.

    Raises:
        ValueError: a recipe without stages, without a [model], or one that wants what cannot be
            trained here.
    """
    if not recipe.stage:
        raise ValueError(f"{recipe.name} has no [[stage]]: nothing to train")
    names = [stage.name for stage in recipe.stage]
    if len(set(names)) < len(names) or not all(
        name.replace("-", "_").isidentifier() for name in names
    ):
        raise ValueError(
            f"{recipe.name}: stages have different plain names (letters, digits, - and _), not {names}"
        )
    for stage in recipe.stage:
        _check(stage)
    return recipe.model or ModelSettings()


def _check(stage: Stage) -> None:
    if not stage.train:
        raise ValueError(
            f"stage {stage.name!r} trains nothing: name connector, language_model or encoder in `train`"
        )
    if stage.lora and "language_model" not in stage.train:
        raise ValueError(f"stage {stage.name!r} has lora but does not train the language_model")
    if unknown := sorted(set(stage.rates) - set(stage.train)):
        raise ValueError(
            f"stage {stage.name!r} has a learning rate for {', '.join(unknown)}, which it does not train"
        )
    if stage.steps is not None and stage.steps < 1:
        raise ValueError(f"stage {stage.name!r} takes at least one step, not {stage.steps}")
    if not 0 <= stage.warmup < 1:
        raise ValueError(
            f"warmup is a share of the steps in [0, 1), not {stage.warmup} (stage {stage.name!r})"
        )
    if stage.batch < 1:
        raise ValueError(
            f"a batch holds at least one sample, not {stage.batch} (stage {stage.name!r})"
        )


def tokenizer_for(settings: ModelSettings) -> PreTrainedTokenizerBase:
    """The language model's tokenizer with `<image>` as one id (outside the embedding, if it is
    new)."""
    if _is_mini(settings):
        return mini_tokenizer()
    tokenizer = AutoTokenizer.from_pretrained(settings.language_model)
    if IMAGE not in tokenizer.get_vocab():
        tokenizer.add_tokens([IMAGE], special_tokens=True)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = (
            tokenizer.unk_token or tokenizer.eos_token
        )  # as LLaVA; padding is masked and never learned
    return tokenizer


def placeholder_of(tokenizer: Any) -> int:
    """The id that stands for a picture."""
    return int(tokenizer.convert_tokens_to_ids(IMAGE))


def delimiter_of(recipe: Recipe, tokenizer: Any) -> int:
    """The id of the token that delimits masks, -1 if none does.

    Raises:
        ValueError: the tokenizer has no such token.
    """
    token = delimiter_token(recipe.tokenizer)
    if token and token not in tokenizer.get_vocab():
        raise ValueError(
            f"{recipe.name}: the delimiter {token!r} is no token of {(recipe.model or ModelSettings()).language_model}"
        )
    return int(tokenizer.convert_tokens_to_ids(token)) if token else -1


def build(recipe: Recipe) -> Built:
    """A new model: a loaded language model, a fresh connector.

    Weights are float32 where any stage trains them (bfloat16 computes under autocast), else
    bfloat16 if every stage may.
    """
    settings = settings_of(recipe)
    tokenizer = tokenizer_for(settings)
    if _is_mini(settings):
        language_model: PreTrainedModel = _mini(settings, recipe.tokenizer.seed)
    else:
        dtype = torch.bfloat16 if is_half(recipe) else torch.float32
        language_model = AutoModelForCausalLM.from_pretrained(settings.language_model, dtype=dtype)
    model = RegionVLM.from_parts(
        language_model,
        recipe.tokenizer,
        image_token_id=placeholder_of(tokenizer),
        connector=settings.connector,
        tune_encoder=tunes_encoder(recipe),
        positions=settings.positions,
        delimiter_token_id=delimiter_of(recipe, tokenizer),
    )
    model.head.float()  # what learns stays exact
    return Built(model, tokenizer)


def _is_mini(settings: ModelSettings) -> bool:
    return settings.language_model.partition("(")[0] == "mini"


def _mini(settings: ModelSettings, seed: int = 0) -> PreTrainedModel:
    """ "mini", or one of another size: "mini(width=96, layers=2, heads=4)"."""
    (call,) = spec.parse(settings.language_model)
    try:
        return mini_language_model(seed, **dict(call.kwargs))
    except TypeError:
        raise ValueError(
            f"{settings.language_model!r}: mini takes width, layers and heads"
        ) from None


def tunes_encoder(recipe: Recipe) -> bool:
    """True if some stage trains the encoder: then its weights belong to the model from the
    start."""
    return any("encoder" in stage.train for stage in recipe.stage)


def is_half(recipe: Recipe, *, cuda: bool | None = None) -> bool:
    """True if the language model's weights stand in bfloat16: a GPU, bf16 everywhere, and no stage
    trains them in full.

    Under FSDP2 and ZeRO-3 never: what is divided as one has one type, and what learns is float32.
    """
    if any(
        os.environ.get(name, "").lower() == "true"
        for name in ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")
    ):
        return False
    learns = any("language_model" in stage.train and not stage.lora for stage in recipe.stage)
    there = torch.cuda.is_available() and torch.cuda.is_bf16_supported() if cuda is None else cuda
    return there and not learns and all(stage.precision == "bf16" for stage in recipe.stage)


def sketch(recipe: Recipe) -> RegionVLM:
    """The model of a recipe on the meta device: shapes and counts without weights (a hub's config
    is read, nothing more)."""
    settings = settings_of(recipe)
    text = (
        _mini(settings).config
        if _is_mini(settings)
        else AutoConfig.from_pretrained(settings.language_model)
    )
    encoder = build_encoder(recipe.tokenizer.encoder)
    config = RegionVLMConfig(
        text_config=text,
        visual=recipe.tokenizer.model_dump(),
        visual_width=encoder.width,
        connector=settings.connector,
        image_token_id=3,
        tune_encoder=tunes_encoder(recipe),
        positions=settings.positions,
        delimiter_token_id=0 if delimiter_token(recipe.tokenizer) else -1,
    )
    with torch.device("meta"):
        return RegionVLM(config)


def choose(model: RegionVLM, stage: Stage) -> RegionVLM:
    """Let the stage's parts learn, and nothing else; wrap the language model in LoRA if the stage
    says so.

    Raises:
        ValueError: the encoder shall learn, but the model holds none of its weights.
    """
    model.requires_grad_(False)
    if stage.lora:
        peft = need("peft", extra="train")
        linear = {
            name.rpartition(".")[2]
            for name, module in model.language_model.named_modules()
            if isinstance(module, nn.Linear)
        }
        row = model.config.delimiter_token_id
        embedding = next(
            name
            for name, module in model.language_model.named_modules()
            if module is model.get_input_embeddings()
        )
        config = peft.LoraConfig(
            r=stage.lora.rank,
            lora_alpha=stage.lora.alpha,
            lora_dropout=stage.lora.dropout,
            target_modules=sorted(linear - {"lm_head"}),
            # a delimiter of the vocabulary learns: one row, in full
            trainable_token_indices={embedding.rpartition(".")[2]: [row]} if row >= 0 else None,
            task_type="CAUSAL_LM",
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stage.seed)
            model.language_model = peft.get_peft_model(model.language_model, config)
    for part in stage.train:
        learning = [
            (name, p) for name, p in model.named_parameters() if name.startswith(PARTS[part])
        ]
        if not learning:
            raise ValueError(
                f"stage {stage.name!r} trains the {part}, but the model holds no weights of it"
                + (": build it with tune_encoder" if part == "encoder" else "")
            )
        for name, parameter in learning:
            if (
                part != "language_model"
                or not stage.lora
                or "lora_" in name
                or "trainable_tokens" in name
            ):
                parameter.requires_grad_(True)
                parameter.data = parameter.data.float()
    return model


def merged(model: RegionVLM) -> RegionVLM:
    """LoRA's products added to the weights they adapt, the wrapper gone."""
    if hasattr(model.language_model, "merge_and_unload"):
        model.language_model = model.language_model.merge_and_unload()
    return model


def merged_state(model: RegionVLM, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same of a gathered state dict, for a model that no process holds whole: LoRA's products
    added, the wrapper's names gone."""
    scale = {
        name: one.scaling["default"]
        for name, one in model.named_modules()
        if hasattr(one, "lora_A")
    }
    found = {}
    for key, value in state.items():
        if ".lora_" in key:
            continue
        layer, adapted, rest = key.partition(".base_layer.")
        if adapted and rest == "weight":
            high, low = (state[f"{layer}.lora_{part}.default.weight"].float() for part in "BA")
            value = (value.float() + scale[layer] * (high @ low)).to(value.dtype)
        plain = f"{layer}.{rest}" if adapted else key
        found[plain.replace("language_model.base_model.model.", "language_model.", 1)] = value
    return found


def groups(model: nn.Module, stage: Stage) -> list[dict[str, Any]]:
    """Parameter groups for AdamW: a learning rate a part; weight decay for matrices only (norms,
    biases and queries have none)."""
    made: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = next(part for part, start in PARTS.items() if name.startswith(start))
            made.setdefault((part, parameter.ndim >= 2), []).append(parameter)
    return [
        {
            "params": held,
            "lr": stage.rates.get(part, stage.learning_rate),
            "weight_decay": stage.weight_decay if decays else 0.0,
            "part": part,
        }
        for (part, decays), held in made.items()
    ]


def counts(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Part -> (parameters that learn, all parameters)."""
    held = {
        part: [p for name, p in model.named_parameters() if name.startswith(start)]
        for part, start in PARTS.items()
    }
    return {
        part: (sum(p.numel() for p in found if p.requires_grad), sum(p.numel() for p in found))
        for part, found in held.items()
        if found
    }
