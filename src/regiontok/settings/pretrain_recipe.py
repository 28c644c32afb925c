"""The `[pretrain]` table of a recipe: region transformer, class centres, data, stages of growing
resolution.

After: RICE, section 4.1 (rows R3 to R8); what the text does not say (warm-up, decay, number of
region layers, OCR's vocabulary) is ours.
Differs: nothing known beyond that.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PretrainModel(_Settings):
    """The encoder (row R4).

    Attributes:
        vit: a size that `regiontok.rice.vit` names.
        start: folder or hub name of an encoder in MLCD's layout to go on from, in place of random
            weights.
        region_layers: last blocks that also run region rows; 0: attention pooling after the last
            block.
        query: what a region row starts from.
    """

    vit: str = "mini"
    start: str = ""
    region_layers: Annotated[int, Field(ge=0)] = 1
    query: Literal["cls", "learned"] = "cls"


class PretrainData(_Settings):
    """A source: a folder of shards with side-cars, or generated scenes such as "scenes(400,
    size=96)".

    Attributes:
        shards: see above.
        weight: how often an image of it is drawn, against 1.
    """

    shards: str
    weight: float = 1.0


class ObjectHead(_Settings):
    """Class centres of objects: one positive a region. `weight` is of its loss."""

    classes: Positive
    weight: float = 1.0


class TextHead(_Settings):
    """Class centres of text: the token ids of a region's text are its positives (row R6).

    Attributes:
        tokenizer: "bytes" (256 classes), or folder or hub name of a transformers tokenizer.
        classes: of its vocabulary.
        positives: M: distinct tokens of a text that count, the first ones.
        weight: of its loss.
    """

    tokenizer: str = "bytes"
    classes: Positive = 256
    positives: Positive = 10
    weight: float = 1.0


class PretrainLoss(_Settings):
    """Losses and negatives of all heads (rows R5, R6); `regiontok.rice.loss` and `negatives` say
    what each does."""

    kind: Literal["twosided", "softmax"] = "twosided"
    margin: float = 0.3
    angular: bool = False
    scale: float = 64.0
    negatives: Literal["uniform", "in_batch", "both"] = "uniform"
    rho: float = 0.1


class PretrainOptimizer(_Settings):
    """AdamW on the encoder, row-wise Adam on the centres (row R8).

    Attributes:
        weight_decay: of the encoder's matrices; norms, biases and centres have none.
        betas, eps: of both.
        clip: the largest norm of the encoder's gradient, and, by itself, of the centres'; 0: as
            they are.
        centre_rate: the centres' learning rate over the encoder's.
    """

    weight_decay: float = 0.2
    betas: list[float] = [0.9, 0.95]
    eps: float = 1e-8
    clip: Annotated[float, Field(ge=0)] = 1.0
    centre_rate: float = 1.0


class PretrainStage(_Settings):
    """One resolution (row R8).

    Attributes:
        size: side of the pictures in pixels, or [height, width].
        samples: images; `samples // batch` steps.
        steps: in place of `samples`.
        batch: images a step, over all processes.
        learning_rate: the highest.
        warmup: steps from 0 to there.
        schedule: from there towards `final` times it, which the step behind the last would have.
    """

    name: str
    size: Positive | Annotated[list[Positive], Field(min_length=2, max_length=2)] = 224
    samples: int = 0
    steps: Annotated[int, Field(ge=0)] = 0
    batch: Positive = 32768
    learning_rate: float = 1e-3
    warmup: Annotated[int, Field(ge=0)] = 0
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    final: Share = 0.0

    @property
    def sides(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return (
            (self.size, self.size) if isinstance(self.size, int) else (self.size[0], self.size[1])
        )

    @property
    def length(self) -> int:
        """Optimiser steps."""
        return self.steps or self.samples // self.batch


class PretrainEvaluation(_Settings):
    """What is measured while it trains, on images that are not trained on.

    Attributes:
        shards: as in `PretrainData`; "" for none.
        every: steps between; 0: before the first step and at the end only.
        images: the first so many.
        k: neighbours of region k-NN.
    """

    shards: str = ""
    every: Annotated[int, Field(ge=0)] = 0
    images: Positive = 1000
    k: Positive = 10


class Pretrain(_Settings):
    """Pretraining by region cluster discrimination.

    Attributes:
        regions: N an image (row R3).
        crop: share of an image's area a training crop has at least, 1: no random crop.
        flip: probability.
        seed: of weights, order, crops, regions and negatives.
    """

    model: PretrainModel = PretrainModel()
    data: Annotated[list[PretrainData], Field(min_length=1)]
    object: ObjectHead | None = None
    text: TextHead | None = None
    loss: PretrainLoss = PretrainLoss()
    optimizer: PretrainOptimizer = PretrainOptimizer()
    stage: Annotated[list[PretrainStage], Field(min_length=1)]
    evaluate: PretrainEvaluation = PretrainEvaluation()
    regions: Positive = 10
    crop: Share = 0.5
    flip: Share = 0.5
    precision: Literal["bf16", "fp32"] = "bf16"
    checkpointing: bool = False
    seed: int = 0
