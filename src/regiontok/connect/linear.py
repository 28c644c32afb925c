"""One linear layer between encoder and language model: the first LLaVA's connector.

After: LLaVA (Liu et al. 2023), section 4.1.
Differs: nothing known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from regiontok.methods import Connector


@dataclass(frozen=True)
class Linear(Connector):
    """One layer, with a bias."""

    version: ClassVar[int] = 1

    def build(self, width: int, out: int) -> nn.Linear:
        """The module `[... width] -> [... out]`."""
        return nn.Linear(width, out)
