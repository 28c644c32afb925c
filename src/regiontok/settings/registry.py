"""The registry: which class a method's name means, and the way from a spec to built methods.

A method is one file: `steps/merge.py` holds the class `Merge` and is called "merge". The registry
is the list of those files (a file with a leading underscore is no method), so nothing has to be
entered anywhere. Methods of other packages come in by entry points (``regiontok.step``,
``regiontok.pool``, ...: a name and "module:Class"), or by `register` for the running process.
Listing and checking names imports no method; a class is imported when it is built.

A short name has hyphens and stands for a whole spec: ``clip-l14-336(layer=-2)``.

Differs: the plan had a hand-written table of "module:class" strings; the folder itself says the
same and cannot go stale.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from regiontok.settings.binding import bind
from regiontok.settings.spec import Call, SpecError, parse, parse_one
from regiontok.system.choices import nearest
from regiontok.system.logs import module_logger

if TYPE_CHECKING:
    from regiontok.methods import (
        Connector,
        Encoder,
        Place,
        Pool,
        RegionStep,
        Segmenter,
        Transform,
    )

# kind -> the package whose files are the methods of that kind
FOLDERS = {
    "encoder": "regiontok.encoders",
    "segmenter": "regiontok.segment",
    "transform": "regiontok.transform",
    "step": "regiontok.steps",
    "pool": "regiontok.pool",
    "place": "regiontok.place",
    "connector": "regiontok.connect",
    "bench": "regiontok.benches",
}
# kind -> "module:table" of classes that have names but no specs (name -> "module:Class")
TABLES = {"family": "regiontok.released.families:FAMILIES"}
# kind -> "module:Class" of the contracts that do not stand in regiontok.methods
_OTHER_CONTRACTS = {
    "family": "regiontok.released.family:Family",
    "bench": "regiontok.evaluation.bench:Bench",
}
# kind -> "module:table" of its short names; no method's name has a hyphen, so no two can clash
SHORT_NAMES = {"encoder": "regiontok.settings.catalogue:SPECS"}
KINDS = (*FOLDERS, *TABLES)
_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_TARGET = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
# kind -> name -> "module:Class" of what `register` added to this process
_REGISTERED: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}
_LOG = module_logger(__name__)


def register(kind: str, name: str, target: str, *, replace: bool = False) -> None:
    """Add a method of another package to this process.

    A package that others install declares an entry point in its pyproject.toml instead, which works
    in every process: ``[project.entry-points."regiontok.step"]``, ``largest = "module:Largest"``.

    Args:
        kind: the kind of method, one of `KINDS`.
        name: name of the method in specs: lower-case letters, digits and underscores.
        target: "module:Class", such as "my_package.steps:Mine". The module is imported when the
            method is built.
        replace: True if the name may already mean another class, which it then no longer means.

    Raises:
        SpecError: If the kind is unknown, the name or the target is ill-formed, or the name is
            taken and `replace` is not set.

    >>> register("step", "Largest", "my_package.steps:Largest")
    Traceback (most recent call last):
    regiontok.settings.spec.SpecError: a method's name has lower-case letters, digits and \
underscores, starting with a letter; got 'Largest'
    """
    _check_kind(kind)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SpecError(
            "a method's name has lower-case letters, digits and underscores, starting with a "
            f"letter; got {name!r}"
        )
    if not isinstance(target, str) or not _TARGET.fullmatch(target):
        raise SpecError(f"expected 'module:Class', got {target!r}")
    current = _targets(kind).get(name, target)
    if current != target and not replace:
        raise SpecError(
            f"{kind} {name!r} is {current} already: choose another name, or say replace=True"
        )
    _REGISTERED[kind][name] = target
    _LOG.debug("registered the %s %s as %s", kind, name, target)


def names(kind: str) -> list[str]:
    """The names of all methods of a kind, sorted; no method is imported."""
    return sorted(_targets(kind))


def _targets(kind: str) -> dict[str, str]:
    """Name -> "module:Class" of all methods of a kind."""
    _check_kind(kind)
    return {**_built_in(kind), **_entry_points(kind), **_REGISTERED[kind]}


@cache
def _built_in(kind: str) -> Mapping[str, str]:
    """Name -> "module:Class" of the methods of a kind that come with this package."""
    if kind in TABLES:
        return _table(TABLES[kind])
    package = find_spec(FOLDERS[kind])
    folders = package.submodule_search_locations if package else None
    stems = [path.stem for folder in folders or [] for path in Path(folder).glob("*.py")]
    return {
        stem: f"{FOLDERS[kind]}.{stem}:{_class_name(stem)}"
        for stem in stems
        if not stem.startswith("_")
    }


def _class_name(stem: str) -> str:
    """The name of the class in a method's file: "fill_outliers" holds `FillOutliers`."""
    return "".join(word.capitalize() for word in stem.split("_"))


@cache
def _entry_points(kind: str) -> Mapping[str, str]:
    """Name -> "module:Class" of what installed packages declare.

    Raises:
        SpecError: If a declaration is ill-formed, or its name is taken by this package or another.
    """
    declared: dict[str, str] = {}
    for point in entry_points(group=f"regiontok.{kind}"):
        package = point.dist.name if point.dist else "an installed package"
        if not _NAME.fullmatch(point.name) or not _TARGET.fullmatch(point.value):
            raise SpecError(
                f"{package} declares the {kind} {point.name!r} as {point.value!r}: expected a name "
                "of lower-case letters, digits and underscores, and 'module:Class'"
            )
        current = {**_built_in(kind), **declared}.get(point.name, point.value)
        if current != point.value:
            raise SpecError(
                f"{package} declares the {kind} {point.name!r}, but that name is {current} "
                "already: it must choose another name"
            )
        declared[point.name] = point.value
        _LOG.debug("%s declares the %s %s as %s", package, kind, point.name, point.value)
    return declared


def short_names(kind: str) -> Mapping[str, str]:
    """The short names of a kind, with the spec that each stands for; no method is imported.

    >>> short_names("encoder")["dinov2-l"]
    "transformers('facebook/dinov2-large')"
    """
    _check_kind(kind)
    return _table(SHORT_NAMES[kind]) if kind in SHORT_NAMES else {}


def _table(target: str) -> Mapping[str, str]:
    module, name = target.split(":")
    table: Mapping[str, str] = getattr(importlib.import_module(module), name)
    return table


def expand(kind: str, call: Call) -> Call:
    """The call that a short name stands for, with further arguments; any other call as it is.

    Raises:
        SpecError: If an argument of a short name comes without its own name.

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
    full = parse_one(meaning)
    return Call(full.name, full.args, tuple({**dict(full.kwargs), **dict(call.kwargs)}.items()))


def summary(kind: str, name: str) -> str:
    """The first line of the docstring of a method's module, which is not imported.

    "" if the module has no file that can be found, as for a class defined in a notebook.
    """
    try:
        module = find_spec(_target(kind, name).split(":")[0])
    except (ImportError, ValueError):  # ValueError: a module made by hand, as in a notebook
        module = None
    if not module or not module.origin:
        return ""
    source = Path(module.origin).read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    return docstring.strip().split("\n")[0]


@overload
def build(kind: Literal["encoder"], call: Call | str) -> Encoder: ...
@overload
def build(kind: Literal["segmenter"], call: Call | str) -> Segmenter: ...
@overload
def build(kind: Literal["transform"], call: Call | str) -> Transform: ...
@overload
def build(kind: Literal["step"], call: Call | str) -> RegionStep: ...
@overload
def build(kind: Literal["pool"], call: Call | str) -> Pool: ...
@overload
def build(kind: Literal["place"], call: Call | str) -> Place: ...
@overload
def build(kind: Literal["connector"], call: Call | str) -> Connector: ...
@overload
def build(kind: str, call: Call | str) -> Any: ...
def build(kind: str, call: Call | str) -> Any:
    """Build one method from a call or its text.

    Args:
        kind: the kind of method, one of `FOLDERS`.
        call: the method's name and its arguments.

    Raises:
        SpecError: If a name or parameter is unknown (the nearest known one is named), a value has
            the wrong type or range, or the class does not fulfil the contract of its kind.

    >>> build("step", "merge(k=9)")
    Merge(threshold=None, k=9)
    """
    if not isinstance(call, Call):
        calls = parse(call)
        if len(calls) != 1:
            raise SpecError(f"expected one {kind}, got {call!r}")
        call = calls[0]
    call = expand(kind, call)
    cls = load(kind, call.name)
    arguments = bind(cls, call, kind)
    try:
        return cls(**arguments)
    except SpecError:
        raise
    except (ValueError, TypeError) as error:
        raise SpecError(f"{kind} {call}: {error}") from error


@overload
def build_pipeline(kind: Literal["transform"], text: str) -> tuple[Transform, ...]: ...
@overload
def build_pipeline(kind: Literal["step"], text: str) -> tuple[RegionStep, ...]: ...
@overload
def build_pipeline(kind: Literal["place"], text: str) -> tuple[Place, ...]: ...
@overload
def build_pipeline(kind: str, text: str) -> tuple[Any, ...]: ...
def build_pipeline(kind: str, text: str) -> tuple[Any, ...]:
    """Build every method of a pipeline spec."""
    return tuple(build(kind, call) for call in parse(text))


@overload
def resolve(kind: Literal["encoder"], method: Encoder | str) -> Encoder: ...
@overload
def resolve(kind: Literal["segmenter"], method: Segmenter | str) -> Segmenter: ...
@overload
def resolve(kind: Literal["transform"], method: Transform | str) -> Transform: ...
@overload
def resolve(kind: Literal["step"], method: RegionStep | str) -> RegionStep: ...
@overload
def resolve(kind: Literal["pool"], method: Pool | str) -> Pool: ...
@overload
def resolve(kind: Literal["place"], method: Place | str) -> Place: ...
@overload
def resolve(kind: Literal["connector"], method: Connector | str) -> Connector: ...
def resolve(kind: str, method: Any) -> Any:
    """A method that is built already, or one built from its spec.

    Raises:
        SpecError: If the spec cannot be built.
        TypeError: If the object does not derive from the contract of its kind.
    """
    if isinstance(method, str):
        return build(kind, method)
    contract = contract_of(kind)
    if not isinstance(method, contract):
        raise TypeError(
            f"expected a spec or a {kind} that derives from {contract.__module__}."
            f"{contract.__name__}, got {type(method).__name__}"
        )
    return method


@overload
def resolve_pipeline(
    kind: Literal["transform"], methods: Iterable[Transform] | str
) -> tuple[Transform, ...]: ...
@overload
def resolve_pipeline(
    kind: Literal["step"], methods: Iterable[RegionStep] | str
) -> tuple[RegionStep, ...]: ...
@overload
def resolve_pipeline(
    kind: Literal["place"], methods: Iterable[Place] | str
) -> tuple[Place, ...]: ...
def resolve_pipeline(kind: Any, methods: Any) -> tuple[Any, ...]:
    """Methods that are built already, or a pipeline built from its spec; see `resolve`."""
    if isinstance(methods, str):
        return build_pipeline(kind, methods)
    return tuple(resolve(kind, method) for method in methods)


def check(kind: str, text: str) -> tuple[Call, ...]:
    """The calls of a spec, with unknown names refused; no method is imported."""
    calls = parse(text)
    for call in calls:
        _target(kind, expand(kind, call).name)
    return calls


def load(kind: str, name: str) -> type:
    """The class of a method.

    Raises:
        SpecError: If the name is unknown, its class cannot be imported, or the class does not
            derive from the contract of its kind in `regiontok.methods`.
    """
    target = _target(kind, name)
    module, class_name = target.split(":")
    try:
        cls = getattr(importlib.import_module(module), class_name)
    except (ImportError, AttributeError) as error:
        if target == _built_in(kind).get(name):
            raise  # a package that this one needs: the message says which extra brings it
        raise SpecError(f"{kind} {name!r} is {target}, which cannot be imported: {error}") from None
    contract = contract_of(kind)
    if not isinstance(cls, type) or not issubclass(cls, contract):
        raise SpecError(
            f"{kind} {name!r} is {target}, which does not derive from "
            f"{contract.__module__}.{contract.__name__}: see CONTRIBUTING.md"
        )
    return cls


@cache
def contract_of(kind: str) -> type:
    """The base class of all methods of a kind."""
    if kind in _OTHER_CONTRACTS:
        module, name = _OTHER_CONTRACTS[kind].split(":")
        contract: type = getattr(importlib.import_module(module), name)
        return contract
    contracts: Mapping[str, type] = importlib.import_module("regiontok.methods").CONTRACTS
    return contracts[kind]


def name_of(method: Any) -> str:
    """The name under which the class of a method is registered, or else that of its file."""
    cls = type(method)
    method_target = f"{cls.__module__}:{cls.__qualname__}"
    for kind in FOLDERS:
        for name, target in (*_REGISTERED[kind].items(), *_entry_points(kind).items()):
            if target == method_target:
                return name
    return cls.__module__.rsplit(".", 1)[-1]


def render(method: Any, *, full: bool = False) -> str:
    """The spec text of a built method.

    Args:
        method: a dataclass of one of the kinds in `FOLDERS`.
        full: True writes every field and the version, which is what a cache key needs. Fields with
            ``metadata={"run": True}`` (device, batch: where and how a method runs, not what it
            computes) stay out of the full text.

    Raises:
        TypeError: If the method is not a dataclass.
    """
    instance = method  # mypy narrows what is asked here, and `method` is a contract's
    if not is_dataclass(instance):
        raise TypeError(f"{type(method).__name__} is not a dataclass, so it has no spec text")
    arguments: list[str] = []
    for index, field in enumerate(field for field in fields(method) if field.init):
        if full and field.metadata.get("run"):
            continue
        value = getattr(method, field.name)
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if full or value != default:
            positional = index == 0 and not full and not field.kw_only
            arguments.append(repr(value) if positional else f"{field.name}={value!r}")
    if full:
        arguments.append(f"version={method.version}")
    return f"{name_of(method)}({', '.join(arguments)})" if arguments else name_of(method)


def render_pipeline(methods: Iterable[Any], *, full: bool = False) -> str:
    """The spec text of a pipeline."""
    return " | ".join(render(method, full=full) for method in methods)


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise SpecError(
            f"unknown kind of method {kind!r}{nearest(kind, KINDS)}; known: {', '.join(KINDS)}"
        )


def _target(kind: str, name: str) -> str:
    """The "module:Class" that a name means, or an error that names the nearest known ones."""
    targets = _targets(kind)
    if name not in targets:
        short = short_names(kind)
        known = sorted(targets)
        close = nearest(name, [*known, *short], most=3 if short else 1)
        more = f"; and {len(short)} short names: regiontok ls {kind}s" if short else ""
        raise SpecError(f"unknown {kind} {name!r}{close}; known: {', '.join(known)}{more}")
    return targets[name]
