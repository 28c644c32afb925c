"""`regiontok show`: the documentation of a method, a resolved recipe, or the regions of an image.

The regions are those that `regiontok tokenize` wrote.
"""

from __future__ import annotations

import inspect
from dataclasses import asdict
from pathlib import Path
from typing import Any

from regiontok.jobs.tokenize.report import REPORT, is_report, read_report
from regiontok.settings import registry
from regiontok.settings.catalogue import CATALOGUE, SPECS
from regiontok.settings.recipe import Recipe, load_recipe
from regiontok.settings.shipped import shipped_recipes
from regiontok.settings.spec import parse_one
from regiontok.system.choices import nearest
from regiontok.system.strict_json import parse_json


def show_method(name: str) -> list[dict[str, Any]]:
    """The methods of a name, which has one in every kind that knows it; none if no kind does.

    Returns:
        "kind", "name", "signature" and "documentation" of each; of a short name ("clip-l14-336")
        those of the method that it stands for, and what the catalogue knows under "entry".
    """
    if name in SPECS:
        (entry,) = (entry for entry in CATALOGUE if entry.name == name)
        method = _documentation("encoder", parse_one(entry.spec).name)
        return [{**method, "entry": asdict(entry)}]
    return [_documentation(kind, name) for kind in registry.FOLDERS if name in _names_of(kind)]


def _documentation(kind: str, name: str) -> dict[str, Any]:
    method = registry.load(kind, name)
    module = inspect.getmodule(method)
    parameters = inspect.signature(method).parameters.values()
    words = [p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters]
    return {
        "kind": kind,
        "name": name,
        "signature": f"{name}({', '.join(words)})",
        "documentation": f"{inspect.getdoc(module)}\n\n{inspect.getdoc(method)}",
    }


def _names_of(kind: str) -> list[str]:
    try:
        return registry.names(kind)
    except ModuleNotFoundError:
        return []


def show_recipe(text: str, *, scale: str = "mini", overrides: tuple[str, ...] = ()) -> Recipe:
    """A recipe as it is resolved at a scale and with overrides.

    Raises:
        ValueError: If the recipe, the scale or a key is unknown; of a name that nothing has, the
            nearest names of methods and recipes are told.
    """
    if Path(text).suffix != ".toml" and text not in shipped_recipes():
        methods = [name for kind in registry.FOLDERS for name in _names_of(kind)]
        known = dict.fromkeys([*methods, *SPECS, *shipped_recipes()])
        raise ValueError(
            f"nothing is called {text!r}{nearest(text, known, most=3)}; `regiontok ls` lists "
            "methods, `regiontok ls recipes` recipes; a recipe's path ends in .toml, and a folder "
            "is that of an image or a run"
        )
    return load_recipe(text, scale=scale, overrides=overrides)


def show_output(folder: str | Path) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """What `tokenize` wrote for one image: for each region spec its entry in the report, and the
    regions, the largest first.

    Raises:
        ValueError: If the folder has no report.
    """
    folder = Path(folder)
    report = read_report(folder)
    if not is_report(report):
        raise ValueError(
            f"{folder}: no {REPORT} in it; expected the folder of one image under the --out of "
            "`regiontok tokenize`"
        )
    regions_by_spec = {}
    for path in sorted(folder.glob("*.regions.json")):
        table = parse_json(path.read_text(encoding="utf-8"))
        largest_first = sorted(table["regions"], key=lambda region: -len(region["patches"]))
        regions_by_spec[table["spec"]] = largest_first
    return [(entry, regions_by_spec.get(entry["spec"], [])) for entry in report["settings"]]
