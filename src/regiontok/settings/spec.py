"""The spec language: the text ``"merge(0.7) | sort('com')"`` as method names with arguments.

Specs are parsed with `ast` and never evaluated; parsing imports no method. `registry` says which
method a name means and builds it.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, replace
from typing import Any

from regiontok.system.errors import RegiontokError

LONGEST = 3000  # characters of a spec: Python's parser recurses, and a message quotes the text
_HYPHENS = re.compile(r"[A-Za-z]\w*(?:-\w+)+")


class SpecError(RegiontokError, ValueError):
    """A spec that cannot be read or built; the message names the nearest thing that exists."""


@dataclass(frozen=True)
class Call:
    """One method with its arguments, not built yet."""

    name: str
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        inner = [repr(value) for value in self.args] + [
            f"{key}={value!r}" for key, value in self.kwargs
        ]
        return f"{self.name}({', '.join(inner)})" if inner else self.name


def parse(text: str) -> tuple[Call, ...]:
    """``"a(1) | b(x='y')"`` -> calls. The empty text and ``"patches"`` are the empty pipeline.

    Raises:
        SpecError: not of that form; the message points at the part.

    >>> [str(call) for call in parse("merge(0.7) | sort('com')")]
    ['merge(0.7)', "sort('com')"]
    """
    if not isinstance(text, str):
        raise SpecError(f"expected a spec as text, got {type(text).__name__}")
    if len(text) > LONGEST:
        raise SpecError(
            f"a spec has at most {LONGEST} characters, this one {len(text)}: {text[:60]!r}..."
        )
    text = text.strip()
    if text in ("", "patches"):
        return ()
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = getattr(error, "msg", None) or str(error)
        raise SpecError(
            f"cannot read the spec {text!r}: {reason}; expected something like \"merge(0.7) | sort('com')\""
        ) from None
    parts = []
    while isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.BitOr):
        parts.append(tree.right)
        tree = tree.left
    return tuple(_call(part, text) for part in (tree, *reversed(parts)))


def _call(node: ast.expr, text: str) -> Call:
    part = ast.get_source_segment(text, node) or ""
    if isinstance(node, ast.BinOp) and (found := _HYPHENS.match(part)):
        # To Python a difference, whose last term may be called. A plain name of the same length
        # keeps places right for messages.
        plain = ast.parse("_" * found.end() + part[found.end() :], mode="eval").body
        if not isinstance(plain, ast.BinOp):
            return replace(_call(plain, part), name=found[0])
    if isinstance(node, ast.Name):
        return Call(node.id)
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise SpecError(
            f"cannot read {part!r} in the spec {text!r}; expected a name or name(arguments)"
        )
    if any(keyword.arg is None for keyword in node.keywords):
        raise SpecError(f"cannot read '**' in the spec {text!r}; name the arguments")
    keys = [keyword.arg for keyword in node.keywords]
    if twice := {key for key in keys if keys.count(key) > 1}:
        raise SpecError(
            f"{', '.join(map(repr, sorted(map(str, twice))))} stands twice in the spec {text!r}"
        )
    kwargs = tuple((str(keyword.arg), _value(keyword.value, text)) for keyword in node.keywords)
    return Call(node.func.id, tuple(_value(arg, text) for arg in node.args), kwargs)


def _value(node: ast.expr, text: str) -> Any:
    try:
        return _tuples(ast.literal_eval(node))
    except (ValueError, TypeError, MemoryError, RecursionError):
        hint = f"; quote it: '{node.id}'" if isinstance(node, ast.Name) else ""
        part = ast.get_source_segment(text, node)
        raise SpecError(f"{part!r} in the spec {text!r} is not a plain value{hint}") from None


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value
