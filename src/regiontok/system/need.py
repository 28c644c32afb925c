"""Optional packages: a missing one is one error, which names the extra of regiontok that brings it.

`need` imports one inside a function. Modules that cannot do without one import it at their top; who
imports such a module for a user turns the error into the same one by `named_extra`.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from regiontok.system.errors import RegiontokError

# What optional packages are imported as, and the extra that brings each.
EXTRAS = {
    "transformers": "hub",
    "huggingface_hub": "hub",
    "accelerate": "train",
    "peft": "train",
    "matplotlib": "plot",
    "pyarrow": "store",
    "fsspec": "s3",
    "s3fs": "s3",
    "av": "video",
    "tensorboard": "log",
    "trackio": "trackio",
    "wandb": "wandb",
    "sklearn": "sklearn",
    "cuml": "cuml",
    "pillow_heif": "heic",
    "apted": "ocr",
    "lxml": "ocr",
    "nltk": "ocr",
    "jieba": "ocr",
    "faster_coco_eval": "probe",
    "rapidocr": "curate",
    "ray": "ray",
    "onnxruntime": "curate",
    "starlette": "view",
    "uvicorn": "view",
}


class MissingPackage(RegiontokError, ImportError):
    """An optional package is not installed; the message says which extra of regiontok brings it."""


def need(module: str, *, extra: str) -> ModuleType:
    """Import an optional module, or say how to install it.

    Args:
        module: dotted name.
        extra: the extra of regiontok that brings its package.

    Raises:
        MissingPackage: If the package is not installed: ``this needs X, which is not installed: pip
            install 'regiontok[extra]'``.

    >>> need("json", extra="hub").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] != module.split(".")[0]:
            # The package is installed, but lacks one of its own: its own message says which.
            raise
        # A submodule, if the package is installed but too old to have it.
        missing = error.name or module
        raise _missing(missing, extra) from None


def named_extra(error: ImportError) -> ImportError:
    """The error that names the extra, if an optional package is missing; any other as it is.

    >>> named_extra(ModuleNotFoundError("No module named 'peft'", name="peft"))
    MissingPackage("this needs peft, which is not installed: pip install 'regiontok[train]'")
    """
    extra = EXTRAS.get((error.name or "").split(".")[0])
    if extra is None or not isinstance(error, ModuleNotFoundError):
        return error
    return _missing(str(error.name), extra)


def _missing(module: str, extra: str) -> MissingPackage:
    return MissingPackage(
        f"this needs {module}, which is not installed: pip install 'regiontok[{extra}]'",
        name=module,
    )
