"""Names of classes and their numbers, in the order in which they are met."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from regiontok.system.errors import RegiontokError, first_line
from regiontok.system.files import replacing
from regiontok.system.strict_json import json_bytes

FILE = "classes.json"


class ClassError(RegiontokError, ValueError):
    """A file of class names that cannot be read, or a class that it does not have."""


class ClassNames:
    """Class names by number.

    Args:
        names: the names that are known.
        is_closed: True if no other may be added.
    """

    def __init__(self, names: list[str], *, is_closed: bool = False) -> None:
        self.names, self._is_closed = names, is_closed
        self._numbers = {name: number for number, name in enumerate(names)}
        self._largest = -1

    @classmethod
    def open(cls, out: Path, names_file: Path | None = None) -> ClassNames:
        """The names of an output folder, which grow, or those of a file, which do not.

        Args:
            out: the folder, in which `classes.json` may lie from an earlier run.
            names_file: a JSON list of names, another folder's `classes.json`, or annotations in
                COCO's form, whose categories are the classes by ascending id; None for no file.

        Raises:
            ClassError: If a file is neither, or names a class twice.
        """
        path = out / FILE if names_file is None else names_file
        if names_file is None and not path.is_file():
            return cls([])
        try:
            names = _names_in(json.loads(path.read_bytes()))
        except (OSError, ValueError, RecursionError) as error:
            raise ClassError(f"{path}: cannot be read ({first_line(error)})") from None
        is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
        if not is_list or len(set(names)) < len(names):
            raise ClassError(
                f"{path}: expected a JSON list of different names, or COCO's annotations"
            )
        return cls(names, is_closed=names_file is not None)

    @property
    def count(self) -> int:
        """How many classes there are, by name or by the largest number."""
        return max(len(self.names), self._largest + 1)

    def number(self, label: int | str | None) -> int:
        """The number of a class; -1 for none.

        Raises:
            ClassError: If the names came from a file and this is none of them.
        """
        if label is None:
            return -1
        if isinstance(label, int):
            if self._is_closed and label >= len(self.names):
                raise ClassError(f"class {label} is not below {len(self.names)}")
            self._largest = max(self._largest, label)
            return label
        if label not in self._numbers:
            if self._is_closed:
                raise ClassError(f"{label!r} is none of the {len(self.names)} classes")
            self._numbers[label] = len(self.names)
            self.names.append(label)
        return self._numbers[label]

    def save(self, out: Path) -> None:
        """Keep the names in an output folder."""
        if self.names:
            with replacing(out / FILE) as temporary:
                temporary.write_bytes(json_bytes(self.names, indent=1))


def _names_in(stated: Any) -> Any:
    """The names of categories in COCO's form; anything else as it is."""
    if not isinstance(stated, dict):
        return stated
    try:
        return [
            entry["name"] for entry in sorted(stated["categories"], key=lambda each: each["id"])
        ]
    except (KeyError, TypeError):
        return None
