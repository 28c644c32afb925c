"""What the probes that train share: a folder a run, the file of scores, and rows over seeds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regiontok.system.files import replacing
from regiontok.system.strict_json import json_bytes

_UNSAFE = re.compile(r"[^\w.=-]+")


def folder_name(spec: str) -> str:
    """A folder's name for an encoder's spec.

    >>> folder_name("timm('vit_tiny_patch16_224', size=64)")
    'timm_vit_tiny_patch16_224_size=64'
    """
    return _UNSAFE.sub("_", spec).strip("_.") or "encoder"


def over_seeds(triples: Sequence[list[float]]) -> list[float]:
    """The mean of a score over seeds, the lowest and the highest.

    With one seed they are its value and its interval.

    Args:
        triples: value, low and high end of the interval of each seed.

    >>> over_seeds([[20.0, 11.0, 29.0]]), over_seeds([[20.0, 11.0, 29.0], [30.0, 21.0, 39.0]])
    ([20.0, 11.0, 29.0], [25.0, 20.0, 30.0])
    """
    if len(triples) == 1:
        return triples[0]
    values = [value for value, *_ in triples]
    return [sum(values) / len(values), min(values), max(values)]


def scores_over_seeds(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Each score of the runs of one encoder over its seeds, see `over_seeds`."""
    return {name: over_seeds([row["scores"][name] for row in rows]) for name in rows[0]["scores"]}


def write_scores(path: Path, report: dict[str, Any]) -> None:
    """Write a report, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(json_bytes(report, indent=1))
