"""The folders and files that were named: nothing else is ever opened for a page."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from regiontok.system.errors import RegiontokError


class OutsideRoots(RegiontokError, ValueError):
    """A file does not lie below what was named on the command line; the message says what to do."""


class Roots:
    """What may be opened: files that were named, and files below folders that were named.

    Links are followed before anything is compared, so that none leads outside.

    Args:
        paths: the files and folders that were named.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._roots = [path.resolve() for path in paths]

    def holds(self, path: Path) -> bool:
        """True if the file lies below a root, wherever its links lead."""
        try:
            place = path.resolve()
        except (OSError, RuntimeError):  # a loop of links
            return False
        return any(place == root or root in place.parents for root in self._roots)

    def check(self, path: Path) -> Path:
        """The path as it is.

        Raises:
            OutsideRoots: If it lies below none of the roots.
        """
        if not self.holds(path):
            raise OutsideRoots(
                f"{path.name} lies outside the folders that were named: name its folder, too"
            )
        return path
