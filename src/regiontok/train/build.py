"""From a recipe to a model: language model, tokenizer, region tokenizer and a fresh connector.

After: diagnostic study, appendix E.2 (row D13).
Differs: nothing known.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from regiontok.model.config import RegionVLMConfig
from regiontok.model.delimiters import delimiter_token
from regiontok.model.vlm import RegionVLM
from regiontok.model.words import give_words
from regiontok.settings import registry
from regiontok.settings.catalogue import absent_encoder
from regiontok.settings.recipe import ModelSettings, Recipe, Stage, TokenizerSettings
from regiontok.system.checkpoint import locate
from regiontok.system.hub import cached_folder
from regiontok.system.loading import clear_model_errors
from regiontok.system.pretrained import load_pretrained
from regiontok.tokenizer.regionizer import build_encoder
from regiontok.train.assumed import language_model_config
from regiontok.train.assumed_towers import tower_settings
from regiontok.train.built_in import built_in
from regiontok.train.parts import is_divided_by_launcher
from regiontok.train.start import start_from

IMAGE = "<image>"


@dataclass(frozen=True)
class BuiltModel:
    """A model and the tokenizer of its language model, which knows the image placeholder."""

    model: RegionVLM
    tokenizer: PreTrainedTokenizerBase


def check_stages(recipe: Recipe) -> None:
    """Raise if the recipe's stages cannot be trained.

    Raises:
        ValueError: If there is no stage, names repeat or are not plain, or a stage contradicts
            itself.
    """
    if not recipe.stage:
        raise ValueError(f"{recipe.name} has no [[stage]]: nothing to train")
    names = [stage.name for stage in recipe.stage]
    plain = all(name.replace("-", "_").isidentifier() for name in names)
    if len(set(names)) < len(names) or not plain:
        raise ValueError(
            f"{recipe.name}: stages have different plain names (letters, digits, - and _), "
            f"not {names}"
        )
    for stage in recipe.stage:
        _check_stage(stage)
    last = recipe.stage[-1]
    if last.framing is not None:
        raise ValueError(
            f"stage {last.name!r} is the last, and the model answers with the encoder's own "
            f"framing: write framing={last.framing!r} into tokenizer.encoder and not into the stage"
        )


def _check_stage(stage: Stage) -> None:
    name = f"stage {stage.name!r}"
    if not stage.train:
        raise ValueError(
            f"{name} trains nothing: name connector, language_model or encoder in `train`"
        )
    if stage.lora and "language_model" not in stage.train:
        raise ValueError(f"{name} has lora but does not train the language_model")
    if unknown := sorted(set(stage.rates) - set(stage.train)):
        raise ValueError(
            f"{name} has a learning rate for {', '.join(unknown)}, which it does not train"
        )
    if stage.steps is not None and stage.steps < 1:
        raise ValueError(f"{name} takes at least one step, not {stage.steps}")
    if not 0 <= stage.warmup < 1:
        raise ValueError(f"warmup is a share of the steps in [0, 1), not {stage.warmup} ({name})")
    if len(stage.betas) != 2 or not all(0 <= beta < 1 for beta in stage.betas):
        raise ValueError(f"betas are two numbers in [0, 1), not {stage.betas} ({name})")
    if not 0 <= stage.average < 1:
        raise ValueError(f"average is a share in [0, 1), not {stage.average} ({name})")
    if stage.batch < 1:
        raise ValueError(f"a batch holds at least one sample, not {stage.batch} ({name})")


def model_settings(recipe: Recipe) -> ModelSettings:
    """What the recipe says about the model; the defaults if it has no `[model]`."""
    return recipe.model or ModelSettings()


def stage_template(recipe: Recipe, stage: Stage) -> str:
    """How a stage turns conversations into text: its own template, or else the model's."""
    return model_settings(recipe).template if stage.template is None else stage.template


def stage_tokenizer(recipe: Recipe, stage: Stage) -> TokenizerSettings:
    """How a stage turns pictures into region tokens: the recipe's settings in the stage's framing.

    Raises:
        ValueError: If the stage has a framing, and the encoder no canvas of one size, or tiles.
    """
    settings = recipe.tokenizer
    if stage.framing is None:
        return settings
    if settings.tiles:
        raise ValueError(
            f"stage {stage.name!r}: tiles lay pictures out themselves; leave framing out"
        )
    encoder = build_encoder(settings.encoder).framed(stage.framing)
    return settings.model_copy(update={"encoder": registry.render(encoder)})


def load_tokenizer(settings: ModelSettings) -> PreTrainedTokenizerBase:
    """The language model's tokenizer, in which `<image>` is one id.

    A new placeholder's id lies outside the embedding: pictures stand in its place.
    """
    choice = built_in(settings.language_model)
    with clear_model_errors(settings.language_model):
        tokenizer: Any = (
            choice.tokenizer()
            if choice
            else AutoTokenizer.from_pretrained(
                settings.language_model, revision=settings.revision or "main"
            )
        )
    if IMAGE not in tokenizer.get_vocab():
        tokenizer.add_tokens([IMAGE], special_tokens=True)
    if tokenizer.pad_token_id is None:
        # as LLaVA does; padding is masked and never learned
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return tokenizer


def image_token_id(tokenizer: Any) -> int:
    """The id that stands for a picture."""
    return int(tokenizer.convert_tokens_to_ids(IMAGE))


def delimiter_token_id(recipe: Recipe, tokenizer: Any) -> int:
    """The id of the token that delimits masks, or -1 if none does.

    Raises:
        ValueError: If the tokenizer does not have the delimiter.
    """
    token = delimiter_token(recipe.tokenizer)
    if token and token not in tokenizer.get_vocab():
        raise ValueError(
            f"{recipe.name}: the delimiter {token!r} is no token of "
            f"{model_settings(recipe).language_model}"
        )
    return int(tokenizer.convert_tokens_to_ids(token)) if token else -1


def build_model(recipe: Recipe) -> BuiltModel:
    """A new model: a loaded language model and a fresh connector, or those of `model.start`.

    Weights are float32 where any stage trains them (bfloat16 computes under autocast), else
    bfloat16 if every stage may.
    """
    check_stages(recipe)
    settings = model_settings(recipe)
    tokenizer = load_tokenizer(settings)
    dtype = torch.bfloat16 if loads_bfloat16(recipe) else torch.float32
    if choice := built_in(settings.language_model):
        with clear_model_errors(settings.language_model):
            made: Any = choice.model(recipe.tokenizer.seed)
        language_model: PreTrainedModel = made.to(dtype)
    else:
        language_model = load_pretrained(
            AutoModelForCausalLM,
            locate(settings.language_model, settings.revision),
            settings.language_model,
            dtype=dtype,
        )
    model = RegionVLM.from_parts(
        language_model,
        recipe.tokenizer,
        image_token_id=image_token_id(tokenizer),
        connector=settings.connector,
        tune_encoder=tunes_encoder(recipe),
        positions=settings.positions,
        delimiter_token_id=delimiter_token_id(recipe, tokenizer),
        answering=recipe.answering if recipe.inference else None,
    )
    if model.generation_config.pad_token_id is None:
        # by it, prompts that come without a mask are told from their padding
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.head.float()  # what learns stays exact
    give_words(model, tokenizer)
    if settings.start:
        start_from(model, settings.start)
    return BuiltModel(model, tokenizer)


def tunes_encoder(recipe: Recipe) -> bool:
    """True if a stage trains the encoder; its weights then belong to the model from the start."""
    return any("encoder" in stage.train for stage in recipe.stage)


def loads_bfloat16(recipe: Recipe, *, cuda: bool | None = None) -> bool:
    """True if the language model's weights are loaded in bfloat16.

    They are on a GPU, if every stage computes in bfloat16 and none trains them in full. Under FSDP2
    and ZeRO-3 they never are: weights that are divided as one have one type, and weights that learn
    are float32.

    Args:
        recipe: the resolved recipe.
        cuda: whether there is a GPU that computes in bfloat16; None asks torch.
    """
    if is_divided_by_launcher():
        return False
    if cuda is None:
        cuda = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    learns = any("language_model" in stage.train and not stage.lora for stage in recipe.stage)
    return cuda and not learns and all(stage.precision == "bf16" for stage in recipe.stage)


def meta_model(recipe: Recipe) -> RegionVLM:
    """The recipe's model on torch's meta device: shapes and counts without weights.

    Of a hub model only the config is read, and not even that if its sizes are published and known.
    """
    check_stages(recipe)
    settings = model_settings(recipe)
    choice = built_in(settings.language_model)
    text_config = (
        choice.config()
        if choice
        else language_model_config(settings.language_model, settings.revision)
    )
    encoder = absent_encoder(recipe.tokenizer.encoder) or build_encoder(recipe.tokenizer.encoder)
    with tower_settings(recipe.tokenizer) as visual:
        config = RegionVLMConfig(
            text_config=text_config,
            visual=visual.model_dump(),
            visual_width=encoder.width,
            connector=settings.connector,
            image_token_id=3,
            tune_encoder=tunes_encoder(recipe),
            positions=settings.positions,
            delimiter_token_id=0 if delimiter_token(recipe.tokenizer) else -1,
        )
        with clear_model_errors(settings.language_model), torch.device("meta"):
            return RegionVLM(config)


def language_model_commit(recipe: Recipe) -> str:
    """The hub's commit of the language model that is loaded; "" of one that is no hub's."""
    settings = model_settings(recipe)
    if built_in(settings.language_model) or Path(settings.language_model).expanduser().is_dir():
        return ""
    folder = cached_folder(settings.language_model, settings.revision or "main")
    return folder.name if folder else ""
