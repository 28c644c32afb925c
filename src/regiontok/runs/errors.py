"""How a run refuses to start, and how it ends before its last step."""

from __future__ import annotations

from regiontok.system.errors import RegiontokError


class OtherRun(RegiontokError, ValueError):
    """The folder holds a run of another recipe, or of other options that decide the result."""


class RunStopped(RegiontokError, ValueError):
    """A run ended before its last step; the message says why, and how to go on."""


class NoWholeCheckpoint(RegiontokError, ValueError):
    """A run has checkpoints, and all of them are damaged; the message says how each is."""
