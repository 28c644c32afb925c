"""What replies hold beside words: key-value pairs and boxes."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_FENCED = re.compile(r"```(?:json|python)?\s*(.*?)```", re.DOTALL)
_PAIR = re.compile(r"[\"']?([\w\s]+)[\"']?\s*[:=]\s*[\"']?([^\n,\"'{}]+)[\"']?")
_BOX = re.compile(r"[(\[]\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*[)\]]")


def pairs_of(reply: str) -> dict[str, str]:
    """The keys and values of a reply: a JSON object, a Python one, or lines `key: value`.

    >>> pairs_of('{"total": 3}'), pairs_of("shop: Aldi, total: 3")
    ({'total': '3'}, {'shop': 'Aldi', 'total': '3'})
    """
    match = _FENCED.search(reply)
    content = (match[1] if match else reply).strip()
    for parse in (json.loads, ast.literal_eval):
        try:
            parsed = parse(content)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(parsed, Mapping):
            return {str(key).strip(): str(value).strip() for key, value in parsed.items()}
    return {key.strip(): value.strip() for key, value in _PAIR.findall(content)}


def pairs_agreement(said: Mapping[str, str], right: Mapping[str, Sequence[str]]) -> float:
    """The share of keys, of both sides, whose value is one of the right ones.

    Case and blanks do not count.

    >>> pairs_agreement({"total": "3 EUR", "date": "May"}, {"total": ["3eur"]})
    0.5
    """
    keys = {*said, *right}
    hits = sum(
        _plain(said[key]) in {_plain(value) for value in right[key]}
        for key in keys
        if key in said and key in right
    )
    return hits / len(keys) if keys else 0.0


def _plain(text: str) -> str:
    return str(text).lower().replace("\n", " ").replace(" ", "")


def last_box(reply: str) -> list[int] | None:
    """The last box of four whole numbers up to 1,000 in brackets; None if there is none.

    >>> last_box("at [1, 2, 30, 40]"), last_box("nowhere")
    ([1, 2, 30, 40], None)
    """
    boxes = [[int(side) for side in match.groups()] for match in _BOX.finditer(reply)]
    boxes = [box for box in boxes if max(box) <= 1000]
    return boxes[-1] if boxes else None


def box_overlap(first: Sequence[Any], second: Sequence[Any]) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1); 0 for what is no box.

    >>> box_overlap([0, 0, 10, 10], [0, 0, 10, 5])
    0.5
    """
    try:
        a, b = ([int(float(side)) for side in box] for box in (first, second))
        width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
        areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    except (TypeError, ValueError, IndexError):
        return 0.0
    inside = max(0, width) * max(0, height)
    return inside / (areas - inside) if areas - inside else 0.0
