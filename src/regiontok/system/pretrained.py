"""A pretrained model with every one of its weights in place, or an error that names those missing.

transformers gives weights that it did not find random values, and only reports it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from safetensors import SafetensorError
from torch import nn

from regiontok.system.checkpoint import checkpoint_tensors, weight_files
from regiontok.system.errors import UnusableModel, first_line, is_out_of_memory
from regiontok.system.loading import check_folder, clear_model_errors
from regiontok.system.logs import module_logger
from regiontok.system.need import need

_LOG = module_logger(__name__)


def load_pretrained(cls: Any, folder: Path, model: str, *, within: str = "", **options: Any) -> Any:
    """`cls.from_pretrained` on a folder's weights, without remote code or network.

    Args:
        cls: a model class of transformers, or one of its Auto classes.
        folder: the checkpoint.
        model: what messages call it.
        within: name of the attribute of the model that is wanted, a vision tower for example: it is
            returned alone, and only its weights need to be there. "" returns the whole model.
        options: further arguments of `from_pretrained`.

    Raises:
        ValueError: If the checkpoint is damaged, its tensors have other shapes than its config.json
            says, or some of the weights are missing and would be random.
    """
    check_folder(folder, model)
    source: str | None = str(folder)
    if weight_files(folder)[0].suffix != ".safetensors":
        cls, options = _with_tensors(cls, folder, options)
        source = None
    with clear_model_errors(model), quiet_transformers():
        try:
            module, report = cls.from_pretrained(
                source,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                # Refused below by name: transformers' own error says "see above", to a table.
                ignore_mismatched_sizes=True,
                **options,
            )
        except (OSError, RuntimeError, SafetensorError) as error:
            if is_out_of_memory(error):
                raise  # no damage
            raise ValueError(
                f"{model}: damaged, or of other shapes than config.json says ({first_line(error)})"
            ) from error
    tower = getattr(module, within) if within else module
    _check_report(report, tower, within, model)
    return tower


def _with_tensors(cls: Any, folder: Path, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The class and the options that load a checkpoint of pickled weights, read as tensors."""
    config = options.get("config")
    if config is None:
        config = need("transformers", extra="hub").AutoConfig.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    if hasattr(cls, "_model_mapping"):
        # An Auto class takes no state_dict; the class that it stands for does.
        cls = cls._model_mapping[type(config)]
    return cls, options | {"config": config, "state_dict": checkpoint_tensors(folder)}


def _check_report(report: Mapping[str, Any], module: nn.Module, within: str, model: str) -> None:
    """Raise if a weight of the module was not loaded; `report` is transformers' loading info."""
    for name, file_shape, config_shape in sorted(report["mismatched_keys"]):
        if name.startswith(within):
            raise ValueError(
                f"{model}: damaged, or of other shapes than config.json says ({name} is "
                f"{list(file_shape)} in the file, {list(config_shape)} by config.json); "
                "is it of another family?"
            )
    missing = (name for name in report["missing_keys"] if name.startswith(within))
    refuse_missing(missing, report["unexpected_keys"], module, model)


def refuse_missing(
    missing: Iterable[str], unexpected: Iterable[str], module: nn.Module, model: str
) -> None:
    """Refuse a model some of whose weights are not in its checkpoint.

    Args:
        missing: names of the module's weights that the checkpoint does not hold.
        unexpected: names of what it holds instead.
        module: the model, for the number of its weights.
        model: what messages call it.

    Raises:
        ValueError: If any weight is missing. If most are, the checkpoint may be of another family,
            and the message says so.
    """
    missing, unexpected = sorted(missing), sorted(unexpected)
    if not missing:
        return
    hint = ""
    if unexpected and 2 * len(missing) > len(module.state_dict()):
        hint = f"; the file holds {', '.join(unexpected[:3])} ...: is it of another family?"
    raise ValueError(
        f"{model}: {len(missing)} weights of {type(module).__name__} are not in the checkpoint "
        f"and would be random: {', '.join(missing[:3])}{hint}"
    )


# The models in memory, for as long as something holds them: a sweep over layers loads once.
_LOADED: WeakValueDictionary[tuple[Hashable, ...], Any] = WeakValueDictionary()


def shared_model(
    folder: Path | None, settings: tuple[Hashable, ...], load: Callable[[], Any]
) -> Any:
    """The model that `load` makes, or the same one if it is in memory already.

    Args:
        folder: the checkpoint; a model whose weight files have changed since is loaded anew. None
            if the model comes from no file.
        settings: whose model it is and how it was made, so that models of different kinds never
            meet.
        load: makes the model.

    Raises:
        UnusableModel: If `load` raises a ValueError.
    """
    files = [] if folder is None else weight_files(folder)
    stamps = tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files)
    key = (*settings, stamps)
    model = _LOADED.get(key)
    if model is None:
        _LOG.debug("loading %s from %s", settings, folder)
        try:
            model = _LOADED[key] = load()
        except ValueError as error:
            raise UnusableModel(str(error)) from error
    return model


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers from printing progress bars and lists of unexpected weights.

    Unexpected weights may be another tower's; what matters is raised.
    """
    logging = need("transformers", extra="hub").utils.logging
    level, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if had_bars:
            logging.enable_progress_bar()
