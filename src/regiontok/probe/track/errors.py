"""What is wrong with a clip or with a data set of clips."""

from __future__ import annotations

from regiontok.system.errors import RegiontokError


class BadClip(RegiontokError, ValueError):
    """A clip that cannot be read or followed; the message says why.

    A data set sets such a clip aside and counts it.
    """


class NoClips(RegiontokError, ValueError):
    """A folder without a single usable clip, or of another layout; the message says which."""
