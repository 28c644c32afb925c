"""A connector that says each region in words: one word a token, out of groups of words.

A language model that was pretrained on text reads words; vectors that it has never met it learns to
read only slowly. So a linear head names each region - its size, its colour, its texture, its shape,
by the groups of words that are given - and the language model gets the embeddings of these words,
one token a group, or the embedding of "none" where no word of the group fits.

After: nothing published that is known to us; tokens as mixtures of word embeddings are those of
frozen language models with visual words (such as SPAE, Yu et al. 2023, and LQAE, Liu et al. 2023,
which quantise to the vocabulary).
Differs: the vocabulary is a short list of words by groups and not the whole of the language
model's; a region is several tokens, one for each group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from regiontok.methods import Connector

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclass(frozen=True)
class Words(Connector):
    """One token a group of words: the embedding of the word that the group's head chooses.

    Attributes:
        groups: words with spaces between, groups with commas between, such as
            "small large, red green blue".
        nothing: the word that stands for "none of this group".
        soft: True mixes the embeddings of a group's words by their probabilities. False takes the
            likeliest one; gradients go through the mixture all the same (straight-through).

    Raises:
        ValueError: If a group has no word, or the same word twice.

    >>> Words("small large, red green blue").rows
    2
    >>> Words("small large, red green blue").words
    ('small', 'large', 'none', 'red', 'green', 'blue', 'none')
    """

    groups: str
    nothing: str = "none"
    soft: bool = False
    version: ClassVar[int] = 1
    names_regions: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for group in self._groups:
            if len(group) < 2 or len(set(group)) < len(group):
                raise ValueError(
                    f"a group of words has one word or more, each of them once, besides "
                    f"{self.nothing!r}; got {self.groups!r}"
                )

    @property
    def _groups(self) -> tuple[tuple[str, ...], ...]:
        return tuple((*group.split(), self.nothing) for group in self.groups.split(","))

    @property
    def rows(self) -> int:
        """One token a group."""
        return len(self._groups)

    @property
    def words(self) -> tuple[str, ...]:
        """The words of all groups, each with `nothing` at its end."""
        return tuple(word for group in self._groups for word in group)

    def build(self, width: int, out: int) -> WordMixtures:
        """The module `[t width] -> [t*groups out]`."""
        return WordMixtures(width, out, [len(group) for group in self._groups], soft=self.soft)

    def take_words(
        self, module: nn.Module, ids: Sequence[int], embeddings: Float[Tensor, "words out"]
    ) -> None:
        """See `Connector.take_words`."""
        assert isinstance(module, WordMixtures)
        with torch.no_grad():
            module.embeddings.copy_(embeddings)
            module.ids.copy_(torch.tensor(ids))

    def naming_loss(
        self, module: nn.Module, values: Float[Tensor, "t width"], words: Int[Tensor, "t names"]
    ) -> Float[Tensor, ""]:
        """See `Connector.naming_loss`; a mean over groups."""
        assert isinstance(module, WordMixtures)
        return module.naming_loss(values, words)


class WordMixtures(nn.Module):
    """A linear head that names tokens, and the embeddings of its words.

    Args:
        width: width of the tokens.
        out: width of the language model's embeddings.
        sizes: number of words of each group, of which the last stands for nothing.
        soft: see `Words`.

    Attributes:
        head: the linear head, whose outputs are the words of all groups one after the other.
        embeddings: `[words out]`, a buffer: those of the language model once `Words.take_words` has
            given them, until then random ones.
        ids: `[words]` int64, a buffer: the first id of each word, -1 until then.
    """

    embeddings: Tensor
    ids: Tensor

    def __init__(self, width: int, out: int, sizes: Sequence[int], *, soft: bool) -> None:
        super().__init__()
        self.sizes, self.soft = list(sizes), soft
        self.head = nn.Linear(width, sum(sizes))
        self.register_buffer("embeddings", torch.randn(sum(sizes), out) * out**-0.5)
        self.register_buffer("ids", torch.full((sum(sizes),), -1))

    def forward(self, values: Float[Tensor, "t width"]) -> Float[Tensor, "t*groups out"]:
        """Embeddings of the words of each token."""
        groups = zip(
            self.head(values).split(self.sizes, -1), self.embeddings.split(self.sizes), strict=True
        )
        said = [self._shares(logits) @ embeddings for logits, embeddings in groups]
        return torch.stack(said, 1).flatten(0, 1)

    def _shares(self, logits: Float[Tensor, "t words"]) -> Float[Tensor, "t words"]:
        """The share of each word of a group."""
        shares = logits.softmax(-1)
        if self.soft:
            return shares
        chosen = one_hot(logits.argmax(-1), logits.shape[-1]).to(shares.dtype)
        # the difference is zero, and carries the gradient
        return chosen + (shares - shares.detach())

    def naming_loss(
        self, values: Float[Tensor, "t width"], words: Int[Tensor, "t names"]
    ) -> Float[Tensor, ""]:
        """Cross-entropy of the head, mean over tokens and groups.

        Args:
            values: the tokens, in the head's type.
            words: ids of the words that name each token. A group none of whose words is among them
                is to say that there is nothing.
        """
        is_named = (words[:, None, :] == self.ids[None, :, None]).any(-1)  # [t words]
        groups = zip(
            self.head(values).float().split(self.sizes, -1),
            is_named.split(self.sizes, -1),
            strict=True,
        )
        losses = []
        for logits, named in groups:
            named[:, -1] = ~named[:, :-1].any(-1)
            losses.append(cross_entropy(logits, named.int().argmax(-1)))
        return torch.stack(losses).mean()
