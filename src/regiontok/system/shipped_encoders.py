"""Encoders that come with the package, by name: `mini-rice`, and its twin `mini-whole`.

Each is a folder of `regiontok/shipped/encoders`, in the layout that `regiontok pretrain` exports;
`shipped.json` in it says how it came about and what its features know. They lie apart from the
models beside them: an encoder answers no question, so nothing that lists or loads models meets it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regiontok.system.errors import UnusableModel
from regiontok.system.shipped_models import FACTS
from regiontok.system.shipped_models import FOLDER as MODELS

FOLDER = MODELS / "encoders"


@dataclass(frozen=True)
class ShippedEncoder:
    """An encoder that comes with the package.

    Attributes:
        name: its name, which is that of its folder.
        folder: where it lies.
        facts: what `shipped.json` says: `what`, `recipe`, `parameters`, `regions`, and more.
    """

    name: str
    folder: Path
    facts: Mapping[str, Any]

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())


def shipped_encoders() -> dict[str, ShippedEncoder]:
    """The encoders that came with the package by their names.

    Raises:
        UnusableModel: If one is damaged.
    """
    folders = sorted(path.parent for path in FOLDER.glob(f"*/{FACTS}"))
    return {folder.name: ShippedEncoder(folder.name, folder, _facts(folder)) for folder in folders}


def _facts(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / FACTS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UnusableModel(
            f"{folder.name} came with the package and cannot be read ({error}): install regiontok "
            "again"
        ) from None


def encoder_folder(name: str) -> Path | None:
    """The folder of an encoder that came with the package; None if there is none of that name.

    Args:
        name: such as "mini-rice".
    """
    names = {path.parent.name for path in FOLDER.glob(f"*/{FACTS}")}
    return FOLDER / name if name in names else None
