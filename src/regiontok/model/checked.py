"""A checkpoint is what its reader takes it for, and complete: transformers would go on with random
weights and a line in a report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def check_kind(name: str, expected: str) -> None:
    """Raise if a folder holds another kind of model; a hub name is left to its weights.

    Raises:
        ValueError: it does.
    """
    settings = Path(name) / "config.json"
    kind = (
        json.loads(settings.read_text(encoding="utf-8")).get("model_type")
        if settings.is_file()
        else expected
    )
    if kind != expected:
        raise ValueError(f"{name} holds a {kind!r} model, not a {expected!r} one")


def check_report(report: Mapping[str, Any], name: str) -> None:
    """Raise if a checkpoint does not hold exactly what its model has; `report` is transformers'
    loading info.

    Raises:
        ValueError: weights of other shapes, missing, or besides.
    """
    for key, found, expected in sorted(report["mismatched_keys"]):
        raise ValueError(
            f"{name}: {key} is {list(found)} in the checkpoint, {list(expected)} by its settings: another recipe or encoder?"
        )
    for what, keys in (
        ("lacks", report["missing_keys"]),
        ("holds besides", report["unexpected_keys"]),
    ):
        if keys := sorted(keys):
            raise ValueError(
                f"{name}: the checkpoint {what} {len(keys)} weights ({', '.join(keys[:3])}{' ...' if len(keys) > 3 else ''}): "
                "its settings are another recipe's"
            )
