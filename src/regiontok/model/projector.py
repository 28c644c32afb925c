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
_OURS = re.compile(r"(?:.*\.)?mm_projector\.((?:\d+\.)?(?:weight|bias))")
_THEIRS = re.compile(r"(?:.*\.)?multi_modal_projector\.linear_(\d+)\.(weight|bias)")
_BARE = re.compile(r"((?:\d+\.)?(?:weight|bias))")


def projector_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a projector's file by the connector's names (`0.weight`); what else the file
    holds is left out.

    Raises:
        ValueError: not a file of tensors, or no projector in it.
    """
    path = Path(path)
    found = file_tensors(path, path.with_suffix(".safetensors").name)
    named = {}
    for key, value in found.items():
        if name := _name(key):
            named[name] = value
    if not named:
        raise ValueError(
            f"{path} holds no projector ({PREFIX}0.weight ...), but {', '.join(sorted(found)[:3]) or 'nothing'}"
        )
    return named


def read_projector(connector: nn.Module, path: str | Path) -> None:
    """Put a projector's file into a connector, in the connector's own type and on its device.

    Raises:
        ValueError: not a file of tensors, or tensors of other names or shapes than the connector's;
            nothing is changed then.
    """
    found, own = projector_tensors(path), connector.state_dict()
    for name in sorted({*found, *own}):
        there, here = (list(state[name].shape) if name in state else None for state in (found, own))
        if there != here:
            raise ValueError(
                f"{path}: {name} is {there or 'not there'} in the file, {here or 'not there'} in the connector"
            )
    connector.load_state_dict(found)


def write_projector(connector: nn.Module, path: str | Path) -> None:
    """Write a connector as LLaVA's own loader takes it: `.bin` by torch.save, `.safetensors`
    without a pickle.

    Raises:
        ValueError: a connector that is neither `linear` nor `mlp`; another ending of the path.
    """
    path, state = Path(path), connector.state_dict()
    if strange := [name for name in state if not _BARE.fullmatch(name)] or (
        [] if state else ["no tensor at all"]
    ):
        raise ValueError(
            f"only the connectors linear and mlp are LLaVA's; this one has {', '.join(strange[:3])}"
        )
    if path.suffix not in (".bin", ".safetensors"):
        raise ValueError(f"expected a path that ends in .bin or .safetensors, got {path}")
    tensors = {
        PREFIX + name: value.detach().cpu().clone().contiguous() for name, value in state.items()
    }
    with replacing(path) as part:
        if path.suffix == ".bin":
            torch.save(tensors, part)
        else:
            save_file(tensors, part, metadata={"format": "pt"})


def _name(key: str) -> str | None:
    """`model.mm_projector.2.weight`, `...multi_modal_projector.linear_2.weight`, `2.weight` ->
    `2.weight`."""
    if found := _OURS.fullmatch(key) or _BARE.fullmatch(key):
        return found[1]
    if found := _THEIRS.fullmatch(key):
        return f"{2 * (int(found[1]) - 1)}.{found[2]}"  # GELU stands between the layers
    return None
