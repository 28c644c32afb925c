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
_HYPHENATED = re.compile(r"[A-Za-z]\w*(?:-\w+)+")


class SpecError(RegiontokError, ValueError):
    """A spec that cannot be read or built; the message names the nearest thing that exists."""


@dataclass(frozen=True)
class Call:
    """One method with its arguments, not built yet.

    Attributes:
        name: name of the method, or a short name.
        args: arguments by position.
        kwargs: arguments by name, in the order of the text.

    >>> str(Call("merge", (0.7,), (("k", 9),)))
    'merge(0.7, k=9)'
    """

    name: str
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        arguments = [repr(value) for value in self.args]
        arguments += [f"{key}={value!r}" for key, value in self.kwargs]
        return f"{self.name}({', '.join(arguments)})" if arguments else self.name


def parse(text: str) -> tuple[Call, ...]:
    """The calls of a pipeline spec; the empty text and "patches" are the empty pipeline.

    Raises:
        SpecError: If the text is not of the form ``"a(1) | b(x='y')"``; the message points at the
            part that cannot be read.

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
            f"cannot read the spec {text!r}: {reason}; "
            "expected something like \"merge(0.7) | sort('com')\""
        ) from None
    nodes: list[ast.expr] = []
    while isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.BitOr):
        nodes.append(tree.right)
        tree = tree.left
    return tuple(_call(node, text) for node in (tree, *reversed(nodes)))


def parse_one(text: str) -> Call:
    """The only call of a spec, as in ``"scenes(400, size=96)"``.

    Raises:
        SpecError: If the text cannot be read, or holds no call or several.
    """
    calls = parse(text)
    if len(calls) != 1:
        raise SpecError(f"expected one name with its arguments, got {text!r}")
    return calls[0]


def _call(node: ast.expr, text: str) -> Call:
    segment = ast.get_source_segment(text, node) or ""
    hyphenated = _HYPHENATED.match(segment) if isinstance(node, ast.BinOp) else None
    if hyphenated:
        # To Python a difference, whose last term may be called. A plain name of the same length
        # keeps positions right for messages.
        renamed = "_" * hyphenated.end() + segment[hyphenated.end() :]
        plain = ast.parse(renamed, mode="eval").body
        if not isinstance(plain, ast.BinOp):
            return replace(_call(plain, segment), name=hyphenated[0])
    if isinstance(node, ast.Name):
        return Call(node.id)
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise SpecError(
            f"cannot read {segment!r} in the spec {text!r}; expected a name or name(arguments)"
        )
    kwargs = _keyword_arguments(node, text)
    return Call(node.func.id, tuple(_value(arg, text) for arg in node.args), kwargs)


def _keyword_arguments(node: ast.Call, text: str) -> tuple[tuple[str, Any], ...]:
    values: dict[str, Any] = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            raise SpecError(f"cannot read '**' in the spec {text!r}; name the arguments")
        if keyword.arg in values:
            raise SpecError(f"{keyword.arg!r} stands twice in the spec {text!r}")
        values[keyword.arg] = _value(keyword.value, text)
    return tuple(values.items())


def _value(node: ast.expr, text: str) -> Any:
    try:
        return _tuples_for_lists(ast.literal_eval(node))
    except (ValueError, TypeError, MemoryError, RecursionError):
        hint = f"; quote it: '{node.id}'" if isinstance(node, ast.Name) else ""
        segment = ast.get_source_segment(text, node)
        raise SpecError(f"{segment!r} in the spec {text!r} is not a plain value{hint}") from None


def _tuples_for_lists(value: Any) -> Any:
    """A value whose lists, at any depth, have become tuples, so that a call can be hashed."""
    if isinstance(value, list | tuple):
        return tuple(_tuples_for_lists(item) for item in value)
    return value
