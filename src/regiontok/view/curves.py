"""The curves of a training or pretraining run, as the page draws them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from regiontok.jobs.curves import curve_panels
from regiontok.system.errors import RegiontokError


class BrokenRun(RegiontokError, ValueError):
    """A run's folder cannot be read; the message says what is wrong with it."""


def curve_data(run: Path) -> dict[str, Any]:
    """The kind of a run, its steps, and a panel a plot: title, axes and lines.

    Raises:
        BrokenRun: If its log has no step, or cannot be read.
    """
    try:
        kind, panels, steps = curve_panels(run)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise BrokenRun(f"{run.name}: its log cannot be read ({error})") from None
    return {"what": kind, "steps": steps, "curves": [asdict(panel) for panel in panels]}
