"""`regiontok show`: a method's documentation, a resolved recipe, or what a run found in an
image."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from regiontok.jobs.ls import find_recipe
from regiontok.jobs.tokenize.output import REPORT, read_report
from regiontok.settings import registry
from regiontok.settings.recipe import load_recipe, to_toml


def show_method(name: str) -> str | None:
    """Signature and documentation of a method, or None if no kind has one of that name."""
    kinds = [kind for kind in registry.FOLDERS if name in _names(kind)]
    if not kinds:
        return None
    texts = []
    for kind in kinds:
        cls = registry.load(kind, name)
        module = inspect.getmodule(cls)
        parameters = inspect.signature(cls).parameters.values()
        words = (p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters)
        texts.append(
            f"{kind} {name}({', '.join(words)})\n\n{inspect.getdoc(module)}\n\n{inspect.getdoc(cls)}"
        )
    return "\n\n".join(texts)


def _names(kind: str) -> list[str]:
    try:
        return registry.names(kind)
    except ModuleNotFoundError:
        return []


def show_recipe(text: str, *, scale: str = "mini", overrides: tuple[str, ...] = ()) -> str:
    """A recipe as it is resolved."""
    return to_toml(load_recipe(find_recipe(text), scale=scale, overrides=overrides))


def show_output(folder: Path) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """What `tokenize` wrote for one image: (setting, its regions, largest first), a pair a setting.

    Raises:
        ValueError: a folder without a report.
    """
    report = read_report(folder)
    if report is None:
        raise ValueError(
            f"{folder}: no {REPORT} in it; expected the folder of one image under the --out of `regiontok tokenize`"
        )
    by_spec = {}
    for path in sorted(folder.glob("*.regions.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        by_spec[found["spec"]] = sorted(
            found["regions"], key=lambda region: -len(region["patches"])
        )
    return [(setting, by_spec.get(setting["spec"], [])) for setting in report["settings"]]
