"""Checkpoints of the hub: a name or folder -> one folder, its weight files, their hash, and a model
with every weight in place.

Safetensors where there are any. A folder that has only pickled weights (pytorch_model.bin, or one
.pth) is read by torch with `weights_only=True`, which makes tensors and nothing else: what would
need more is refused with the command that converts it.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from regiontok.system.need import need

CONFIGS = ("config.json", "preprocessor_config.json", "processor_config.json")
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = "pytorch_model.bin"
PICKLED_INDEX = "pytorch_model.bin.index.json"


def locate(model: str, revision: str | None = None) -> Path:
    """The folder of a checkpoint: itself, or where the hub's cache has it, downloaded first if need
    be.

    json and safetensors only, but where a name has no safetensors: then its pickled weights, to be
    read as tensors.

    Raises:
        ValueError: neither a folder nor to be had; a revision of a folder.
        MissingPackage: a hub name, and no huggingface_hub.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ValueError(
                f"revision={revision!r} belongs to a hub name, but {model} is a folder"
            )
        return folder
    if (
        folder.is_absolute() or model.startswith(".") or model.count("/") > 1
    ):  # no hub name looks like that
        raise ValueError(f"{model}: no such folder")
    hub = need("huggingface_hub", extra="hub")
    wanted = [*CONFIGS, INDEX, WEIGHTS, "model-*.safetensors"]
    try:
        folder = Path(hub.snapshot_download(model, revision=revision, allow_patterns=wanted))
        if not (folder / WEIGHTS).is_file() and not (folder / INDEX).is_file():
            wanted += [PICKLED, PICKLED_INDEX, "pytorch_model-*.bin"]
            folder = Path(hub.snapshot_download(model, revision=revision, allow_patterns=wanted))
        return folder
    except (OSError, ValueError) as error:  # no network, no such name, gated, or not even a name
        raise ValueError(
            f"{model!r} is neither a folder nor a model that the hub or its cache gives ({first_line(error)}); "
            f"without a network, run 'hf download {model}' on a machine that has one, and give the folder"
        ) from None


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a checkpoint: one, or the shards of its index; pickled ones only where
    there are no safetensors.

    Raises:
        ValueError: there are none, or some are absent.
    """
    for single, index in ((WEIGHTS, INDEX), (PICKLED, PICKLED_INDEX)):
        if (folder / single).is_file():
            return [folder / single]
        if (folder / index).is_file():
            return _shards(folder, index)
    pickled = sorted(path for end in ("*.pth", "*.pt", "*.bin") for path in folder.glob(end))
    if len(pickled) == 1:
        return pickled
    found = (
        f"; of the pickled files ({', '.join(path.name for path in pickled[:3])}) none is {PICKLED}"
        if pickled
        else ""
    )
    raise ValueError(f"{folder} has no {WEIGHTS}, and no {PICKLED} either{found}")


def _shards(folder: Path, index: str) -> list[Path]:
    names = sorted(set(read_json(folder / index).get("weight_map", {}).values()))
    gone = [name for name in names if not (folder / name).is_file()]
    if gone or not names:
        raise ValueError(
            f"{folder} lacks {len(gone)} of its {len(names)} weight files: {', '.join(gone[:3])}"
        )
    return [folder / name for name in names]


def tensors(folder: Path) -> dict[str, Tensor]:
    """All weights of a checkpoint by name, on the CPU. No code of a pickle runs.

    Raises:
        ValueError: a damaged file; a pickle that holds anything but tensors by name.
    """
    found: dict[str, Tensor] = {}
    for path in weight_files(folder):
        found |= file_tensors(path)
    return found


def file_tensors(path: Path, converted: str = WEIGHTS) -> dict[str, Tensor]:
    """The tensors of one file: safetensors by its ending, otherwise a pickle, of which no code
    runs.

    Args:
        path: of the file.
        converted: what a pickle's safetensors beside it would be called, for the message that says
            how to make them.

    Raises:
        ValueError: as `tensors`.
    """
    return (
        _safe(path)
        if path.suffix == ".safetensors"
        else _unpickled(path, path.with_name(converted))
    )


def _safe(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} is damaged ({first_line(error)})") from error


def _unpickled(path: Path, target: Path) -> dict[str, Tensor]:
    """Tensors by name out of a pickle; one level of "state_dict" or "model" around them is taken
    off."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise ValueError(
            f"{path} was not read: {first_line(error)}. {_conversion(path, target)}"
        ) from None
    for around in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(around), dict):
            found = found[around]
    if (
        not isinstance(found, dict)
        or not found
        or not all(isinstance(value, Tensor) for value in found.values())
    ):
        kinds = (
            {type(value).__name__ for value in found.values()}
            if isinstance(found, dict)
            else {type(found).__name__}
        )
        raise ValueError(
            f"{path} holds {', '.join(sorted(kinds)[:3]) or 'nothing'}, expected tensors by name. {_conversion(path, target)}"
        )
    warnings.warn(
        f"{path} is a pickle, read as tensors only. {_conversion(path, target, safe=True)}",
        stacklevel=2,
    )
    return found


def _conversion(path: Path, target: Path, *, safe: bool = False) -> str:
    """How to make safetensors of a pickle. Only the command that is not `safe` runs the pickle's
    code; nothing here does."""
    when = (
        "" if safe else ", only if you trust where it comes from, because this runs what is in it"
    )
    return (
        f'To convert it once{when}: python -c "import torch; from safetensors.torch import save_file; '
        f"found = torch.load({str(path)!r}, map_location='cpu', weights_only={safe}); "
        "found = found.get('state_dict', found.get('model', found)); "
        "save_file({name: value.clone().contiguous() for name, value in found.items() if torch.is_tensor(value)}, "
        f"{str(target)!r}, metadata={{'format': 'pt'}})\""
    )


def pretrained(cls: Any, folder: Path, model: str, *, within: str = "", **options: Any) -> Any:
    """`cls.from_pretrained` on a folder's weights, without remote code or network; `model` is what
    messages call it.

    `within` names the attribute that is wanted of the model, a vision tower say: it is given back
    alone, and only its weights count.

    Raises:
        ValueError: damaged, of other shapes than its config.json says, or without some of the
            weights, which would then be random.
    """
    rules = {
        "use_safetensors": True,
        "local_files_only": True,
        "trust_remote_code": False,
        "output_loading_info": True,
    }
    rules["ignore_mismatched_sizes"] = (
        True  # raised below by name: transformers prints a table, and its error says "see above"
    )
    source: str | None = str(folder)
    if weight_files(folder)[0].suffix != ".safetensors":
        auto = need("transformers", extra="hub").AutoConfig
        options.setdefault(
            "config",
            auto.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False),
        )
        if hasattr(
            cls, "_model_mapping"
        ):  # an Auto class takes no state_dict; the class that it stands for does
            cls = cls._model_mapping[type(options["config"])]
        source, options = None, options | {"state_dict": tensors(folder)}
    try:
        with quiet():
            module, report = cls.from_pretrained(source, **rules, **options)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ValueError(
            f"{model}: damaged, or of other shapes than config.json says ({first_line(error)})"
        ) from error
    tower = getattr(module, within) if within else module
    _check_report(report, tower, within, model)
    return tower


def _check_report(report: Mapping[str, Any], module: nn.Module, within: str, model: str) -> None:
    """Raise if any weight of the module was not in the checkpoint, or not in its shape; `report` is
    transformers' loading info."""
    for name, found, expected in sorted(report["mismatched_keys"]):
        if name.startswith(within):
            shapes = f"{name} is {list(found)} in the file, {list(expected)} by config.json"
            raise ValueError(
                f"{model}: damaged, or of other shapes than config.json says ({shapes}); is it of another family?"
            )
    refuse_missing(
        (name for name in report["missing_keys"] if name.startswith(within)),
        report["unexpected_keys"],
        module,
        model,
    )


def refuse_missing(
    missing: Iterable[str], others: Iterable[str], module: nn.Module, model: str
) -> None:
    """Raise if a module's weights are missing; `others` is what the checkpoint holds instead,
    `model` what the message calls it.

    Raises:
        ValueError: any is missing. Where most are, the checkpoint may be of another family, and the
            message says so.
    """
    missing, others = sorted(missing), sorted(others)
    if missing:
        text = f"{model}: {len(missing)} weights of {type(module).__name__} are not in the checkpoint and would be random: "
        text += ", ".join(missing[:3])
        if others and 2 * len(missing) > len(module.state_dict()):
            text += f"; the file holds {', '.join(others[:3])} ...: is it of another family?"
        raise ValueError(text)


# Models in memory by their files and settings, for as long as something holds them: a sweep over
# layers loads once.
_LOADED: WeakValueDictionary[tuple, Any] = WeakValueDictionary()


def shared(folder: Path | None, settings: tuple, load: Callable[[], Any]) -> Any:
    """The model that `load` makes of a folder's weights as they lie there now (None: of no file);
    the one in memory, if there is one.

    `settings` say whose it is and how it was made: models of different kinds never meet.
    """
    files = [] if folder is None else weight_files(folder)
    stamps = tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files)
    key = (*settings, stamps)
    model = _LOADED.get(key)
    if model is None:
        model = _LOADED[key] = load()
    return model


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bar of transformers, and no list of unexpected weights (another tower's, say):
    what matters is raised."""
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
    """32 hex digits from a checkpoint's weights, the json files beside them, and what else decides
    the features.

    Files in the hub's cache lie there under their sha256, which is taken as it is. Others are read
    whole, once a process: 0.6 to 1.3 s a GB (measured with SHA instructions, on an idle and a busy
    core).
    """
    files: Iterable[Path] = [
        *(path for name in CONFIGS if (path := folder / name).is_file()),
        *weight_files(folder),
    ]
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
