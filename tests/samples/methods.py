"""Methods that differ in a hook from others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


def variant(method_class: type, name: str, **hooks: Any) -> Any:
    """A method of a class of its own, which derives from another and changes some hooks."""
    return dataclass(frozen=True)(type(name, (method_class,), hooks))()
