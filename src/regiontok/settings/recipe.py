"""Recipes: TOML -> frozen settings, with overrides and a scale; unknown keys are refused with the
nearest known name.

A recipe names one setting of the papers' tables, or one of ours, and everything needed to run it
again::

    what = "Regions from clustering, mean pooling (row D5, D8)"
    [source]                      # where the figures below come from
    paper = "diagnostic-study"
    table = "Table 1"
    row = "RADIOv2.5, from clustering"
    [expect]                      # the paper's figures, never ours
    tokens = 124
    [tokenizer]                   # the arguments of RegionTokenizer
    encoder = "lite"
    regions = "merge(k=124) | sort('com')"
    [scale.paper.tokenizer]       # what changes at another scale
    encoder = "transformers('openai/clip-vit-large-patch14-336')"
    [inference.tokenizer]         # what changes between training and answering
    regions = "merge(k=124) | sort('random', seed=42)"

`extends = "_base.toml"` (or a list) stands first: files beside this one, read before it, the later
over the earlier and this one over all. Tables are merged key by key; lists, `[[stage]]` too, are
replaced. `name`, `what`, `[source]` and `[expect]` are a file's own, and a base extends nothing.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from regiontok.core.tiling import Tiling
from regiontok.settings import pretrain_recipe, registry
from regiontok.settings.pretrain_recipe import Pretrain
from regiontok.system.choices import nearest

SCALES = ("mini", "small", "paper")
_LEARNED = ("norm", "pool", "place_features", "place_tokens")  # what has weights
_OWN = (
    "name",
    "what",
    "source",
    "expect",
)  # of a file: another setting's published figures are not this one's


class RecipeError(ValueError):
    """A recipe that cannot be read; the message names file, key and the nearest known name."""


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Source(_Settings):
    """Where a recipe comes from in a paper."""

    paper: str
    table: str = ""
    row: str = ""
    section: str = ""


class TokenizerSettings(_Settings):
    """The arguments of `RegionTokenizer`, as text; see there for what each does."""

    encoder: str = "lite"
    segmenter: str = ""
    transforms: str = ""
    regions: str = ""
    norm: Literal["none", "rms"] = "none"
    partition_on: Literal["raw", "normed"] = "raw"
    pool: str = "mean"
    whole: bool = False
    cls: bool = False
    place_features: str = ""
    place_tokens: str = ""
    padding: Literal["drop", "keep"] = "drop"
    tiles: str = ""
    cut: Literal["stitched", "tile"] = "stitched"
    seed: int = 0


class ModelSettings(_Settings):
    """The language model behind the region tokenizer, and what stands between them.

    Attributes:
        language_model: hub name or folder of a causal language model; "mini" is a small one made on
            the spot, with a byte tokenizer.
        connector: spec.
        template: how a conversation becomes text: a name the data floor knows, or "" for the
            model's own chat template.
        positions: "segment": the rows of a mask share the position of its first one
            (segmentation-aware RoPE, row O8).
    """

    language_model: str = "mini"
    connector: str = "mlp"
    template: str = ""
    positions: Literal["plain", "segment"] = "plain"


class Data(_Settings):
    """One source of training records.

    Attributes:
        records: a JSON or JSON-lines file in LLaVA's form, or a generated source such as
            "miniworld(2000)".
        images: the folder that the records' paths are relative to.
        weight: how often a record of it is drawn, against 1.
    """

    records: str
    images: str = ""
    weight: float = 1.0


class Lora(_Settings):
    """Low-rank adapters in the language model."""

    rank: int = 128
    alpha: int = 256
    dropout: float = 0.05


class Stage(_Settings):
    """One stage of training (row D13, O4).

    Attributes:
        train: what learns: connector (with norm, pool and places), encoder, language_model.
        rates: other learning rates by part, for the rest `learning_rate`.
        batch: samples an optimiser step, over all processes and accumulation.
        steps: ends the stage early; None: `epochs` decide.
        warmup: share of the steps.
        overflow: what becomes of a sample longer than `max_length`: an error, or set aside and
            counted. Nothing is ever cut in silence.
        group_by_length: batches of samples of nearly one true length (visual tokens counted).
        pack: several samples in one row, none of which sees another.
        mask_free: share of the samples that are shown every patch and no masks, drawn anew each
            epoch (row O5).
    """

    name: str
    data: list[Data]
    train: list[Literal["connector", "encoder", "language_model"]] = ["connector"]
    learning_rate: float = 1e-3
    rates: dict[str, float] = {}
    batch: int = 256
    epochs: float = 1.0
    steps: int | None = None
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = 0.03
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    max_length: int = 2048
    overflow: Literal["error", "skip"] = "error"
    group_by_length: bool = False
    pack: bool = False
    mask_free: float = 0.0
    checkpointing: bool = False
    precision: Literal["bf16", "fp32"] = "bf16"
    lora: Lora | None = None
    template: str | None = None
    seed: int = 42


class Inference(_Settings):
    """What differs when the trained model answers: the tokenizer's settings, all of them once
    resolved."""

    tokenizer: TokenizerSettings


class Recipe(_Settings):
    """One recipe, resolved at one scale."""

    name: str
    what: str
    scale: Literal["mini", "small", "paper"] = "mini"
    source: Source | None = None
    expect: dict[str, float] = {}
    tokenizer: TokenizerSettings = TokenizerSettings()
    model: ModelSettings | None = None
    stage: list[Stage] = []
    inference: Inference | None = None
    pretrain: Pretrain | None = None

    @property
    def answering(self) -> TokenizerSettings:
        """The tokenizer's settings when the model answers: those it was trained with, unless the
        recipe has an `[inference]`."""
        return self.inference.tokenizer if self.inference else self.tokenizer


def load_recipe(path: str | Path, *, scale: str = "mini", overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe at a scale; `overrides` are ``"tokenizer.pool=attend"``.

    Raises:
        RecipeError: a missing file, broken TOML, an unknown key, a value of the wrong type, a spec
            with an unknown method; a base that is not there, or extends another.
    """
    path = Path(path)
    return resolve(_extended(_read(path), path), name=path.stem, scale=scale, overrides=overrides)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such recipe") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError, RecursionError) as error:
        raise RecipeError(f"{path}: not a readable TOML file ({error})") from None


def _extended(table: dict[str, Any], path: Path) -> dict[str, Any]:
    """The table over those it extends."""
    given = table.pop("extends", [])
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise RecipeError(
            f"{path}: extends is a file beside this one, or a list of such, not {given!r}"
        )
    merged: dict[str, Any] = {}
    for name in names:
        under = path.parent / name
        if not under.is_file():
            beside = [
                other.name for other in under.parent.glob("*.toml") if other.name != path.name
            ]
            raise RecipeError(
                f"{path}: it extends {name!r}, and there is no such file{nearest(under.name, beside)}"
            )
        base = _read(under)
        if "extends" in base:
            raise RecipeError(
                f"{path}: it extends {name!r}, which itself extends {base['extends']!r}; a base extends nothing: name both in a list"
            )
        merged = _merged(merged, {key: value for key, value in base.items() if key not in _OWN})
    return _merged(merged, table)


def resolve(
    table: Mapping[str, Any], *, name: str, scale: str = "mini", overrides: Sequence[str] = ()
) -> Recipe:
    """A recipe from its parsed TOML table."""
    if scale not in SCALES:
        raise RecipeError(
            f"unknown scale {scale!r}{nearest(scale, SCALES)}; known: {', '.join(SCALES)}"
        )
    table = dict(table)
    scales = table.pop("scale", {})
    if not isinstance(scales, dict):
        raise RecipeError(
            f"{name}: 'scale' is a table ([scale.paper.tokenizer], ...); the scale itself is chosen when loading"
        )
    for key, changes in scales.items():
        if key not in SCALES:
            raise RecipeError(
                f"{name}: unknown scale {key!r}{nearest(key, SCALES)}; known: {', '.join(SCALES)}"
            )
        if not isinstance(changes, dict):
            raise RecipeError(
                f"{name}: [scale.{key}] is a table of what changes at that scale, not {changes!r}"
            )
    changed = [_override(override, name) for override in overrides]
    resolved = {}
    for one in dict.fromkeys(
        (scale, *scales)
    ):  # all of them: a mistake in [scale.paper] shows before the day it runs
        settings = _merged(table, scales.get(one, {}))
        for change in changed:
            settings = _merged(settings, change)
        settings = _into_inference(_into_stages(settings, name))
        if isinstance(settings.get("pretrain"), Mapping):
            settings["pretrain"] = _into_stages(dict(settings["pretrain"]), name)
        if "scale" in settings:
            raise RecipeError(
                f"{name}: the scale is chosen when loading (scale='paper'), not by a key or an override"
            )
        try:
            resolved[one] = Recipe(**{"name": name, **settings, "scale": one})
        except ValidationError as error:
            raise RecipeError(
                f"{name}{'' if one == scale else f' at scale {one}'}: {_first(error)}"
            ) from None
        _check_specs(resolved[one])
    return resolved[scale]


def to_toml(recipe: Recipe) -> str:
    """The resolved recipe as TOML that `load_recipe` reads back (at any scale: it has become the
    same at all)."""
    lines = [f"name = {_toml(recipe.name)}", f"what = {_toml(recipe.what)}"]
    parts: dict[str, Any] = {
        "source": recipe.source,
        "expect": recipe.expect,
        "tokenizer": recipe.tokenizer,
        "model": recipe.model,
    }
    if recipe.inference:
        parts["inference.tokenizer"] = recipe.inference.tokenizer
    for title, part in parts.items():
        values = part if isinstance(part, dict) else part.model_dump() if part else {}
        if values:
            lines += ["", f"[{title}]", *_lines(values)]
    for stage in recipe.stage:
        lines += ["", "[[stage]]", *_lines(stage.model_dump())]
    if recipe.pretrain:
        lines += ["", "[pretrain]", *_lines(recipe.pretrain.model_dump())]
    return "\n".join(lines) + "\n"


def _merged(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(low)
    for key, value in high.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _into_stages(settings: dict[str, Any], name: str) -> dict[str, Any]:
    """`[every_stage]` (of a scale, or an override `every_stage.steps=2`) merged into each
    `[[stage]]`."""
    every = settings.pop("every_stage", {})
    if not isinstance(every, Mapping) or (every and not settings.get("stage")):
        raise RecipeError(
            f"{name}: [every_stage] is a table of what changes in each [[stage]], and there must be one"
        )
    if every:
        settings["stage"] = [_merged(stage, every) for stage in settings["stage"]]
    return settings


def _into_inference(settings: dict[str, Any]) -> dict[str, Any]:
    """`[inference.tokenizer]` says what changes; resolved, it is whole."""
    found, base = settings.get("inference"), settings.get("tokenizer", {})
    if (
        not isinstance(found, Mapping)
        or not isinstance(found.get("tokenizer"), Mapping)
        or not isinstance(base, Mapping)
    ):
        return settings  # absent, or refused by its type
    return settings | {"inference": {**found, "tokenizer": _merged(base, found["tokenizer"])}}


def _override(text: str, name: str) -> dict[str, Any]:
    key, found, value = text.partition("=")
    if not found or not key.strip():
        raise RecipeError(f"{name}: expected an override like tokenizer.pool=attend, got {text!r}")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()  # a bare word is text
    for part in reversed(key.strip().split(".")):
        parsed = {part: parsed}
    return parsed


def _first(error: ValidationError) -> str:
    problems = error.errors()
    # a misspelt key is also a missing one: name the misspelling
    problem = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    at = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        parent, _, key = at.rpartition(".")
        known = (
            list(_PARTS[place].model_fields)
            if (place := re.sub(r"\.\d+", "", parent)) in _PARTS
            else []
        )
        return f"unknown key {at!r}{nearest(key, known)}; known: {', '.join(known)}"
    if problem["type"] == "missing":
        return f"the key {at!r} is missing"
    return f"{at}: {problem['msg']}, got {problem['input']!r}"


_PARTS: dict[str, type[BaseModel]] = {
    "": Recipe,
    "source": Source,
    "tokenizer": TokenizerSettings,
    "inference": Inference,
    "inference.tokenizer": TokenizerSettings,
    "model": ModelSettings,
    "stage": Stage,
    "stage.data": Data,
    "stage.lora": Lora,
    "pretrain": Pretrain,
    "pretrain.model": pretrain_recipe.PretrainModel,
    "pretrain.data": pretrain_recipe.PretrainData,
    "pretrain.object": pretrain_recipe.ObjectHead,
    "pretrain.text": pretrain_recipe.TextHead,
    "pretrain.loss": pretrain_recipe.PretrainLoss,
    "pretrain.optimizer": pretrain_recipe.PretrainOptimizer,
    "pretrain.stage": pretrain_recipe.PretrainStage,
    "pretrain.evaluate": pretrain_recipe.PretrainEvaluation,
}


def _check_specs(recipe: Recipe) -> None:
    try:
        _check_tokenizer(recipe.tokenizer)
        if recipe.inference:
            _check_tokenizer(recipe.inference.tokenizer)
        if recipe.model:
            registry.check("connector", recipe.model.connector)
    except ValueError as error:
        raise RecipeError(f"{recipe.name}: {error}") from None
    for key in _LEARNED if recipe.inference else ():
        trained, asked = getattr(recipe.tokenizer, key), getattr(recipe.answering, key)
        if trained != asked:
            raise RecipeError(
                f"{recipe.name}: inference.tokenizer.{key} is {asked!r}, but the model is trained with {trained!r}, and its weights are "
                "made for that; train it so instead"
            )


def _check_tokenizer(own: TokenizerSettings) -> None:
    texts = [
        ("segmenter", own.segmenter),
        ("transform", own.transforms),
        ("step", own.regions),
        ("pool", own.pool),
    ]
    texts += [("place", own.place_features), ("place", own.place_tokens)]
    if own.encoder.isidentifier() or "(" in own.encoder:  # anything else is a hub name or a folder
        texts.append(("encoder", own.encoder))
    for kind, text in texts:
        registry.check(kind, text)
    if own.tiles:
        Tiling.of(own.tiles)


def _lines(values: Mapping[str, Any]) -> list[str]:
    """`key = value`; TOML has no word for None, which is the default wherever it may stand."""
    return [f"{_key(key)} = {_toml(value)}" for key, value in values.items() if value is not None]


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml(key)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, Mapping):
        return (
            "{ "
            + ", ".join(
                f"{_key(key)} = {_toml(inner)}" for key, inner in value.items() if inner is not None
            )
            + " }"
        )
    # JSON's escapes are TOML's, but for DEL
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
