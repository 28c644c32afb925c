"""Training that goes on from a trained model, whose regions may have been others.

After: LLaMA Pro (Wu et al., ACL 2024, arXiv:2401.02415): a language model grows by layers whose
    outputs begin at zero, so that it says at first what it said before.
Differs: layers are added on top and not between, with fresh weights and not copies, and everything
may go on learning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
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
_LAYER = re.compile(re.escape(PREFIXES["language_model"]) + r"model\.layers\.(\d+)\.")
# what a layer adds to its input goes through these two, in Llama and its like
_WRITERS = ("self_attn.o_proj.weight", "mlp.down_proj.weight")


@torch.no_grad()
def start_from(model: RegionVLM, folder: str | Path) -> list[str]:
    """Take a trained model's weights: its language model whole, of the head what fits.

    A pool or a place that the trained model does not have keeps its fresh weights. So do layers of
    the language model above those of the trained one, except that they begin by changing nothing.

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
    grown = _added_layers(parameters, saved)
    if missing := [name for name in saved if _LAYER.match(name) and name not in parameters]:
        raise ValueError(_misfit(path, model, missing[0]))
    for name, parameter in parameters.items():
        value = saved.get(name)
        if value is not None and value.shape == parameter.shape:
            parameter.copy_(value)
        elif not name.startswith(language_model):
            fresh.append(name)
        elif value is None and name.startswith(grown):
            if name.endswith(_WRITERS):
                parameter.zero_()
        elif value is not None or not _is_tied(model, name):
            raise ValueError(_misfit(path, model, name))
    return fresh


def _misfit(path: Path, model: RegionVLM, name: str) -> str:
    return (
        f"{path} is of another language model than {type(model.language_model).__name__} "
        f"of {model.language_model.num_parameters():,} parameters: {name} does not fit"
    )


def _added_layers(parameters: Iterable[str], saved: Iterable[str]) -> tuple[str, ...]:
    """How the names begin of the layers that lie above all saved ones and can begin at zero."""
    names = set(parameters)
    layers = {match[0]: int(match[1]) for match in map(_LAYER.match, names) if match}
    count = len({match[0] for match in map(_LAYER.match, saved) if match})
    return tuple(
        layer
        for layer, number in layers.items()
        if number >= count > 0 and all(layer + writer in names for writer in _WRITERS)
    )


def _is_tied(model: RegionVLM, name: str) -> bool:
    """Whether a weight is the input embedding by another name, which is saved once."""
    embedding: Any = model.get_input_embeddings()
    return bool(model.state_dict()[name].data_ptr() == embedding.weight.data_ptr())
