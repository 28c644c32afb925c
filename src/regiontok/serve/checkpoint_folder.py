"""The folder of a checkpoint that a server reads: what may be replaced, and its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from regiontok.system.errors import first_line

ENDINGS = (".json", ".safetensors", ".jinja", ".txt", ".model")


def check_place(out: Path) -> None:
    """Refuse to replace a folder that is no checkpoint.

    Raises:
        ValueError: If it holds something else.
    """
    entries = list(out.iterdir()) if out.exists() else []
    foreign = [path.name for path in entries if path.is_dir() or path.suffix not in ENDINGS]
    if entries and (foreign or not (out / "config.json").is_file()):
        raise ValueError(
            f"{out} is there and holds {min(foreign, default=entries[0].name)!r}, which is no part "
            "of a checkpoint: name a new folder"
        )


def saved_tokenizer(name: str) -> Any:
    """The tokenizer that lies in a folder.

    Raises:
        ValueError: If there is none that can be read.
    """
    try:
        return AutoTokenizer.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{name} has no tokenizer that can be read ({first_line(error)}): save one there"
        ) from None
