"""A method by its spec: what a registered method of any kind must do."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from regiontok.methods import CONTRACTS
from regiontok.settings import registry
from regiontok.settings.spec import parse
from regiontok.testing.assertions import expect
from regiontok.testing.connectors import check_connector
from regiontok.testing.encoders import check_encoder
from regiontok.testing.places import check_place
from regiontok.testing.pools import check_pool
from regiontok.testing.segmenters import check_segmenter
from regiontok.testing.steps import check_step
from regiontok.testing.transforms import check_transform

CHECKS: dict[str, Callable[..., None]] = {
    "encoder": check_encoder,
    "segmenter": check_segmenter,
    "transform": check_transform,
    "step": check_step,
    "pool": check_pool,
    "place": check_place,
    "connector": check_connector,
}
"""The check of each kind of method."""


def check_method(kind: str, spec: str, **expectations: Any) -> None:
    """Check a registered method: its spec text, its docstring, and what its kind must do.

    Args:
        kind: a kind of method, say "step".
        spec: an example of the method, say "largest(2)".
        expectations: what the check of that kind takes beside the method, say `partition=False`.

    Raises:
        AssertionError: If something is wrong.
        SpecError: If the spec cannot be built.

    >>> check_method("connector", "mlp(depth=3)")
    """
    expect(kind in CONTRACTS, f"unknown kind of method {kind!r}; known: {', '.join(CONTRACTS)}")
    check_spec(kind, spec)
    check_docstring(kind, parse(spec)[0].name)
    CHECKS[kind](registry.build(kind, spec), **expectations)


def check_spec(kind: str, spec: str) -> None:
    """Raise unless a method comes back from its spec text, and its class from its name.

    Raises:
        AssertionError: If it does not.
    """
    method = registry.build(kind, spec)
    text = registry.render(method)
    again = registry.build(kind, text)
    expect(again == method, f"{kind} {spec} comes back from {text!r} as another method")
    expect(registry.render(again) == text, f"{kind} {spec} has two texts: {text!r} and another")
    expect(
        hash(again) == hash(registry.build(kind, spec)),
        f"{kind} {spec} has another hash when it is built again",
    )
    full = registry.render(method, full=True)
    expect(
        re.search(r"version=\d+\)$", full) is not None,
        f"{kind} {spec}: the full text must end with its version, got {full}",
    )


def check_docstring(kind: str, name: str) -> None:
    """Raise unless a method's module says what it is, after whom, and how it differs.

    The first line is what `regiontok ls` shows; `After:` and `Differs:` begin lines of their own.

    Raises:
        AssertionError: If it does not.
    """
    module = registry.load(kind, name).__module__
    location = find_spec(module)
    source = ""
    if location is not None and location.origin:
        source = Path(location.origin).read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    first, *others = docstring.splitlines() or [""]
    expect(bool(first), f"{module} has no docstring")
    expect(
        others[:1] in ([], [""]),
        f"{module}: the docstring's first line must be one sentence, followed by a blank line",
    )
    expect(len(first) <= 100, f"{module}: the docstring's first line is longer than 100 characters")
    for word, meaning in (("After", "where it comes from"), ("Differs", "how it differs")):
        expect(
            re.search(rf"^{word}: \S", docstring, re.MULTILINE) is not None,
            f"{module} does not say {meaning}: its docstring needs a line that begins with "
            f"'{word}:' (or 'nothing known')",
        )
