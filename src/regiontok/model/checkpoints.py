"""A checkpoint is of the right kind and complete.

transformers would go on with random weights and a line in a report.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from regiontok.system.checkpoint import read_json
from regiontok.system.loading import check_folder, clear_model_errors
from regiontok.system.shipped_models import local_folder


class CompleteModel(PreTrainedModel):
    """A model of transformers that loads whole or not at all."""

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, *model_args: Any, **kwargs: Any
    ) -> Any:
        """As transformers has it, but no weight is ever left random.

        A model that comes with the package is loaded by its name.

        Raises:
            ValueError: If the checkpoint is of another type of model, or its weights are not those
                that its settings ask for.
        """
        folder = local_folder(pretrained_model_name_or_path)
        name = str(pretrained_model_name_or_path if folder is None else folder)
        assert cls.config_class is not None
        check_saved_model(name, cls.config_class.model_type)
        with_report = kwargs.pop("output_loading_info", False)
        kwargs.setdefault("ignore_mismatched_sizes", True)  # raised below by name, not by a table
        with clear_model_errors(name):
            loaded: Any = super().from_pretrained(
                name, *model_args, output_loading_info=True, **kwargs
            )
        model, report = loaded
        check_loading_report(report, name)
        return (model, report) if with_report else model


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
