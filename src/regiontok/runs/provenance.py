"""Where the result of a run comes from: time, versions, hardware, seeds, the recipe's hash."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from regiontok.settings.recipe import Recipe, to_toml

PACKAGES = (
    "regiontok",
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "tokenizers",
    "safetensors",
    "numpy",
    "pillow",
    "timm",
    "pyarrow",
    "scikit-learn",
)


def provenance(
    recipe: Recipe, *, processes: int, seeds: Mapping[str, int], **details: Any
) -> dict[str, Any]:
    """What one start of a run of a recipe started from; see `provenance_of`."""
    return provenance_of(to_toml(recipe), processes=processes, seeds=seeds, **details)


def provenance_of(
    settings: str, *, processes: int, seeds: Mapping[str, int], **details: Any
) -> dict[str, Any]:
    """What one start of a run started from.

    Args:
        settings: the text of the recipe, or of other settings that decide the result.
        processes: how many processes the run has.
        seeds: the seeds that decide the result, by what they seed.
        details: further entries of the loop.
    """
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "versions": {name: number for name in PACKAGES if (number := _version(name))},
        "hardware": {
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "gpus": gpus,
            "cuda": torch.version.cuda,
        },
        "processes": processes,
        "seeds": dict(seeds),
        "recipe": hashlib.sha256(settings.encode()).hexdigest(),
        **details,
    }


def _version(package: str) -> str:
    """The version of an installed package, or "" if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
