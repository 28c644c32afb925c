"""What is checked of a recipe, and how a mistake in it is told."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from regiontok.core.tiling import Tiling
from regiontok.settings import registry
from regiontok.settings.tables import RecipeError
from regiontok.system.choices import nearest

if TYPE_CHECKING:
    from regiontok.settings.recipe import Recipe, TokenizerSettings

# The keys of [tokenizer] that have weights, which are trained for one value.
LEARNED_KEYS = ("norm", "pool", "place_features", "place_tokens")


def check_specs(recipe: Recipe) -> None:
    """Refuse a recipe whose specs name unknown methods, or whose `[inference]` needs other weights.

    Raises:
        RecipeError: If a spec cannot be read or names an unknown method, if `[inference]` changes a
            key that has weights, or if `[corrected]` names a figure that `[expect]` does not.
    """
    try:
        _check_tokenizer(recipe.tokenizer)
        if recipe.inference:
            _check_tokenizer(recipe.inference.tokenizer)
        if recipe.model:
            registry.check("connector", recipe.model.connector)
    except ValueError as error:
        raise RecipeError(f"{recipe.name}: {error}") from None
    if stray := sorted(recipe.corrected.keys() - recipe.expect.keys()):
        raise RecipeError(
            f"{recipe.name}: [corrected] names {', '.join(stray)}, which [expect] does not print"
        )
    try:
        check_same_weights(recipe.tokenizer, recipe.answering)
    except ValueError as error:
        raise RecipeError(f"{recipe.name}: inference.tokenizer.{error}") from None


def check_same_weights(trained: TokenizerSettings, answering: TokenizerSettings) -> None:
    """Refuse settings to answer with that need other weights than the trained ones.

    Raises:
        ValueError: If they differ in a key that has weights; the message begins with it.
    """
    for key in LEARNED_KEYS:
        trained_value, value = getattr(trained, key), getattr(answering, key)
        if trained_value != value:
            raise ValueError(
                f"{key} is {value!r}, but the model is trained with {trained_value!r}, and its "
                "weights are made for that; train it so instead"
            )


def _check_tokenizer(settings: TokenizerSettings) -> None:
    specs = [
        ("segmenter", settings.segmenter),
        ("transform", settings.transforms),
        ("step", settings.regions),
        ("pool", settings.pool),
        ("place", settings.place_features),
        ("place", settings.place_tokens),
    ]
    if settings.encoder.isidentifier() or "(" in settings.encoder:  # else a hub name or a folder
        specs.append(("encoder", settings.encoder))
    for kind, spec in specs:
        registry.check(kind, spec)
    if settings.tiles:
        Tiling.of(settings.tiles)


def first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem that pydantic found in the values of a model, in a line.

    A misspelt key makes the right one missing; then the misspelling is what is told.
    """
    problems = error.errors()
    unknown = [problem for problem in problems if problem["type"] == "extra_forbidden"]
    problem = (unknown or problems)[0]
    path = ".".join(str(step) for step in problem["loc"])
    if unknown:
        known = list(_fields_at(model, problem["loc"][:-1]))
        key = str(problem["loc"][-1])
        return f"unknown key {path!r}{nearest(key, known)}; known: {', '.join(known)}"
    if problem["type"] == "missing":
        return f"the key {path!r} is missing"
    return f"{path}: {problem['msg']}, got {problem['input']!r}"


def _fields_at(model: type[BaseModel], steps: tuple[int | str, ...]) -> Iterator[str]:
    """The names of the fields of the table that a path in a model leads to."""
    table: type[BaseModel] | None = model
    for step in steps:
        if isinstance(step, str) and table is not None:
            field = table.model_fields.get(step)
            table = next(_models_in(field.annotation), None) if field else None
    yield from table.model_fields if table is not None else ()


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation such as ``list[Stage] | None`` names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models_in(argument)
