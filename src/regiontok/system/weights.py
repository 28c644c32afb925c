"""The tensors of one weight file; no code of a pickle ever runs.

Safetensors are preferred everywhere. A pickle (pytorch_model.bin, a .pth) is read by torch with
`weights_only=True`, which makes tensors and nothing else; what would need more is refused with the
command that converts the file.
"""

from __future__ import annotations

import os
import pickle
import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from regiontok.system.errors import RegiontokWarning, first_line

WEIGHTS = "model.safetensors"


def file_tensors(path: Path, converted_name: str = WEIGHTS) -> dict[str, Tensor]:
    """The tensors of one file by name, on the CPU.

    Args:
        path: the file; one that does not end in ".safetensors" is read as a pickle.
        converted_name: what the safetensors beside a pickle would be called, for the message that
            says how to make them.

    Raises:
        ValueError: If the file is damaged, or is a pickle of anything but tensors by name.
    """
    if path.suffix == ".safetensors":
        return _safetensors(path)
    return _pickled_tensors(path, path.with_name(converted_name))


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} is damaged ({first_line(error)})") from error


def _pickled_tensors(path: Path, converted: Path) -> dict[str, Tensor]:
    """The tensors of a pickle; one level of "state_dict" or "model" around them is taken off."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise ValueError(
            f"{path} was not read: {first_line(error)}. {_how_to_convert(path, converted)}"
        ) from None
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not _is_tensors_by_name(content):
        values = content.values() if isinstance(content, dict) else [content]
        kinds = sorted({type(value).__name__ for value in values})
        raise ValueError(
            f"{path} holds {', '.join(kinds[:3]) or 'nothing'}, expected tensors by name. "
            f"{_how_to_convert(path, converted)}"
        )
    warnings.warn(
        f"{path} is a pickle, read as tensors only. {_how_to_convert(path, converted, safe=True)}",
        RegiontokWarning,
        stacklevel=2,
    )
    tensors: dict[str, Tensor] = content
    return tensors


@contextmanager
def tensors_only() -> Iterator[None]:
    """Make every `torch.load` of this process, in whatever library, one with `weights_only=True`.

    DeepSpeed asks for the opposite when it goes on from a checkpoint. The classes of its own that
    its checkpoints hold, numbers of the loss scaler, are let through.
    """
    forced, released = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    before = {name: os.environ.pop(name, None) for name in (forced, released)}
    os.environ[forced] = "1"
    try:
        with torch.serialization.safe_globals(_deepspeed_classes()):
            yield
    finally:
        del os.environ[forced]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _deepspeed_classes() -> list[Any]:
    """The classes that DeepSpeed's checkpoints of the optimiser hold, if it is in use."""
    names = {
        "deepspeed.runtime.fp16.loss_scaler": ("LossScaler", "DynamicLossScaler"),
        "deepspeed.runtime.zero.config": ("ZeroStageEnum",),
        "deepspeed.utils.tensor_fragment": ("fragment_address",),
    }
    return [
        getattr(module, name)
        for module_name, class_names in names.items()
        if (module := sys.modules.get(module_name))
        for name in class_names
        if hasattr(module, name)
    ]


def _is_tensors_by_name(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and len(content) > 0
        and all(isinstance(value, Tensor) for value in content.values())
    )


def _how_to_convert(path: Path, converted: Path, *, safe: bool = False) -> str:
    """The command that makes safetensors of a pickle.

    Run by the user, one that is not `safe` runs the code in the pickle, too.
    """
    caution = ", only if you trust where it comes from, because this runs what is in it"
    code = (
        "import sys, torch; from safetensors.torch import save_file; "
        f'found = torch.load(sys.argv[1], map_location="cpu", weights_only={safe}); '
        'found = found.get("state_dict", found.get("model", found)); '
        "save_file({name: value.clone().contiguous() "
        "for name, value in found.items() if torch.is_tensor(value)}, "
        'sys.argv[2], metadata={"format": "pt"})'
    )
    command = shlex.join(["python", "-c", code, str(path), str(converted)])
    return f"To convert it once{'' if safe else caution}: {command}"
