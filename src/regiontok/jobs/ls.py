"""`regiontok ls`: every method with one line, and the encoders that have a short name.

None of them is imported.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from regiontok.settings import registry
from regiontok.settings.catalogue import CATALOGUE
from regiontok.system.hub import availability


def methods_by_kind(kind: str | None = None) -> dict[str, dict[str, str]]:
    """The first line of each method's documentation by its name, under its kind.

    Args:
        kind: "encoder", "segmenter", "transform", "step", "pool", "place" or "connector"; None
            lists all of them.

    Raises:
        SpecError: If the kind is unknown.
    """
    kinds = [kind] if kind else [k for k in registry.FOLDERS if find_spec(registry.FOLDERS[k])]
    return {k: {name: registry.summary(k, name) for name in registry.names(k)} for k in kinds}


def encoder_rows() -> list[dict[str, Any]]:
    """The encoders that have a short name, one dictionary each.

    "grid" is (h, w) in patches, "here" is "yes", "partly" or "no" and says whether the weights are
    on this machine. Neither network nor weights are touched.
    """
    return [
        {
            "name": entry.name,
            "grid": entry.grid,
            "width": entry.width,
            "tokens": entry.tokens,
            "licence": entry.licence,
            "threshold": entry.threshold,
            "here": availability(entry.hub) if entry.hub else "yes",
            "hub": entry.hub,
            "spec": entry.spec,
            "note": entry.note,
        }
        for entry in CATALOGUE
    ]
