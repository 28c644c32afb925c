"""A token that ends (or begins) each mask: a vector of its own, or a token of the vocabulary.

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
from torch import Tensor, nn

from regiontok.core.grid import PatchGrid
from regiontok.core.tokens import DELIMITER, Tokens
from regiontok.methods import Place
from regiontok.place._masks import mask_of


@dataclass(frozen=True)
class Delimiter(Place):
    """One token of kind delimiter for each mask, with the mask's region id and no patch.

    Attributes:
        side: "end" puts it behind each mask's rows, "begin" in front of them, as the release does.
        learned: False keeps the vector as it was drawn; it is saved all the same.
        token: a token of the language model's vocabulary, as text, whose embedding is the
            delimiter; only after the connector, in a model.

    Raises:
        ValueError: If a token of the vocabulary is not to learn.
    """

    side: Literal["end", "begin"] = "end"
    learned: bool = True
    token: str = ""
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.token and not self.learned:
            raise ValueError(
                f"the token {self.token!r} learns as the language model's embedding does; leave "
                "learned=False out"
            )

    def build(self, width: int) -> nn.Module:
        """The module `(tokens [t width], grids) -> Tokens [t + n width]`."""
        return Delimiters(width, side=self.side, learned=self.learned, has_vector=not self.token)


class Delimiters(nn.Module):
    """Put a delimiter to each mask.

    Without a vector of its own (`has_vector=False`) delimiters are zero, to be filled with the row
    of an embedding.
    """

    vector: Tensor | None

    def __init__(
        self, width: int, *, side: Literal["end", "begin"], learned: bool, has_vector: bool
    ) -> None:
        super().__init__()
        self.side = side
        drawn = torch.randn(width) * width**-0.5 if has_vector else None
        if drawn is not None and learned:
            self.vector = nn.Parameter(drawn)
        else:
            self.register_buffer("vector", drawn)

    def forward(self, tokens: Tokens, grids: Sequence[PatchGrid]) -> Tokens:
        """The tokens with their delimiters between them."""
        number = mask_of(tokens, grids)
        rows = (number > 0).nonzero()[:, 0]
        # A mask ends where the next numbered row has another number or image. A delimiter that
        # stands there already is no row.
        changes = (number[rows].diff() != 0) | (tokens.image[rows].diff() != 0)
        edge = torch.ones_like(rows, dtype=torch.bool)
        if self.side == "end":
            edge[:-1] = changes
        else:
            edge[1:] = changes
        index = torch.cat([torch.arange(len(tokens), device=rows.device), rows[edge]]).sort().values
        # Of a row that is taken twice one stands for the delimiter.
        is_delimiter = torch.zeros_like(index, dtype=torch.bool)
        twice = index.diff() == 0
        if self.side == "end":
            is_delimiter[1:] = twice
        else:
            is_delimiter[:-1] = twice
        taken = tokens.take(index)
        if self.vector is None:
            vector = taken.values.new_zeros(())
        else:
            vector = self.vector.to(taken.values.dtype)
        return replace(
            taken,
            values=torch.where(is_delimiter[:, None], vector, taken.values),
            kind=taken.kind.masked_fill(is_delimiter, DELIMITER),
            patch=taken.patch.masked_fill(is_delimiter, -1),
        )
