"""Checkpoints of the hub: a name or folder -> one folder, its safetensors files, their hash, and a model with every weight in place."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from regiontok.core.need import need

CONFIGS = ("config.json", "preprocessor_config.json", "processor_config.json")
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def locate(model: str, revision: str | None = None) -> Path:
    """The folder of a checkpoint: itself, or where the hub's cache has it (downloaded first, if need be; json and safetensors only).

    Raises:
        ValueError: neither a folder nor to be had; a revision of a folder.
        MissingPackage: a hub name, and no huggingface_hub.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ValueError(f"revision={revision!r} belongs to a hub name, but {model} is a folder")
        return folder
    if folder.is_absolute() or model.startswith(".") or model.count("/") > 1:  # no hub name looks like that
        raise ValueError(f"{model}: no such folder")
    hub = need("huggingface_hub", extra="hub")
    wanted = [*CONFIGS, INDEX, WEIGHTS, "model-*.safetensors"]
    try:
        return Path(hub.snapshot_download(model, revision=revision, allow_patterns=wanted))
    except (OSError, ValueError) as error:  # no network, no such name, gated, or not even a name
        raise ValueError(
            f"{model!r} is neither a folder nor a model that the hub or its cache gives ({first_line(error)}); "
            f"without a network, run 'hf download {model}' on a machine that has one, and give the folder"
        ) from None


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint: one, or the shards of its index.

    Raises:
        ValueError: there are none (pickles do not count), or some are absent.
    """
    names = [WEIGHTS]
    if not (folder / WEIGHTS).is_file() and (folder / INDEX).is_file():
        names = sorted(set(read_json(folder / INDEX).get("weight_map", {}).values()))
    gone = [name for name in names if not (folder / name).is_file()]
    if gone == [WEIGHTS]:
        raise ValueError(
            f"{folder} has no {WEIGHTS}; pickled weights (pytorch_model.bin) are not read, because a pickle can run code: save the "
            "model anew with save_pretrained, or name a revision that has safetensors (on the hub often a pull request: 'refs/pr/1')"
        )
    if gone:
        raise ValueError(f"{folder} lacks {len(gone)} of its {len(names)} weight files: {', '.join(gone[:3])}")
    return [folder / name for name in names]


def pretrained(cls: Any, folder: Path, model: str, **options: Any) -> Any:
    """`cls.from_pretrained` on a folder's safetensors, without remote code or network; `model` is what messages call it.

    Raises:
        ValueError: damaged, of other shapes than its config.json says, or without some of the weights, which would then be random.
    """
    rules = {"use_safetensors": True, "local_files_only": True, "trust_remote_code": False, "output_loading_info": True}
    try:
        with quiet():
            module, report = cls.from_pretrained(str(folder), **rules, **options)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"{model}: damaged, or of other shapes than config.json says ({first_line(error)})") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ValueError(
            f"{model}: {len(missing)} weights of {type(module).__name__} are not in the checkpoint and would be random: "
            f"{', '.join(missing[:3])}"
        )
    return module


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bar of transformers, and no list of unexpected weights (another tower's, say): what matters is raised."""
    logging = need("transformers", extra="hub").utils.logging
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def fingerprint(folder: Path, *more: str) -> str:
    """32 hex digits from a checkpoint's weights, the json files beside them, and what else decides the features.

    Files in the hub's cache lie there under their sha256, which is taken as it is. Others are read whole, once a process: 0.6 to 1.3 s
    a GB (measured with SHA instructions, on an idle and a busy core).
    """
    files: Iterable[Path] = [*(path for name in CONFIGS if (path := folder / name).is_file()), *weight_files(folder)]
    lines = [*(f"{path.name} {_sha256(path)}" for path in files), *more]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def read_json(path: Path) -> dict[str, Any]:
    """A json object.

    Raises:
        ValueError: the file is none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not json: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds {type(found).__name__} where an object was expected")
    return found


def first_line(error: Exception) -> str:
    """The first line of an error's message: other libraries' go on for pages."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _sha256(path: Path) -> str:
    target = path.resolve()
    if target.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", target.name):
        return target.name
    stat = target.stat()
    return _read_sha256(target, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=256)
def _read_sha256(path: Path, changed: int, size: int) -> str:
    """Of the file as it was then: `changed` and `size` are there for the cache."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
