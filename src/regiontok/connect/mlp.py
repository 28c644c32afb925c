"""A stack of linear layers with GELU between them: LLaVA-1.5's connector, two layers deep.

After: diagnostic study, section 3.2 (row D12); OG-LLaVA, section 2.2 (row O3); LLaVA-1.5's
`mlp2x_gelu`.
Differs: nothing known. The layers stand at 0, 2, 4 ... of a `Sequential`, where LLaVA's
`mm_projector.bin` has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from regiontok.methods import Connector


@dataclass(frozen=True)
class Mlp(Connector):
    """`depth` linear layers, of which the first takes the encoder's width to the language model's.

    Attributes:
        depth: number of linear layers.

    Raises:
        ValueError: If there is no layer.

    >>> [tuple(p.shape) for p in Mlp().build(3, 5).parameters()]
    [(5, 3), (5,), (5, 5), (5,)]
    """

    depth: int = 2
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ValueError(f"a connector has at least one layer, got depth={self.depth}")

    def build(self, width: int, out: int) -> nn.Sequential:
        """The module `[... width] -> [... out]`."""
        layers: list[nn.Module] = [nn.Linear(width, out)]
        for _ in range(self.depth - 1):
            layers += [nn.GELU(), nn.Linear(out, out)]
        return nn.Sequential(*layers)
