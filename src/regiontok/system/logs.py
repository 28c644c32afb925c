"""Loggers of this package: quiet until the application says otherwise.

Every module logs under its own name below "regiontok". To see what the library reports::

    import logging

    logging.basicConfig(level=logging.INFO)
    logging.getLogger("regiontok").setLevel(logging.DEBUG)
"""

from __future__ import annotations

import logging

# Without a handler of its own, Python would print warnings to stderr unasked.
logging.getLogger("regiontok").addHandler(logging.NullHandler())


def module_logger(name: str) -> logging.Logger:
    """The logger of a module, by its ``__name__``.

    It is asked for here, and not of `logging`, so that the package's logger has its silent handler
    before the first message; ``import regiontok`` itself does not load `logging` (15 ms).

    >>> module_logger("regiontok.system.checkpoint").parent.handlers
    [<NullHandler (NOTSET)>]
    """
    return logging.getLogger(name)
