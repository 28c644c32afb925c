"""LLaVA's `mm_projector.bin` <-> a connector: read and written as tensors, by name and shape.

After: LLaVA (its `mm_projector.bin`: keys `model.mm_projector.0.weight` ... of `mlp2x_gelu`,
`model.mm_projector.weight` of `linear`).
Differs: transformers' names (`multi_modal_projector.linear_1.weight`), any other prefix, and
safetensors are read too. A pickle is read as tensors only; none of its code runs.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from regiontok.system.files import replacing
from regiontok.system.weights import file_tensors

PREFIX = "model.mm_projector."
_LLAVA_NAME = re.compile(r"(?:.*\.)?mm_projector\.((?:\d+\.)?(?:weight|bias))")
_TRANSFORMERS_NAME = re.compile(r"(?:.*\.)?multi_modal_projector\.linear_(\d+)\.(weight|bias)")
_BARE_NAME = re.compile(r"((?:\d+\.)?(?:weight|bias))")


def projector_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a projector's file by the connector's names (`0.weight`).

    What else the file holds is left out.

    Raises:
        ValueError: If it is not a file of tensors, or no projector is in it.
    """
    path = Path(path)
    tensors = file_tensors(path, path.with_suffix(".safetensors").name)
    names = {key: name for key in tensors if (name := _connector_name(key))}
    if not names:
        raise ValueError(
            f"{path} holds no projector ({PREFIX}0.weight ...), but "
            f"{', '.join(sorted(tensors)[:3]) or 'nothing'}"
        )
    return {name: tensors[key] for key, name in names.items()}


def read_projector(connector: nn.Module, path: str | Path) -> None:
    """Put a projector's file into a connector, in the connector's own type and on its device.

    Raises:
        ValueError: If it is not a file of tensors, or its tensors have other names or shapes than
            the connector's; nothing is changed then.
    """
    file_state, connector_state = projector_tensors(path), connector.state_dict()
    for name in sorted({*file_state, *connector_state}):
        in_file, in_connector = _shape_text(file_state, name), _shape_text(connector_state, name)
        if in_file != in_connector:
            raise ValueError(
                f"{path}: {name} is {in_file} in the file, {in_connector} in the connector"
            )
    connector.load_state_dict(file_state)


def _shape_text(state: dict[str, Tensor], name: str) -> str:
    return str(list(state[name].shape)) if name in state else "not there"


def write_projector(connector: nn.Module, path: str | Path) -> None:
    """Write a connector as LLaVA's own loader takes it.

    A `.bin` is written by torch.save, a `.safetensors` without a pickle.

    Raises:
        ValueError: If the connector is neither `linear` nor `mlp`, or the path ends otherwise.
    """
    path, state = Path(path), connector.state_dict()
    strange = [name for name in state if not _BARE_NAME.fullmatch(name)]
    if strange or not state:
        raise ValueError(
            "only the connectors linear and mlp are LLaVA's; this one has "
            f"{', '.join(strange[:3]) or 'no tensor at all'}"
        )
    if path.suffix not in (".bin", ".safetensors"):
        raise ValueError(f"expected a path that ends in .bin or .safetensors, got {path}")
    tensors = {
        PREFIX + name: value.detach().cpu().clone().contiguous() for name, value in state.items()
    }
    with replacing(path) as temporary:
        if path.suffix == ".bin":
            torch.save(tensors, temporary)
        else:
            save_file(tensors, temporary, metadata={"format": "pt"})


def _connector_name(key: str) -> str | None:
    """The connector's name of a file's tensor, None if it is no projector's.

    >>> _connector_name("model.mm_projector.2.weight"), _connector_name("2.weight")
    ('2.weight', '2.weight')
    >>> _connector_name("multi_modal_projector.linear_2.weight")
    '2.weight'
    """
    if match := _LLAVA_NAME.fullmatch(key) or _BARE_NAME.fullmatch(key):
        return match[1]
    if match := _TRANSFORMERS_NAME.fullmatch(key):
        return f"{2 * (int(match[1]) - 1)}.{match[2]}"  # GELU stands between the layers
    return None
