"""What the model hub's cache on this machine holds, read off its folders: no network, and the hub's
own library is not needed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

Here = Literal["yes", "partly", "no"]


def cache_folder() -> Path:
    """Where the hub's library keeps models: `HF_HUB_CACHE`, `HF_HOME/hub`, or
    `~/.cache/huggingface/hub`."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    home = Path(os.environ.get("HF_HOME") or default)
    own = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(os.path.expandvars(own or home / "hub")).expanduser()


def cached(model: str, revision: str = "main") -> Path | None:
    """The folder of a hub model at a branch, tag or commit, as the cache has it; None if nothing of
    it is there.

    >>> cached("no/such-model") is None
    True
    """
    root = cache_folder() / f"models--{model.replace('/', '--')}"
    ref = root / "refs" / revision
    commit = ref.read_text(encoding="utf-8").strip() if ref.is_file() else revision
    folder = root / "snapshots" / commit
    return folder if folder.is_dir() else None


def here(model: str | Path) -> Here:
    """Whether config and weights of a folder or hub name are on this machine; "partly" if some of
    it is, or weights only as pickles."""
    own = Path(model).expanduser()
    folder = own if own.is_dir() else cached(str(model))
    if folder is None:
        return "no"
    return "yes" if (folder / "config.json").is_file() and _weights(folder) else "partly"


def _weights(folder: Path) -> bool:
    """All safetensors files of a checkpoint. A link into the cache's blobs that leads nowhere is no
    file."""
    if (folder / "model.safetensors").is_file():
        return True
    index = folder / "model.safetensors.index.json"
    try:
        shards = (
            set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            if index.is_file()
            else set()
        )
    except (ValueError, KeyError, AttributeError):
        return False
    return bool(shards) and all((folder / name).is_file() for name in shards)
