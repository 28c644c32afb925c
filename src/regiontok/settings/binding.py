"""The arguments of a call, checked against the fields of the dataclass that they are for."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from regiontok.settings.spec import Call, SpecError, parse_one
from regiontok.system.choices import nearest

Built = TypeVar("Built")


def from_text(cls: type[Built], text: str, kind: str) -> Built:
    """An instance of a class from its text, such as ``scenes(400, size=96)``.

    Args:
        cls: a dataclass; its own checks may raise any ValueError.
        text: one call. The name in front of the parentheses is not looked at.
        kind: what messages call the class.

    Raises:
        SpecError: If the text is not one call, or its arguments do not fit the class.

    >>> from regiontok.core.tiling import Tiling
    >>> from_text(Tiling, "tiles([(1, 2), (2, 1)])", "tiling")
    Tiling(grids=((1, 2), (2, 1)))
    >>> from_text(Tiling, "tiles(2)", "tiling")
    Traceback (most recent call last):
    regiontok.settings.spec.SpecError: tiling 'tiles': grids must be \
tuple[tuple[int, int], ...], not 2
    """
    return cls(**bind(cls, parse_one(text), kind))


def bind(cls: type, call: Call, kind: str) -> dict[str, Any]:
    """The arguments of a call by the name of their parameter.

    Args:
        cls: the class that is called.
        call: its name and arguments.
        kind: what messages call the class: "step", "encoder".

    Raises:
        SpecError: If a parameter is unknown (the nearest one is named), missing or given twice, or
            if a value has another type than the class's annotation says.
    """
    signature = inspect.signature(cls)
    parameters = list(signature.parameters)
    for name, _ in call.kwargs:
        if name not in parameters:
            raise SpecError(
                f"{kind} {call.name!r} has no parameter {name!r}{nearest(name, parameters)}; "
                f"it has: {', '.join(parameters) or 'none'}"
            )
    try:
        arguments = signature.bind(*call.args, **dict(call.kwargs)).arguments
    except TypeError as error:
        usage = f"{call.name}{signature}".replace(" -> None", "")
        raise SpecError(f"{kind} {call}: {error}; its parameters: {usage}") from None
    annotations = _annotations(cls)
    for name, value in arguments.items():
        if name in annotations and not _has_type(value, annotations[name]):
            expected = _in_words(annotations[name])
            choices = [
                choice for choice in typing.get_args(annotations[name]) if isinstance(choice, str)
            ]
            hint = nearest(value, choices) if isinstance(value, str) else ""
            raise SpecError(f"{kind} {call.name!r}: {name} must be {expected}, not {value!r}{hint}")
    return arguments


@cache
def _annotations(cls: type) -> Mapping[str, Any]:
    return typing.get_type_hints(cls)


def _has_type(value: Any, annotation: Any) -> bool:
    """True if a value of a spec fits an annotation; an int fits float, a bool fits only bool."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:  # a class since Python 3.11, but not for isinstance
        return True
    if origin is typing.Literal:
        return value in arguments
    if origin in (typing.Union, types.UnionType):
        return any(_has_type(value, argument) for argument in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and _items_have_types(value, arguments)
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, annotation) if isinstance(annotation, type) else True


def _items_have_types(values: tuple[Any, ...], arguments: tuple[Any, ...]) -> bool:
    if len(arguments) == 2 and arguments[1] is ...:
        return all(_has_type(value, arguments[0]) for value in values)
    return len(values) == len(arguments) and all(map(_has_type, values, arguments))


def _in_words(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_in_words, arguments))
    if annotation is type(None):
        return "None"
    return annotation.__name__ if origin is None else str(annotation)
