"""A checkpoint is of the right kind and complete.

transformers would go on with random weights and a line in a report.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regiontok.system.checkpoint import read_json
from regiontok.system.loading import check_folder


def check_saved_model(folder: str, expected: str) -> None:
    """Raise if a folder holds another type of model, or none that can be loaded.

    A hub name is left to its weights.

    Raises:
        ValueError: If the folder's config.json names another `model_type`, or describes another
            model than its weights are; if these are damaged.
    """
    config_file = Path(folder) / "config.json"
    if not config_file.is_file():
        return
    model_type = read_json(config_file).get("model_type")
    if model_type != expected:
        raise ValueError(f"{folder} holds a {model_type!r} model, not a {expected!r} one")
    check_folder(Path(folder), folder)


def check_loading_report(report: Mapping[str, Any], name: str) -> None:
    """Raise if a checkpoint does not hold exactly the weights that its model has.

    Args:
        report: the loading info of transformers.
        name: what the message calls the checkpoint.

    Raises:
        ValueError: If a weight has another shape, is missing, or there is one too many.
    """
    for key, found_shape, expected_shape in sorted(report["mismatched_keys"]):
        raise ValueError(
            f"{name}: {key} is {list(found_shape)} in the checkpoint, {list(expected_shape)} by "
            "its settings: another recipe or encoder?"
        )
    for verb, keys in (
        ("lacks", sorted(report["missing_keys"])),
        ("holds besides", sorted(report["unexpected_keys"])),
    ):
        if keys:
            more = " ..." if len(keys) > 3 else ""
            raise ValueError(
                f"{name}: the checkpoint {verb} {len(keys)} weights ({', '.join(keys[:3])}{more}): "
                "its settings are another recipe's"
            )
