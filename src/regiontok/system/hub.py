"""What the model hub's cache on this machine holds, read off its folders.

No network is asked, and the hub's own library is not needed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

Availability = Literal["yes", "partly", "no"]


def cache_folder() -> Path:
    """Where the hub's library keeps models, as the environment says.

    That is `HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`.
    """
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    home = Path(os.environ.get("HF_HOME") or default)
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(os.path.expandvars(named or home / "hub")).expanduser()


def cached_folder(model: str, revision: str = "main") -> Path | None:
    """The folder of a hub model in the cache, or None if nothing of it is there.

    Args:
        model: name on the hub, "owner/name".
        revision: a branch, a tag or a commit.

    >>> cached_folder("no/such-model") is None
    True
    """
    root = cache_folder() / f"models--{model.replace('/', '--')}"
    ref = root / "refs" / revision
    commit = ref.read_text(encoding="utf-8").strip() if ref.is_file() else revision
    folder = root / "snapshots" / commit
    return folder if folder.is_dir() else None


def availability(model: str | Path) -> Availability:
    """Whether the config and the weights of a folder or hub name are on this machine.

    Returns:
        "yes", "no", or "partly" if only some of the files are there, or weights only as pickles.
    """
    local = Path(model).expanduser()
    folder = local if local.is_dir() else cached_folder(str(model))
    if folder is None:
        return "no"
    complete = (folder / "config.json").is_file() and _has_safetensors(folder)
    return "yes" if complete else "partly"


def _has_safetensors(folder: Path) -> bool:
    """True if all safetensors files of a checkpoint are there.

    A link into the cache's blobs that leads nowhere is no file.
    """
    if (folder / "model.safetensors").is_file():
        return True
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return False
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError, RecursionError):
        return False
    return bool(shards) and all((folder / name).is_file() for name in shards)
