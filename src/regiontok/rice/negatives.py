"""Which class centres are negatives in a step: drawn by a hash, the batch's own, or both.

After: RICE, section 3.3 (row R5): a share rho of the classes, uniformly, without the region's
positives.
Differs: every class is drawn by itself (hash(seed, step, class) < rho), so that what is drawn does
not depend on how classes are spread over ranks; their number is rho K within chance, not exactly.
Keeping all positives of the batch as negatives of the other regions, as the family's code does, is
`both`; at the paper's batch that is 24 to 28 % of a million classes, whatever rho says.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Int

KINDS = ("uniform", "in_batch", "both")
_WORD = (1 << 64) - 1
_BITS = 53


@dataclass(frozen=True)
class Negatives:
    """Where negatives come from.

    A region's own positives are never among its negatives, and a class counts once.

    Attributes:
        kind: "uniform" draws from all classes, "in_batch" takes the positives of all regions of the
            step, "both" takes the two together.
        rho: share of all classes that is drawn; 1 takes all. "in_batch" does not use it.
        seed: seed of the draws.

    Raises:
        ValueError: If the kind is another one, or rho lies outside (0, 1].
    """

    kind: str = "uniform"
    rho: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown negatives {self.kind!r}; there are {', '.join(KINDS)}")
        if not 0 < self.rho <= 1:
            raise ValueError(
                f"rho is the share of classes drawn, above 0 and at most 1; got {self.rho}"
            )

    def chosen(
        self, step: int, start: int, stop: int, positives: Int[Tensor, "p"], name: str = ""
    ) -> Bool[Tensor, "k"]:
        """Which of the classes start ... stop - 1 are negatives in this step.

        Args:
            step: step of the training.
            start: first class.
            stop: one past the last class.
            positives: classes of the batch's regions that lie in start ... stop - 1; repeats do no
                harm.
            name: name of the head; heads draw apart.
        """
        count, device = stop - start, positives.device
        if self.kind == "in_batch":
            mask = torch.zeros(count, dtype=torch.bool, device=device)
        else:
            mask = drawn(self.seed, step, torch.arange(start, stop, device=device), self.rho, name)
        if self.kind != "uniform":
            mask[positives - start] = True
        return mask


def drawn(
    seed: int, step: int, classes: Int[Tensor, "k"], rho: float, name: str = ""
) -> Bool[Tensor, "k"]:
    """Whether each class is drawn: a pure function of seed, step, class and name.

    The probability is rho. The hash is SplitMix64 of the class, in a stream that seed, step and
    name begin; int64 products wrap as unsigned ones do.

    >>> drawn(0, 7, torch.arange(1_000_000), 0.1).sum()
    tensor(100040)
    """
    if rho >= 1:
        return torch.ones(classes.shape, dtype=torch.bool, device=classes.device)
    digest = hashlib.blake2b(f"{seed} {step} {name}".encode(), digest_size=8).digest()
    mixed = classes * _signed(0x9E3779B97F4A7C15) + int.from_bytes(digest, "big", signed=True)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ _shifted(mixed, shift)) * _signed(factor)
    return _shifted(mixed ^ _shifted(mixed, 31), 64 - _BITS) < int(rho * (1 << _BITS))


def _shifted(words: Int[Tensor, "k"], bits: int) -> Int[Tensor, "k"]:
    """Shifted to the right as unsigned words are: torch would fill in the sign."""
    return (words >> bits) & (_WORD >> bits)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
