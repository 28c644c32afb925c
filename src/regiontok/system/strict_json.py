"""JSON that every reader takes: numbers that are not finite become null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def strict_json(value: Any, **options: Any) -> str:
    """A value as JSON text; NaN and infinities, for which JSON has no word, become null.

    Args:
        value: what `json.dumps` takes.
        **options: options of `json.dumps`.

    >>> strict_json({"loss": float("nan"), "rows": [1.5, float("-inf")]})
    '{"loss": null, "rows": [1.5, null]}'
    """
    return json.dumps(_finite(value), allow_nan=False, **options)


def json_bytes(value: Any, **options: Any) -> bytes:
    r"""A value as the text of a JSON file, by `strict_json`, which ends with a line end.

    Bytes of a path that are no UTF-8 are escaped as JSON has it.

    >>> json_bytes({"image": "caf\udce9.png", "grid": "3 × 4"}).decode()
    '{"image": "caf\\udce9.png", "grid": "3 × 4"}\n'
    """
    text = strict_json(value, ensure_ascii=False, **options) + "\n"
    return text.encode("utf-8", "backslashreplace")


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: If it is no JSON, also where its brackets nest too deep to be read.

    >>> parse_json('{"rows": [1, 2]}')
    {'rows': [1, 2]}
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its brackets nest too deep") from None


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
