"""A checkpoint's folder: where it is, its weight files, their tensors, and its fingerprint.

Safetensors are read where there are any; a folder that has only pickled weights (pytorch_model.bin,
or one .pth) is read as `regiontok.system.weights` says.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from regiontok.system.errors import first_line
from regiontok.system.logs import module_logger
from regiontok.system.need import need
from regiontok.system.shipped_encoders import encoder_folder
from regiontok.system.shipped_models import local_folder, shipped_hint
from regiontok.system.weights import WEIGHTS, file_tensors

CONFIGS = ("config.json", "preprocessor_config.json", "processor_config.json")
INDEX = "model.safetensors.index.json"
PICKLED = "pytorch_model.bin"
PICKLED_INDEX = "pytorch_model.bin.index.json"

_LOG = module_logger(__name__)
_HUB_NAME = re.compile(r"(?:\w[\w.-]*/)?\w[\w.-]*", re.ASCII)


def locate(model: str, revision: str | None = None) -> Path:
    """The folder of a checkpoint: a path, a model or encoder of the package, or a hub name.

    A hub name is downloaded first if the cache does not have it.

    Only json files and safetensors are downloaded. If a name has no safetensors, its pickled
    weights are, to be read as tensors.

    Args:
        model: a folder, a name of `regiontok ls models`, an encoder that comes with the package, or
            a name on the hub.
        revision: a branch, tag or commit of a hub name; None is its main branch.

    Raises:
        ValueError: If the model is neither a folder nor to be had from the hub or its cache, or if
            a revision of a folder is asked for.
        MissingPackage: If the model is a hub name and huggingface_hub is not installed.
    """
    local = local_folder(model) or encoder_folder(model)
    if local is not None:
        check_no_revision(model, revision)
        return local
    folder = Path(model).expanduser()
    if not _HUB_NAME.fullmatch(model):
        raise ValueError(f"{model}: no such folder")
    hub = need("huggingface_hub", extra="hub")
    patterns = [*CONFIGS, "generation_config.json", INDEX, WEIGHTS, "model-*.safetensors"]
    _LOG.info("asking the hub or its cache for %s", model)
    try:
        folder = Path(hub.snapshot_download(model, revision=revision, allow_patterns=patterns))
        if not (folder / WEIGHTS).is_file() and not (folder / INDEX).is_file():
            _LOG.info("%s has no safetensors: asking for its pickled weights", model)
            patterns += [PICKLED, PICKLED_INDEX, "pytorch_model-*.bin"]
            folder = Path(hub.snapshot_download(model, revision=revision, allow_patterns=patterns))
        return folder
    except (OSError, ValueError) as error:  # no network, no such name, gated, or not even a name
        if folder.parent.is_dir() and folder.parent != Path():
            raise ValueError(
                f"{model}: no such folder, though {folder.parent} is one"
                f"{_models_in(folder.parent)}; nor do the hub or its cache give a model of that "
                f"name ({first_line(error)})"
            ) from None
        raise ValueError(
            f"{model!r} is neither a folder nor a model that the hub or its cache gives "
            f"({first_line(error)}); without a network, run 'hf download {model}' on a machine "
            f"that has one, and give the folder{shipped_hint(model)}"
        ) from None


def _models_in(folder: Path) -> str:
    """What a message says of the models in a folder, such as those of a training run."""
    names = sorted(config.parent.name for config in folder.glob("*/config.json"))
    return f" and holds {', '.join(names)}" if names else " and holds no model (yet)"


def check_no_revision(folder: str, revision: str | None) -> None:
    """Raise if a revision of a folder is asked for: only hub names have some.

    Raises:
        ValueError: If one is.
    """
    if revision:
        raise ValueError(f"revision={revision!r} belongs to a hub name, but {folder} is a folder")


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a checkpoint: one, or the shards that its index names.

    Pickled files are taken only if there are no safetensors.

    Raises:
        ValueError: If there are none, or if some of those that the index names are absent.
    """
    for single, index in ((WEIGHTS, INDEX), (PICKLED, PICKLED_INDEX)):
        if (folder / single).is_file():
            return [folder / single]
        if (folder / index).is_file():
            return _shards(folder, index)
    pickles = sorted(path for ending in ("*.pth", "*.pt", "*.bin") for path in folder.glob(ending))
    if len(pickles) == 1:
        return pickles
    several = ""
    if pickles:
        listed = ", ".join(path.name for path in pickles[:3])
        several = f"; of the pickled files ({listed}) none is {PICKLED}"
    raise ValueError(f"{folder} has no {WEIGHTS}, and no {PICKLED} either{several}")


def _shards(folder: Path, index: str) -> list[Path]:
    names = sorted(set(read_json(folder / index).get("weight_map", {}).values()))
    absent = [name for name in names if not (folder / name).is_file()]
    if absent or not names:
        raise ValueError(
            f"{folder} lacks {len(absent)} of its {len(names)} weight files: "
            f"{', '.join(absent[:3])}"
        )
    return [folder / name for name in names]


def checkpoint_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint by name, on the CPU; no code of a pickle runs.

    Raises:
        ValueError: If a file is damaged, or is a pickle of anything but tensors by name.
    """
    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder):
        tensors |= file_tensors(path)
    return tensors


def fingerprint(folder: Path, *settings: str) -> str:
    """32 hex digits from a checkpoint's weights, its json files, and further settings as text.

    Files in the hub's cache lie there under their sha256, which is taken as it is. Others are read
    in full, once in a process, at about 1 s a GB.
    """
    configs = [folder / name for name in CONFIGS if (folder / name).is_file()]
    files = [*configs, *weight_files(folder)]
    lines = [*(f"{path.name} {_sha256(path)}" for path in files), *settings]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def read_json(path: Path) -> dict[str, Any]:
    """The object that a json file holds.

    Raises:
        ValueError: If the file is no json, or holds anything but an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not json: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds {type(content).__name__} where an object was expected")
    return content


def _sha256(path: Path) -> str:
    target = path.resolve()
    if target.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", target.name):
        return target.name
    stat = target.stat()
    return _computed_sha256(target, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=256)
def _computed_sha256(path: Path, changed: int, size: int) -> str:
    """The sha256 of a file; `changed` and `size` make the cache forget a file that has changed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
