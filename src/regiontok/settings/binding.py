"""Arguments of a spec held against the annotations of the class that they are for."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any

from regiontok.settings.spec import Call, SpecError
from regiontok.system.choices import nearest


def bind(cls: type, call: Call, kind: str) -> dict[str, Any]:
    signature = inspect.signature(cls)
    for key, _ in call.kwargs:
        if key not in signature.parameters:
            known = list(signature.parameters)
            raise SpecError(
                f"{kind} {call.name!r} has no parameter {key!r}{nearest(key, known)}; it has: {', '.join(known) or 'none'}"
            )
    try:
        bound = signature.bind(*call.args, **dict(call.kwargs)).arguments
    except TypeError as error:
        raise SpecError(
            f"{kind} {call}: {error}; its parameters: {call.name}{signature}".replace(
                " -> None", ""
            )
        ) from None
    hints = _hints(cls)
    for key, value in bound.items():
        if key in hints and not _fits(value, hints[key]):
            raise SpecError(
                f"{kind} {call.name!r}: {key} must be {_say(hints[key])}, not {value!r}{_choice(value, hints[key])}"
            )
    return bound


@cache
def _hints(cls: type) -> Mapping[str, Any]:
    return typing.get_type_hints(cls)


def _fits(value: Any, hint: Any) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:  # a class since Python 3.11, but not for isinstance
        return True
    if origin is typing.Literal:
        return value in args
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, arg) for arg in args)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        inner = [args[0]] * len(value) if len(args) == 2 and args[1] is ... else list(args)
        return len(inner) == len(value) and all(
            _fits(v, arg) for v, arg in zip(value, inner, strict=True)
        )
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint) if isinstance(hint, type) else True


def _say(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(repr(arg) for arg in typing.get_args(hint))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(_say(arg) for arg in typing.get_args(hint))
    return (
        "None"
        if hint is type(None)
        else getattr(hint, "__name__", str(hint))
        if typing.get_origin(hint) is None
        else str(hint)
    )


def _choice(value: Any, hint: Any) -> str:
    choices = [arg for arg in typing.get_args(hint) if isinstance(arg, str)]
    return nearest(value, choices) if isinstance(value, str) else ""
