"""The `[pretrain]` table of a recipe: region transformer, class centres, data, growing resolution.

After: RICE, section 4.1 (rows R3 to R8); what the text does not say (warm-up, decay, number of
region layers, OCR's vocabulary) is ours.
Differs: nothing known beyond that.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from regiontok.settings.base import NotNegative, Positive, Settings, Share
from regiontok.settings.pretrain_heads import ObjectHead, PretrainLoss, TextHead

Size = Positive | Annotated[list[Positive], Field(min_length=2, max_length=2)]


class PretrainModel(Settings):
    """The encoder (row R4).

    Attributes:
        vit: name of a size of `regiontok.rice.vit`.
        start: folder or hub name of an encoder to start from, in place of random weights: in MLCD's
            layout, LLaVA-OneVision-1.5's (`rice_vit`), or CLIP, whose learned positions are lost.
        layout: layout of the exported encoder: "mlcd", which transformers reads, or "rice_vit".
        region: how regions become rows: "pool", attention without parameters behind the last
            block, as the authors' code has it; "blocks", `region_layers` blocks of their own on top
            of the encoder, as the text has it; or "shared", the encoder's last blocks themselves.
        region_layers: number of region layers of "blocks" and "shared". Alone, as in recipes that
            know no `region`, it means "shared".
        query: what a region row of "blocks" and "shared" starts from.
        projection: width into which region rows are projected, where class centres lie; 0 projects
            nothing.
    """

    vit: str = "mini"
    start: str = ""
    layout: Literal["mlcd", "rice_vit"] = "mlcd"
    region: Literal["pool", "blocks", "shared"] = "pool"
    region_layers: NotNegative = 0
    query: Literal["cls", "learned"] = "cls"
    projection: NotNegative = 0

    @model_validator(mode="before")
    @classmethod
    def _read_layers_alone(cls, values: Any) -> Any:
        """Region layers without a form are the encoder's own last blocks."""
        if isinstance(values, dict) and values.get("region_layers") and "region" not in values:
            return {**values, "region": "shared"}
        return values


class PretrainData(Settings):
    """One source of images.

    Attributes:
        shards: a folder of shards with side-cars, or generated scenes such as "scenes(400,
            size=96)".
        sidecars: folder of the side-cars, where they lie apart from the tars: the same images can
            have several sets of regions and labels. "" is the folder of the tars.
        weight: how often an image of this source is drawn, against 1.
    """

    shards: str
    sidecars: str = ""
    weight: float = 1.0


class PretrainOptimizer(Settings):
    """AdamW on the encoder, row-wise Adam on the class centres (row R8).

    Attributes:
        weight_decay: weight decay of the encoder's matrices, or of all its parameters. Class
            centres have none: they are unit vectors again after each step.
        decay: "matrices", which leaves norms, biases and CLS out, or "all", as the authors' code.
        betas: decay rates of both optimisers' moments.
        eps: what both add to the denominator.
        clip: largest norm of the encoder's gradient, and, apart from it, of the class centres'; 0
            leaves them as they are.
        centre_rate: learning rate of the class centres over that of the encoder.
    """

    weight_decay: float = 0.2
    decay: Literal["matrices", "all"] = "matrices"
    betas: list[float] = Field(default=[0.9, 0.95])
    eps: float = 1e-8
    clip: Annotated[float, Field(ge=0)] = 1.0
    centre_rate: float = 1.0


class PretrainSpikes(Settings):
    """What becomes of a step whose loss leaps, or is not finite.

    Attributes:
        policy: "stop" ends the run; "skip" leaves the step out, says so in the log, and goes on.
        factor: a loss above so many times the median of the last ones is a leap; 0 takes only what
            is not finite for one.
        window: steps of that median; before so many were taken only what is not finite is a leap.
        most: steps in a row that may be left out; one more stops the run.
    """

    policy: Literal["stop", "skip"] = "stop"
    factor: Annotated[float, Field(ge=0)] = 0.0
    window: Positive = 100
    most: Positive = 10


class PretrainStage(Settings):
    """One resolution (row R8).

    Attributes:
        name: name of the stage.
        size: side of the pictures in pixels, or [height, width].
        sizes: several of them, in place of `size`: each step takes one, drawn from the seed.
        samples: number of images, which makes `samples // batch` steps.
        steps: number of steps, in place of `samples`.
        batch: images of a step, over all processes.
        learning_rate: highest learning rate.
        warmup: number of steps in which the learning rate rises to it from 0; below 1 and with a
            point, such as 0.1, it is a share of the stage's steps.
        schedule: how the learning rate falls after the warm-up.
        power: power of the "polynomial" schedule; 1 is "linear".
        final: share of the highest learning rate that the step behind the last one would have.
    """

    name: str
    size: Size = 224
    sizes: list[Size] = Field(default=[])
    samples: int = 0
    steps: NotNegative = 0
    batch: Positive = 32768
    learning_rate: float = 1e-3
    warmup: NotNegative | Annotated[float, Field(ge=0, lt=1)] = 0
    schedule: Literal["cosine", "linear", "polynomial", "constant"] = "cosine"
    power: Annotated[float, Field(gt=0)] = 2.0
    final: Share = 0.0

    @property
    def all_sides(self) -> tuple[tuple[int, int], ...]:
        """(height, width) in pixels of all sizes that the stage has."""
        sizes = self.sizes or [self.size]
        return tuple(
            (size, size) if isinstance(size, int) else (size[0], size[1]) for size in sizes
        )

    @property
    def sides(self) -> tuple[int, int]:
        """(height, width) in pixels, of several sizes the one with the largest area."""
        return max(self.all_sides, key=lambda sides: sides[0] * sides[1])

    @property
    def length(self) -> int:
        """Number of optimiser steps."""
        return self.steps or self.samples // self.batch

    @property
    def warmup_steps(self) -> int:
        """Number of steps in which the learning rate rises."""
        return self.warmup if isinstance(self.warmup, int) else int(self.warmup * self.length)


class PretrainEvaluation(Settings):
    """What is measured during training, on images that are not trained on.

    Attributes:
        shards: where the images are, as in `PretrainData`; "" measures nothing.
        sidecars: folder of their side-cars, as in `PretrainData`.
        every: steps between two measurements; with 0 there is one before the first step and one at
            the end.
        images: how many images are measured, from the first on.
        k: number of neighbours of region k-NN.
    """

    shards: str = ""
    sidecars: str = ""
    every: NotNegative = 0
    images: Positive = 1000
    k: Positive = 10


class Pretrain(Settings):
    """Pretraining by region cluster discrimination.

    Attributes:
        model: the encoder.
        data: the sources of images.
        object: class centres of objects; false, say by an override, has none.
        text: class centres of text; false has none.
        loss: losses and negatives.
        optimizer: the optimisers.
        spikes: what becomes of a step whose loss leaps.
        stage: the resolutions, in order.
        evaluate: what is measured during training.
        regions: N, regions of an image (row R3).
        crop: smallest share of an image's area that a training crop has; 1 takes no random crop.
        flip: probability that an image is mirrored.
        masks: False takes the boxes of regions also where they have masks.
        precision: type in which the encoder is computed.
        checkpointing: True computes activations again in the backward pass, which saves memory.
        seed: seed of weights, order, crops, regions and negatives.
    """

    model: PretrainModel = PretrainModel()
    data: Annotated[list[PretrainData], Field(min_length=1)]
    object: ObjectHead | None = None
    text: TextHead | None = None
    loss: PretrainLoss = PretrainLoss()
    optimizer: PretrainOptimizer = PretrainOptimizer()
    spikes: PretrainSpikes = PretrainSpikes()
    stage: Annotated[list[PretrainStage], Field(min_length=1)]
    evaluate: PretrainEvaluation = PretrainEvaluation()
    regions: Positive = 10
    crop: Share = 0.5
    flip: Share = 0.5
    masks: bool = True
    precision: Literal["bf16", "fp32"] = "bf16"
    checkpointing: bool = False
    seed: int = 0

    @field_validator("object", "text", mode="before")
    @classmethod
    def _read_false(cls, value: Any) -> Any:
        """A head that is false is none."""
        return None if value is False else value
