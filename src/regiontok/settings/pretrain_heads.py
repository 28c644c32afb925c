"""The heads of a `[pretrain]` recipe: class centres of objects and of text, losses and negatives.

After: RICE, sections 3.3 and 4.1 (rows R5, R6).
Differs: nothing known.
"""

from __future__ import annotations

from typing import Literal

from regiontok.settings.base import Positive, Settings, Share

LossKind = Literal["twosided", "softmax", "softmax_rivals"]
NegativesKind = Literal["uniform", "in_batch", "both"]


class PretrainLoss(Settings):
    """Losses and negatives of all heads (rows R5, R6).

    `regiontok.rice.loss` and `regiontok.rice.negatives` say what each setting does. With several
    positives "softmax_rivals", which keeps a region's other positives in each softmax, is the
    authors' code; "softmax" drops them.
    """

    kind: LossKind = "twosided"
    margin: float = 0.3
    angular: bool = False
    scale: float = 64.0
    negatives: NegativesKind = "uniform"
    rho: float = 0.1
    filter: Share = 0.0


class HeadLoss(Settings):
    """What one head has otherwise than `[pretrain.loss]`; None is the same."""

    kind: LossKind | None = None
    margin: float | None = None
    angular: bool | None = None
    scale: float | None = None
    negatives: NegativesKind | None = None
    rho: float | None = None
    filter: Share | None = None

    def over(self, shared: PretrainLoss) -> PretrainLoss:
        """The head's own losses and negatives, out of those of all heads."""
        return PretrainLoss(**(shared.model_dump() | self.model_dump(exclude_none=True)))


class ObjectHead(Settings):
    """Class centres of objects: every region has one positive class.

    Attributes:
        classes: number of classes.
        centres: where the class centres start: a `.npy` of centroids, or a checkpoint of another
            run (`RUN/checkpoints/step-N`); "" draws them at random.
        weight: weight of the head's loss.
        loss: what this head's losses and negatives have otherwise than those of all heads.
    """

    classes: Positive
    centres: str = ""
    weight: float = 1.0
    loss: HeadLoss = HeadLoss()


class TextHead(Settings):
    """Class centres of text: the token ids of a region's text are its positives (row R6).

    Attributes:
        tokenizer: "bytes" (256 classes), or folder or hub name of a tokenizer of transformers.
        classes: size of its vocabulary.
        positives: M, how many distinct tokens of a text are its labels; of more, M are drawn at
            random, and the others are no negatives of it either.
        centres: where the class centres start, as in `ObjectHead`.
        weight: weight of the head's loss.
        loss: what this head's losses and negatives have otherwise than those of all heads.
    """

    tokenizer: str = "bytes"
    classes: Positive = 256
    positives: Positive = 10
    centres: str = ""
    weight: float = 1.0
    loss: HeadLoss = HeadLoss()
