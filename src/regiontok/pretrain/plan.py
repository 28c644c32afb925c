"""What pretraining will take: parameters, operations, memory and time, from formulas.

After: nothing; the formulas are the usual ones, written out below.
Differs: an estimate. The image reader, exchange between devices and the allocator's waste are not
counted.

Operations of one image, for d channels, f channels of the MLP, D blocks of which L have region
rows, n patches, t = n + 1 tokens, N regions, and c numbers in a patch; a product of m x k by k x n
is 2 m k n::

    patches   2 n c d                                  patch embedding
    blocks    D t (8 d^2 + 4 d f) + D 4 t^2 d          projections and MLP; attention's two products
    rows      L N (4 d^2 + 4 d f) + L 4 N n d          region rows: queries, output and MLP;
                                                       attention. Keys and values are the image's.
    classes   8 N r K p                                cosines of its regions with r K centres of
                                                       width p, made twice, and both gradients
    training  3 (patches + blocks + rows) + classes    with checkpointing blocks and rows once more,
                                                       and all of the encoder once more where a
                                                       batch is embedded in several passes

Of two heads each has half of the regions. r is rho for `uniform`. For `in_batch` it is the share of
the K classes that are positives of the head's n regions with m labels if labels are uniform,
1 - (1 - 1/K)^(n m). For `both` it is one minus the product of their complements.

Bytes of memory on one device, for P parameters of the encoder, W devices and b images of one pass::

    weights      4 P     over W with FSDP2, which adds 4 P / D for the block that is gathered
    gradients    4 P     over W with FSDP2
    optimiser    8 P     over W with FSDP2
    centres      12 K p / W + 4 K / W + 4 p rows     rows, two moments, steps; the rows' gradients
    activations  D block, with checkpointing D b t 4 d + block, where
      block      b (t + L N / D) (2 (8 d + 2 f) + 8 d)         bfloat16 norms, q, k, v, heads and
                                                               MLP, and float32
    regions      `centre_memory`                       regions gathered from all ranks, their
                                                       gradient, logits, and what products need

Time is operations over (W * peak * mfu).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from regiontok.pretrain.build import class_heads, region_layer, vit_config
from regiontok.pretrain.centre_memory import HeadLoad, centre_memory
from regiontok.pretrain.schedule import Timeline
from regiontok.rice.region_attention import RegionTransformer
from regiontok.rice.vit import ViT, ViTConfig
from regiontok.settings.pretrain_recipe import Pretrain, PretrainStage
from regiontok.system.hardware import MFU, Hardware

USABLE = 0.9  # of a device's memory: the allocator and the library need the rest


@dataclass(frozen=True)
class PretrainPlan:
    """What one stage will be.

    Attributes:
        name: the stage's name.
        steps: optimiser steps.
        batch: images of one step.
        size: (height, width) of the pictures in pixels.
        parameters: parameters of the encoder.
        centres: class centres of all heads.
        rho: head -> the share of its centres that are negatives.
        per_device: images of one pass on one device.
        operations: operations of training on one image.
        memory: what it holds -> bytes on one device.
        fits: whether that is below nine tenths of the device's memory.
        hours: duration of the stage.
    """

    name: str
    steps: int
    batch: int
    size: tuple[int, int]
    parameters: int
    centres: int
    rho: dict[str, float]
    per_device: int
    operations: float
    memory: dict[str, float]
    fits: bool
    hours: float

    def as_dict(self) -> dict[str, Any]:
        """The plan as plain values for JSON."""
        return asdict(self) | {"size": list(self.size)}


def plan_stages(
    table: Pretrain,
    hardware: Hardware,
    *,
    shard: bool = False,
    per_device: int = 0,
    mfu: float = MFU,
) -> list[PretrainPlan]:
    """The plan of every stage.

    Args:
        table: the `[pretrain]` table of the recipe.
        hardware: what it would run on.
        shard: FSDP2 in place of DDP.
        per_device: images of one pass; 0 takes the most that fit, or one.
        mfu: share of the peak that is assumed to be reached.

    Raises:
        ValueError: If the recipe cannot be trained, or the devices cannot share a batch equally.
    """
    Timeline(table.stage)
    with torch.device("meta"):
        transformer = RegionTransformer(ViT(vit_config(table)), region_layer(table))
    parameters = sum(parameter.numel() for parameter in transformer.parameters())
    return [
        _plan_stage(
            table,
            stage,
            parameters=parameters,
            hardware=hardware,
            shard=shard,
            per_device=per_device,
            mfu=mfu,
        )
        for stage in table.stage
    ]


def _plan_stage(
    table: Pretrain,
    stage: PretrainStage,
    *,
    parameters: int,
    hardware: Hardware,
    shard: bool,
    per_device: int,
    mfu: float,
) -> PretrainPlan:
    devices, heads = hardware.devices, class_heads(table)
    if stage.batch % devices:
        raise ValueError(
            f"stage {stage.name!r}: a batch of {stage.batch} cannot be shared equally "
            f"by {devices} devices"
        )
    share = stage.batch // devices
    if per_device:
        sizes = [per_device]
    else:  # from one pass to a pass an image
        sizes = [share // passes for passes in range(1, share + 1) if share % passes == 0]
    for size in sizes:
        memory = _memory(
            table, stage, parameters=parameters, devices=devices, shard=shard, images=size
        )
        fits = sum(memory.values()) < USABLE * hardware.memory
        if fits:
            break
    config = vit_config(table)
    operations = image_operations(table, config, stage)
    if size < share:  # the batch is embedded once more
        operations += image_operations(table, config, stage, passes=1)
    seconds = stage.length * stage.batch * operations / (devices * hardware.peak * mfu)
    return PretrainPlan(
        name=stage.name,
        steps=stage.length,
        batch=stage.batch,
        size=stage.sides,
        parameters=parameters,
        centres=sum(head.classes for head in heads),
        rho={load.head.name: load.drawn_share for load in head_loads(table, stage)},
        per_device=size,
        operations=operations,
        memory=memory,
        fits=fits,
        hours=seconds / 3600,
    )


def image_operations(
    table: Pretrain, config: ViTConfig, stage: PretrainStage, *, passes: int = 3
) -> float:
    """Operations of one image, the mean over the stage's sizes; the module has the formulas.

    Args:
        table: the `[pretrain]` table of the recipe.
        config: the encoder's shape.
        stage: the stage, which has the pictures' size.
        passes: 3 for training, 1 for one forward pass of the encoder.
    """
    grids = [config.grid(sides) for sides in stage.all_sides]
    of_sizes = [_operations(table, config, stage, h * w, passes) for h, w in grids]
    return sum(of_sizes) / len(of_sizes)


def _operations(
    table: Pretrain, config: ViTConfig, stage: PretrainStage, n: int, passes: int
) -> float:
    """Operations of one image of n patches."""
    d, f, depth = config.width, config.mlp, config.depth
    layer = region_layer(table)
    depth += layer.layers if layer.form == "blocks" else 0
    p = layer.projection or d
    patches = 2 * n * 3 * config.patch**2 * d
    blocks = depth * (n + 1) * (8 * d * d + 4 * d * f) + depth * 4 * (n + 1) ** 2 * d
    attention = 4 * n * d
    row = layer.layers * (4 * d * d + 4 * d * f + attention) or attention
    rows = table.regions * (row + 2 * d * layer.projection)
    forward = patches + blocks + rows
    if passes == 1:
        return float(forward)
    classes = sum(
        8 * load.regions / stage.batch * load.drawn_share * load.head.classes * p
        for load in head_loads(table, stage)
    )
    again = blocks + rows if table.checkpointing else 0
    return float(3 * forward + again + classes)


def head_loads(table: Pretrain, stage: PretrainStage) -> list[HeadLoad]:
    """What each head has to do in a step, if regions are spread evenly over the heads."""
    heads = class_heads(table)
    regions = stage.batch * table.regions // len(heads)
    slots = {"text": table.text.positives} if table.text else {}
    return [HeadLoad(head, regions, slots.get(head.name, 1)) for head in heads]


def _memory(
    table: Pretrain,
    stage: PretrainStage,
    *,
    parameters: int,
    devices: int,
    shard: bool,
    images: int,
) -> dict[str, float]:
    """Bytes on one device by what they hold, with so many images in one pass."""
    config = vit_config(table)
    h, w = config.grid(stage.sides)
    d, f, depth, tokens = config.width, config.mlp, config.depth, h * w + 1
    region_rows = table.model.region_layers * table.regions / depth
    block = images * (tokens + region_rows) * (2 * (8 * d + 2 * f) + 8 * d)
    centres = centre_memory(
        head_loads(table, stage),
        width=region_layer(table).projection or d,
        devices=devices,
        in_bfloat16=table.precision == "bf16",
    )
    divided = devices if shard else 1
    gathered = 4 * parameters / depth if shard else 0
    checkpointed = images * depth * tokens * 4 * d + block
    return {
        "weights": 4 * parameters / divided + gathered,
        "gradients": 4 * parameters / divided,
        "optimiser": 8 * parameters / divided,
        "centres": centres.stays + centres.gradients,
        "activations": checkpointed if table.checkpointing else depth * block,
        "regions": centres.passing,
    }
