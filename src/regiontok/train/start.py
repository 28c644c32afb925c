"""Training that goes on from a trained model, whose regions may have been others.

After: nothing published.
Differs: nothing known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from regiontok.model.vlm import RegionVLM
from regiontok.system.errors import first_line
from regiontok.system.shipped_models import local_folder
from regiontok.train.parts import PREFIXES

WEIGHTS = "model.safetensors"


@torch.no_grad()
def start_from(model: RegionVLM, folder: str | Path) -> list[str]:
    """Take a trained model's weights: its language model whole, of the head what fits.

    A pool or a place that the trained model does not have keeps its fresh weights.

    Args:
        model: the new model.
        folder: folder of the trained one, or the name of a model that comes with the package.

    Returns:
        The names of the head's weights that stay fresh.

    Raises:
        ValueError: If there are no weights, they cannot be read, or the language model is another.
    """
    path = (local_folder(folder) or Path(folder)) / WEIGHTS
    if not path.is_file():
        raise ValueError(f"start={str(folder)!r} has no {WEIGHTS}: name the folder of a model")
    try:
        saved = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read: {first_line(error)}") from None
    parameters = model.state_dict()
    fresh, language_model = [], PREFIXES["language_model"]
    for name, parameter in parameters.items():
        value = saved.get(name)
        if value is not None and value.shape == parameter.shape:
            parameter.copy_(value)
        elif not name.startswith(language_model):
            fresh.append(name)
        elif value is not None or not _is_tied(model, name):
            raise ValueError(
                f"{path} is of another language model than {type(model.language_model).__name__} "
                f"of {model.language_model.num_parameters():,} parameters: {name} does not fit"
            )
    return fresh


def _is_tied(model: RegionVLM, name: str) -> bool:
    """Whether a weight is the input embedding by another name, which is saved once."""
    embedding: Any = model.get_input_embeddings()
    return bool(model.state_dict()[name].data_ptr() == embedding.weight.data_ptr())
