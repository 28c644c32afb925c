"""A token that ends (or begins) each mask: a vector of its own, before or after the connector, or a
token of the vocabulary.

After: OG-LLaVA, section 5.4.2, equation 9 (row O7: T + N tokens); section 5.7 (as a token of the
language model's vocabulary). The paper's stands before the connector (`place_features`), so it has
the encoder's width, whatever equation 9 says.
Differs: the paper writes e_i and says neither whether masks share it nor whether it learns: here
all masks share one vector, and `learned=False` keeps it as it was drawn. It starts at unit length,
as a newline token does. A view without masks gets none, so that a model trained with delimiters
answers without masks on the V rows alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import nn

from regiontok.core.grid import PatchGrid
from regiontok.core.tokens import DELIMITER, Tokens
from regiontok.methods import Place
from regiontok.place._masks import mask_of


@dataclass(frozen=True)
class Delimiter(Place):
    """One token of kind delimiter a mask, with the mask's region id and no patch.

    Attributes:
        at: behind each mask's rows, or in front of them (what the release does).
        learned: False: the vector stays as it was drawn; it is saved all the same.
        token: a token of the language model's vocabulary, as text, whose embedding stands there;
            only after the connector, in a model.
    """

    at: Literal["end", "begin"] = "end"
    learned: bool = True
    token: str = ""
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.token and not self.learned:
            raise ValueError(
                f"the token {self.token!r} learns as the language model's embedding does; leave learned=False out"
            )

    def build(self, width: int) -> nn.Module:
        """The module `(tokens [t width], grids) -> Tokens [t + n width]`."""
        return Delimiters(width, at=self.at, learned=self.learned, own=not self.token)


class Delimiters(nn.Module):
    """Put a delimiter to each mask; `own=False` leaves its value at zero, to be filled with the row
    of an embedding."""

    vector: torch.Tensor | None

    def __init__(self, width: int, *, at: str, learned: bool, own: bool) -> None:
        super().__init__()
        self.at = at
        drawn = torch.randn(width) * width**-0.5 if own else None
        if drawn is not None and learned:
            self.vector = nn.Parameter(drawn)
        else:
            self.register_buffer("vector", drawn)

    def forward(self, tokens: Tokens, grids: Sequence[PatchGrid]) -> Tokens:
        """The tokens with their delimiters between them."""
        number = mask_of(tokens, grids)
        rows = (number > 0).nonzero()[:, 0]
        # a mask ends where the next row with a number has another, or another image's; a delimiter
        # that stands there already is no row
        joint = (number[rows].diff() != 0) | (tokens.image[rows].diff() != 0)
        edge = torch.ones_like(rows, dtype=torch.bool)
        if self.at == "end":
            edge[:-1] = joint
        else:
            edge[1:] = joint
        places = torch.arange(len(tokens), device=rows.device)
        index = torch.cat([places, rows[edge]]).sort().values
        new = torch.zeros_like(index, dtype=torch.bool)
        twice = index.diff() == 0  # a row taken twice: one of the two stands for the delimiter
        (new[1:] if self.at == "end" else new[:-1])[:] = twice
        taken = tokens.take(index)
        vector = (
            taken.values.new_zeros(())
            if self.vector is None
            else self.vector.to(taken.values.dtype)
        )
        values = torch.where(new[:, None], vector, taken.values)
        kind, patch = taken.kind.masked_fill(new, DELIMITER), taken.patch.masked_fill(new, -1)
        return replace(taken, values=values, kind=kind, patch=patch)
