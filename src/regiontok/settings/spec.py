"""The spec language: ``"merge(0.7) | sort('com')"`` <-> names and arguments <-> frozen dataclasses;
and the one registry.

A method is one file: `steps/merge.py` holds the class `Merge` and is called "merge". The registry
is the list of those files (a name with a leading underscore is no method), so nothing has to be
entered anywhere. Parsing, listing and checking names import no method; a class is imported when it
is built. Specs are parsed with `ast`, never evaluated.

A short name has hyphens and stands for a whole spec: ``clip-l14-336(layer=-2)``. The tables that
`SHORT` names hold them.

Differs: the plan had a hand-written table of "module:class" strings; the folder itself says the
same and cannot go stale.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from regiontok.system.choices import nearest

# kind of method -> the package whose files are its methods
FOLDERS = {
    "encoder": "regiontok.encoders",
    "segmenter": "regiontok.segment",
    "transform": "regiontok.transform",
    "step": "regiontok.steps",
    "pool": "regiontok.pool",
    "place": "regiontok.place",
    "connector": "regiontok.connect",
}
# kind -> "module:table" of its short names; no method's name has a hyphen, so the two cannot meet
SHORT = {"encoder": "regiontok.settings.catalogue:SPECS"}
_HYPHENS = re.compile(r"[A-Za-z]\w*(?:-\w+)+")
LONGEST = 3000  # characters of a spec: Python's parser recurses, and a message quotes the text
_REGISTERED: dict[str, dict[str, str]] = {kind: {} for kind in FOLDERS}


class SpecError(ValueError):
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


def register(kind: str, name: str, target: str) -> None:
    """Add a method of another package: ``register("step", "mine", "my_package.steps:Mine")``."""
    if ":" not in target:
        raise SpecError(f"expected 'module:Class', got {target!r}")
    _folder(kind)
    _REGISTERED[kind][name] = target


def names(kind: str) -> list[str]:
    """The methods of a kind, sorted. Imports none of them."""
    package = find_spec(_folder(kind))
    places = package.submodule_search_locations if package else []
    found = {
        path.stem
        for place in places or []
        for path in Path(place).glob("*.py")
        if not path.stem.startswith("_")
    }
    return sorted(found | set(_REGISTERED[kind]))


def short_names(kind: str) -> Mapping[str, str]:
    """Short names of a kind and the spec each stands for. Imports the table, no method.

    >>> short_names("encoder")["dinov2-l"]
    "transformers('facebook/dinov2-large')"
    """
    _folder(kind)
    if kind not in SHORT:
        return {}
    module, table = SHORT[kind].split(":")
    return getattr(importlib.import_module(module), table)


def expand(kind: str, call: Call) -> Call:
    """What a short name stands for, with the arguments that were given to it; any other call as it
    is.

    Raises:
        SpecError: an argument without its name.

    >>> str(expand("encoder", parse("dinov2-l(layer=-2)")[0]))
    "transformers('facebook/dinov2-large', layer=-2)"
    """
    meaning = short_names(kind).get(call.name) if "-" in call.name else None
    if meaning is None:
        return call
    if call.args:
        raise SpecError(
            f"{kind} {call}: {call.name} stands for {meaning}; name its further arguments"
        )
    (meant,) = parse(meaning)
    return Call(meant.name, meant.args, tuple({**dict(meant.kwargs), **dict(call.kwargs)}.items()))


def summary(kind: str, name: str) -> str:
    """What a method is, in one line: the first line of its module's docstring, read without
    importing it."""
    module = _target(kind, name).split(":")[0]
    found = find_spec(module)
    if not found or not found.origin:
        return ""
    doc = ast.get_docstring(ast.parse(Path(found.origin).read_text(encoding="utf-8"))) or ""
    return doc.strip().split("\n")[0]


def build(kind: str, call: Call | str) -> Any:
    """Build one method from a call or its text.

    Raises:
        SpecError: an unknown name or parameter (the nearest known one is named), or a value of the
            wrong type or range.
    """
    if not isinstance(call, Call):
        calls = parse(call)
        if len(calls) != 1:
            raise SpecError(f"expected one {kind}, got {call!r}")
        call = calls[0]
    call = expand(kind, call)
    cls = load(kind, call.name)
    arguments = _bind(cls, call, kind)
    try:
        return cls(**arguments)
    except SpecError:
        raise
    except (ValueError, TypeError) as error:
        raise SpecError(f"{kind} {call}: {error}") from error


def build_pipeline(kind: str, text: str) -> tuple[Any, ...]:
    """Build every method of a pipeline spec."""
    return tuple(build(kind, call) for call in parse(text))


def check(kind: str, text: str) -> tuple[Call, ...]:
    """Parse, and refuse unknown names; imports no method."""
    calls = parse(text)
    for call in calls:
        _target(kind, expand(kind, call).name)
    return calls


def load(kind: str, name: str) -> type:
    """The class of a method."""
    module, cls = _target(kind, name).split(":")
    return getattr(importlib.import_module(module), cls)


def name_of(method: Any) -> str:
    """The name under which a method's class is known."""
    cls = type(method)
    target = f"{cls.__module__}:{cls.__qualname__}"
    return next(
        (n for table in _REGISTERED.values() for n, t in table.items() if t == target),
        cls.__module__.rsplit(".", 1)[-1],
    )


def render(method: Any, *, full: bool = False) -> str:
    """The spec text of a built method. `full` writes every field and the version: what a cache key
    needs.

    Fields with ``metadata={"run": True}`` (device, batch: where and how it runs, not what it
    computes) stay out of the full text.

    Raises:
        TypeError: a method that is not a dataclass.
    """
    if not is_dataclass(method):
        raise TypeError(f"{type(method).__name__} is not a dataclass, so it has no spec text")
    inner: list[str] = []
    for place, field in enumerate(field for field in fields(method) if field.init):
        if full and field.metadata.get("run"):
            continue
        value = getattr(method, field.name)
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if full or value != default:
            inner.append(
                repr(value)
                if not place and not full and not field.kw_only
                else f"{field.name}={value!r}"
            )
    if full:
        inner.append(f"version={getattr(method, 'version', 1)}")
    return f"{name_of(method)}({', '.join(inner)})" if inner else name_of(method)


def render_pipeline(methods: Iterable[Any], *, full: bool = False) -> str:
    """The spec text of a pipeline."""
    return " | ".join(render(method, full=full) for method in methods)


def _folder(kind: str) -> str:
    if kind not in FOLDERS:
        raise SpecError(
            f"unknown kind of method {kind!r}{nearest(kind, FOLDERS)}; known: {', '.join(FOLDERS)}"
        )
    return FOLDERS[kind]


def _target(kind: str, name: str) -> str:
    known = names(kind)
    if name not in known:
        short = short_names(kind)
        close = nearest(name, [*known, *short], most=3 if short else 1)
        more = f"; and {len(short)} short names: regiontok ls {kind}s" if short else ""
        raise SpecError(f"unknown {kind} {name!r}{close}; known: {', '.join(known)}{more}")
    default = f"{_folder(kind)}.{name}:{''.join(part.capitalize() for part in name.split('_'))}"
    return _REGISTERED[kind].get(name, default)


def _bind(cls: type, call: Call, kind: str) -> dict[str, Any]:
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
