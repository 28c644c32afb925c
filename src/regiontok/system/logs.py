"""Loggers of this package: quiet until the application says otherwise.

Every module logs under its own name below "regiontok". To see what the library reports::

    import logging

    logging.basicConfig(level=logging.INFO)
    logging.getLogger("regiontok").setLevel(logging.DEBUG)

The command line is such an application: it prints each warning once, see `warnings_to`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from regiontok.system.errors import RegiontokWarning

_PACKAGE = logging.getLogger("regiontok")
# Without a handler of its own, Python would print warnings to stderr unasked.
_PACKAGE.addHandler(logging.NullHandler())


def module_logger(name: str) -> logging.Logger:
    """The logger of a module, by its ``__name__``.

    It is asked for here, and not of `logging`, so that the package's logger has its silent handler
    before the first message; ``import regiontok`` itself does not load `logging` (15 ms).

    >>> module_logger("regiontok.system.checkpoint").parent.handlers
    [<NullHandler (NOTSET)>]
    """
    return logging.getLogger(name)


@contextmanager
def warnings_to(tell: Callable[[str], None]) -> Iterator[None]:
    """Let each warning of this package, logged or given by `warnings`, be told once as plain text.

    Warnings of other packages are shown as before.

    Args:
        tell: takes the text of a warning.
    """
    handler = _Teller(tell)

    show_before = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, RegiontokWarning):
            handler.tell_once(str(message))
        else:
            show_before(message, category, filename, lineno, file, line)

    _PACKAGE.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show
            yield
    finally:
        _PACKAGE.removeHandler(handler)


class _Teller(logging.Handler):
    """Tells each warning once."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Tell what a record says."""
        self.tell_once(record.getMessage())

    def tell_once(self, text: str) -> None:
        """Tell a text that was not told before."""
        if text not in self._told:
            self._told.add(text)
            self._tell(text)
