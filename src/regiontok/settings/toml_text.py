"""Values as TOML text, which `tomllib` reads back as the same values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any


def toml_lines(values: Mapping[str, Any]) -> list[str]:
    """One line ``key = value`` for each value but None, for which TOML has no word.

    None is the default wherever it may stand in a recipe.

    >>> toml_lines({"steps": None, "rate": 1e-3, "train": ["connector"], "lora": {"rank": 8}})
    ['rate = 0.001', 'train = ["connector"]', 'lora = { rank = 8 }']
    """
    return [
        f"{_key(key)} = {toml_value(value)}" for key, value in values.items() if value is not None
    ]


def toml_value(value: Any) -> str:
    """A bool, number, text, list or table as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(toml_lines(value))} }}"
    # JSON's escapes are TOML's, but for DEL
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_value(key)
