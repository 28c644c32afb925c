"""What pretraining will be, before it runs: parameters, operations, memory and time, from formulas.

After: nothing; the formulas are the usual ones, written out below.
Differs: an estimate. The image reader, exchange between devices and the allocator's waste are not
in it.

Operations of one image (d width, f width of the MLP, D blocks, L of them with region rows, n
patches, t = n + 1, N regions, c channels times pixels of a patch; a product of m x k by k x n is 2
    m k n): patches    2 n c d                              patch embedding
    blocks     D t (8 d^2 + 4 d f) + D 4 t^2 d      projections and MLP; attention's two products
    rows       L N (4 d^2 + 4 d f) + L 4 N n d      region rows: queries and output, MLP; attention.
    Keys and values are the image's. classes    8 N r K d                            cosines of its
    regions with r K centres, made twice, and both gradients training   3 (patches + blocks + rows)
               + classes, and blocks and rows once more with checkpointing; all of the encoder once
               more where a batch is embedded in several passes
r is rho for `uniform`; for `in_batch` the distinct positives of the batch over K, 1 - (1 - 1/K)^(N
B) if labels were uniform; `both` is one minus the product of their complements.

Memory of one device in bytes (P parameters of the encoder, W devices, b images of one pass on it):
    weights     4 P, gradients 4 P, AdamW 8 P; over W with FSDP2, which adds 4 P / D for the block
    that is gathered centres     12 K d / W + 4 K / W                rows, two moments, counts
    rows' gradients  4 d (r K / W + positives / W)
    activations b D (t + L N / D) (2 (8 d + 2 f) + 8 d)     what a block keeps in bfloat16 (norms,
                q, k, v, heads, MLP) and float32 b D t 4 d + one block of the above           with
                checkpointing
    regions     12 N B d                            gathered from all ranks, and their gradient
    logits      256 MB                              one chunk of the classes
Time: operations over W * peak * `mfu`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from regiontok.pretrain.build import heads, vit_config
from regiontok.pretrain.schedule import Timeline
from regiontok.rice.negatives import Negatives
from regiontok.rice.region_attention import RegionTransformer
from regiontok.rice.vit import ViT, ViTConfig
from regiontok.settings.pretrain_recipe import Pretrain, PretrainStage

LOGITS = 256e6


@dataclass(frozen=True)
class PretrainPlan:
    """What one stage will be.

    Attributes:
        name, steps, batch, size: of the stage.
        parameters: of the encoder.
        centres: of all heads, numbers.
        rho: head -> the share of its centres that are negatives.
        each: images of one pass on one device.
        operations: of one image, training.
        memory: part -> bytes on one device.
        fits: whether that is below nine tenths of the device's memory.
        hours: of the stage.
    """

    name: str
    steps: int
    batch: int
    size: tuple[int, int]
    parameters: int
    centres: int
    rho: dict[str, float]
    each: int
    operations: float
    memory: dict[str, float]
    fits: bool
    hours: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"size": list(self.size)}


def plan(
    table: Pretrain,
    *,
    devices: int,
    memory: float,
    peak: float,
    mfu: float,
    shard: bool = False,
    each: int = 0,
) -> list[PretrainPlan]:
    """The plan of every stage.

    Args:
        table: of the recipe.
        devices: how many, W.
        memory, peak: bytes and bf16 operations a second of one.
        mfu: share of the peak that is assumed to be reached.
        shard: FSDP2.
        each: images of one pass; 0: the most that fit, or one.

    Raises:
        ValueError: a recipe that cannot be trained, a batch that the devices cannot share equally.
    """
    Timeline(table.stage)
    with torch.device("meta"):
        bare = RegionTransformer(
            ViT(vit_config(table)), table.model.region_layers, table.model.query
        )
    parameters = sum(parameter.numel() for parameter in bare.parameters())
    found = []
    for stage in table.stage:
        if stage.batch % devices:
            raise ValueError(
                f"stage {stage.name!r}: a batch of {stage.batch} cannot be shared equally by {devices} devices"
            )
        own = stage.batch // devices
        sizes = [each] if each else [own // part for part in range(1, own + 1) if own % part == 0]
        size, held = _largest(table, stage, parameters, devices, memory, shard, sizes)
        work = operations(table, vit_config(table), stage)
        again = operations(table, vit_config(table), stage, passes=1) if size < own else 0.0
        seconds = stage.length * stage.batch * (work + again) / (devices * peak * mfu)
        found.append(
            PretrainPlan(
                name=stage.name,
                steps=stage.length,
                batch=stage.batch,
                size=stage.sides,
                parameters=parameters,
                centres=sum(head.classes for head in heads(table)),
                rho={head.name: drawn_share(table, stage, head.classes) for head in heads(table)},
                each=size,
                operations=work + again,
                memory=held,
                fits=sum(held.values()) < 0.9 * memory,
                hours=seconds / 3600,
            )
        )
    return found


def operations(
    table: Pretrain, config: ViTConfig, stage: PretrainStage, *, passes: int = 3
) -> float:
    """Of one image: with `passes` 3 training, with 1 one forward pass of the encoder. The formulas
    stand above."""
    h, w = config.grid(stage.sides)
    n, d, f, depth, rows = h * w, config.width, config.mlp, config.depth, table.model.region_layers
    blocks = depth * (n + 1) * (8 * d * d + 4 * d * f) + depth * 4 * (n + 1) ** 2 * d
    regions = rows * table.regions * (4 * d * d + 4 * d * f + 4 * n * d)
    once = 2 * n * 3 * config.patch**2 * d + blocks + regions
    if passes == 1:
        return float(once)
    classes = sum(
        8 * table.regions * drawn_share(table, stage, head.classes) * head.classes * d
        for head in heads(table)
    )
    return float(3 * once + (blocks + regions if table.checkpointing else 0) + classes)


def drawn_share(table: Pretrain, stage: PretrainStage, classes: int) -> float:
    """Share of a head's centres that a step takes as negatives, if labels were uniform."""
    told = Negatives(table.loss.negatives, table.loss.rho)
    batch = 1 - (1 - 1 / classes) ** (stage.batch * table.regions)
    return {"uniform": told.rho, "in_batch": batch, "both": 1 - (1 - told.rho) * (1 - batch)}[
        told.kind
    ]


def _largest(
    table: Pretrain,
    stage: PretrainStage,
    parameters: int,
    devices: int,
    memory: float,
    shard: bool,
    sizes: Sequence[int],
) -> tuple[int, dict[str, float]]:
    for size in sizes:
        held = _memory(table, stage, parameters, devices, shard, size)
        if sum(held.values()) < 0.9 * memory or size == sizes[-1]:
            return size, held
    raise ValueError("no size to try")


def _memory(
    table: Pretrain, stage: PretrainStage, parameters: int, devices: int, shard: bool, each: int
) -> dict[str, float]:
    config = vit_config(table)
    h, w = config.grid(stage.sides)
    d, f, depth, tokens = config.width, config.mlp, config.depth, h * w + 1
    rows = table.model.region_layers * table.regions / depth
    block = each * (tokens + rows) * (2 * (8 * d + 2 * f) + 8 * d)
    share = devices if shard else 1
    drawn = sum(drawn_share(table, stage, head.classes) * head.classes for head in heads(table))
    positives = min(stage.batch * table.regions, sum(head.classes for head in heads(table)))
    centres = sum(head.classes for head in heads(table))
    return {
        "weights": 4 * parameters / share + (4 * parameters / depth if shard else 0),
        "gradients": 4 * parameters / share,
        "optimiser": 8 * parameters / share,
        "centres": (12 * d + 4) * centres / devices + 4 * d * (drawn + positives) / devices,
        "activations": each * depth * tokens * 4 * d + block
        if table.checkpointing
        else depth * block,
        "regions": 12 * table.regions * stage.batch * d + LOGITS,
    }
