"""What becomes of a step whose loss leaps: the run stops, or the step is left out.

After: nothing published for RICE; leaving out batches at which the loss leaps is what PaLM's
authors did by hand (Chowdhery et al. 2022, arXiv:2204.02311, section 5.1).
Differs: a step is left out before it changes anything, and training does not go back.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from regiontok.settings.pretrain_recipe import PretrainSpikes


class Spikes:
    """Tells the steps that leap, from the losses before them.

    Every rank sees the same losses, so that all of them decide alike; the losses of a run that goes
    on come from its log.

    Args:
        settings: the `[pretrain.spikes]` table of the recipe.
        entries: the log so far.
    """

    def __init__(self, settings: PretrainSpikes, entries: Iterable[Mapping[str, Any]] = ()) -> None:
        self.settings = settings
        self.left_out = 0  # steps in a row
        self._losses: deque[float] = deque(maxlen=settings.window)
        for entry in entries:
            if entry["kind"] == "step":
                self.taken(entry["loss"])
            elif "left_out" in entry:
                self.left_out = entry["left_out"]

    def taken(self, loss: float) -> None:
        """Remember the loss of a step that was taken."""
        self._losses.append(loss)
        self.left_out = 0

    def leap(self, loss: float, *norms: float) -> str:
        """What is wrong with a step, in words; "" if nothing is.

        Args:
            loss: the step's loss.
            norms: the norms of its gradients.
        """
        if not all(map(math.isfinite, (loss, *norms))):
            return "not finite"
        settings = self.settings
        if not settings.factor or len(self._losses) < settings.window:
            return ""
        usual = statistics.median(self._losses)
        if loss <= settings.factor * usual:
            return ""
        return f"above {settings.factor:g} times {usual:.4g}, the median of {settings.window} steps"

    def may_leave_out(self) -> bool:
        """Whether one more step may be left out; it is counted."""
        self.left_out += 1
        return self.settings.policy == "skip" and self.left_out <= self.settings.most
