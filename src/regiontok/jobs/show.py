"""`regiontok show`: the documentation of a method, a resolved recipe, or the regions of an image.

The regions are those that `regiontok tokenize` wrote.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from regiontok.jobs.tokenize.report import REPORT, read_report
from regiontok.settings import registry
from regiontok.settings.recipe import load_recipe, to_toml
from regiontok.settings.recipes import find_recipe


def show_method(name: str) -> str | None:
    """Signature and documentation of a method; None if no kind has a method of that name."""
    kinds = [kind for kind in registry.FOLDERS if name in _names_of(kind)]
    return "\n\n".join(_documentation(kind, name) for kind in kinds) or None


def _documentation(kind: str, name: str) -> str:
    method = registry.load(kind, name)
    module = inspect.getmodule(method)
    parameters = inspect.signature(method).parameters.values()
    words = [p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters]
    title = f"{kind} {name}({', '.join(words)})"
    return f"{title}\n\n{inspect.getdoc(module)}\n\n{inspect.getdoc(method)}"


def _names_of(kind: str) -> list[str]:
    try:
        return registry.names(kind)
    except ModuleNotFoundError:
        return []


def show_recipe(text: str, *, scale: str = "mini", overrides: tuple[str, ...] = ()) -> str:
    """A recipe as it is resolved at a scale and with overrides, in TOML.

    Raises:
        ValueError: If the recipe, the scale or a key is unknown.
    """
    return to_toml(load_recipe(find_recipe(text), scale=scale, overrides=overrides))


def show_output(folder: Path) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """What `tokenize` wrote for one image: for each region spec its entry in the report, and the
    regions, the largest first.

    Raises:
        ValueError: If the folder has no report.
    """
    report = read_report(folder)
    if report is None:
        raise ValueError(
            f"{folder}: no {REPORT} in it; expected the folder of one image under the --out of "
            "`regiontok tokenize`"
        )
    regions_by_spec = {}
    for path in sorted(folder.glob("*.regions.json")):
        table = json.loads(path.read_text(encoding="utf-8"))
        largest_first = sorted(table["regions"], key=lambda region: -len(region["patches"]))
        regions_by_spec[table["spec"]] = largest_first
    return [(entry, regions_by_spec.get(entry["spec"], [])) for entry in report["settings"]]
