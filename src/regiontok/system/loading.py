"""Whatever goes wrong while a model is loaded is one clear error that names the model.

A config that its weights do not bear out is refused before a model of its size is built: a thousand
million layers, say, of which the file holds two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from regiontok.system.checkpoint import read_json, weight_files
from regiontok.system.errors import (
    RegiontokError,
    UnusableModel,
    first_line,
    is_out_of_memory,
)

MOST_LAYERS = 10_000
LONGEST_REASON = 300  # characters of another library's message that are quoted
_LFS = b"version https://git-lfs"
# What configs call the number of layers, and sizes that some weight has as a side.
_LAYERS = re.compile(r"(num|n|decoder|encoder)_?(hidden_)?(layers?|blocks?)|depth")
_SIDE = re.compile(
    r"(vocab|hidden|intermediate|embed\w*|ffn\w*|head|visual)_?(size|dim|width)|n_(embd|inner)"
    r"|d_(model|ff)|dff|num_(attention|key_value)_heads|n_heads?"
)


@contextmanager
def clear_model_errors(model: str) -> Iterator[None]:
    """Raise one `UnusableModel` for whatever error a block meets that loads a model.

    Args:
        model: what messages call the model.

    Raises:
        UnusableModel: If the block fails; errors of this package, and those of missing packages,
            pass as they are.
    """
    try:
        yield
    except (RegiontokError, ImportError):
        raise
    except Exception as error:  # transformers promises no kind of error
        if isinstance(error, ValueError) and str(error).startswith(model):
            raise UnusableModel(str(error)) from error
        kind = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
        reason = " ".join(f"{kind}{error}".split())
        if len(reason) > LONGEST_REASON:
            reason = f"{reason[:LONGEST_REASON]} ..."
        if is_out_of_memory(error):
            raise UnusableModel(f"{model}: not enough memory to load it ({reason})") from error
        if isinstance(error, OSError):  # no such model, no network, no right to read it
            raise UnusableModel(f"{model} cannot be read ({reason})") from error
        raise UnusableModel(
            f"{model} cannot be loaded: a file of it is damaged, or a config of it is wrong "
            f"({reason})"
        ) from error


def check_layers(config: Mapping[str, Any], model: str) -> None:
    """Raise if a config says more layers than any model has: to build them would take days.

    Raises:
        ValueError: If it does.
    """
    for name, value in _integers(config):
        if _LAYERS.fullmatch(name) and value > MOST_LAYERS:
            raise ValueError(
                f"{model}: config.json says {name} = {value}, and no model has more than "
                f"{MOST_LAYERS}: it is damaged"
            )


def check_folder(folder: Path, model: str) -> None:
    """Raise if a checkpoint's weights are damaged, or its config.json describes a larger model.

    Only the headers of safetensors are read; pickled weights are not looked at.

    Raises:
        ValueError: If it is so.
    """
    config_file = folder / "config.json"
    if not config_file.is_file():
        return
    check_layers(read_json(config_file), model)
    shapes: dict[str, list[int]] = {}
    for path in weight_files(folder):
        if path.suffix != ".safetensors":
            return
        shapes |= _header(path, model)
    numbers = sum(map(prod, shapes.values()))
    for name, value in _integers(read_json(config_file)):
        most, unit = (len(shapes), "tensors") if _LAYERS.fullmatch(name) else (numbers, "numbers")
        is_size = unit == "tensors" or _SIDE.fullmatch(name)
        if is_size and value > most:
            raise ValueError(
                f"{model}: config.json says {name} = {value}, but the weights hold {most} {unit}: "
                "it is another model's config, or damaged"
            )


def _header(path: Path, model: str) -> dict[str, list[int]]:
    """The shapes of the tensors in a file by name."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        with path.open("rb") as content:
            is_pointer = content.read(len(_LFS)) == _LFS
        reason = (
            f"{path.name} is a Git LFS pointer and not the weights: get them by `git lfs pull`"
            if is_pointer
            else "damaged, or of other shapes than config.json says "
            f"({path.name}, {first_line(error)}): copy or download it again"
        )
        raise ValueError(f"{model}: {reason}") from error


def _integers(config: Any) -> Iterator[tuple[str, int]]:
    """The whole numbers of a config by their names, nested configs included.

    A number that a nested config has too is that one's: what a composed model says beside it sizes
    nothing (PaliGemma's own `vocab_size` is 257,152 whatever its language model's is).
    """
    nested = [value for value in config.values() if isinstance(value, Mapping)]
    inner = {name for value in nested for name, _ in _integers(value)}
    for value in nested:
        yield from _integers(value)
    for name, value in config.items():
        if isinstance(value, int) and not isinstance(value, bool) and name not in inner:
            yield str(name), value
