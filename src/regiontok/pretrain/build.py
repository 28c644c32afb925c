"""From a recipe to what learns: region transformer, class centres and their two optimisers.

After: RICE, section 4.1 (rows R4 to R8).
Differs: the encoder is whole on every rank (DDP), or sharded by blocks (FSDP2) where it would not
fit; centres are always sharded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from regiontok.pretrain.ranks import Ranks
from regiontok.rice import export
from regiontok.rice.class_head import ClassHead
from regiontok.rice.classes import ClassCentres
from regiontok.rice.loss import RegionLoss
from regiontok.rice.negatives import Negatives
from regiontok.rice.region_attention import RegionLayer, RegionTransformer
from regiontok.rice.row_adam import RowAdam
from regiontok.rice.vit import ViT, ViTConfig
from regiontok.settings.pretrain_heads import ObjectHead, TextHead
from regiontok.settings.pretrain_recipe import Pretrain


@dataclass(frozen=True, eq=False)
class Learner:
    """All that learns.

    Attributes:
        transformer: the region transformer itself, whose parameter names checkpoints use.
        model: the module to call: the same, or DDP around it.
        centres: the class centres of all heads.
        transformer_optimizer: AdamW on the region transformer.
        centre_optimizer: Adam on the rows of the centres.
        is_sharded: whether the region transformer is divided among ranks (FSDP2).
    """

    transformer: RegionTransformer
    model: nn.Module
    centres: ClassCentres
    transformer_optimizer: torch.optim.AdamW
    centre_optimizer: RowAdam
    is_sharded: bool

    def set_rate(self, rate: float, centre_factor: float) -> None:
        """Set both learning rates.

        Args:
            rate: the region transformer's learning rate.
            centre_factor: the centres' learning rate over it.
        """
        for group in self.transformer_optimizer.param_groups:
            group["lr"] = rate
        self.centre_optimizer.lr = rate * centre_factor

    def state(self) -> dict[str, Tensor]:
        """Weights, centres and both optimisers' moments by name.

        The tensors are those that training uses: loading a checkpoint writes into them.
        """
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.transformer.named_parameters():
            tensors[f"model.{name}"] = parameter.detach()
            moments = self.transformer_optimizer.state[parameter]
            if not moments:  # before the first step, so that a checkpoint has where to go
                moments["step"] = torch.zeros(())
                moments["exp_avg"] = torch.zeros_like(parameter.detach())
                moments["exp_avg_sq"] = torch.zeros_like(parameter.detach())
            tensors |= {f"trunk.{name}.{key}": value for key, value in moments.items()}
        for name, rows in self.centres.centres.items():
            tensors[f"centres.{name}"] = rows.detach()
        for name, moment in self.centre_optimizer.state_dict().items():
            tensors[f"rows.{name}"] = moment
        return tensors


def vit_config(table: Pretrain) -> ViTConfig:
    """The encoder's shape; its trained size is the longer side of the last stage's pictures.

    Raises:
        ValueError: If there is no such size, or pictures are not made of whole patches.
    """
    config = (
        export.load(table.model.start, as_start=True).config
        if table.model.start
        else ViTConfig.named(table.model.vit)
    )
    for stage in table.stage:
        bad = [sides for sides in stage.all_sides if any(side % config.patch for side in sides)]
        if bad:
            raise ValueError(
                f"stage {stage.name!r}: {bad[0]} is not made of whole patches of "
                f"{config.patch} pixels"
            )
    return replace(config, image_size=max(table.stage[-1].sides))


def head_names(table: Pretrain) -> tuple[str, ...]:
    """The names of the recipe's heads."""
    return tuple(recipe_heads(table))


def class_heads(table: Pretrain) -> list[ClassHead]:
    """The heads of the class centres.

    Raises:
        ValueError: If the recipe has no head.
    """
    if not recipe_heads(table):
        raise ValueError(
            "nothing to discriminate: give [pretrain.object], [pretrain.text], or both"
        )
    heads = []
    for name, settings in recipe_heads(table).items():
        head_loss = settings.loss.over(table.loss)
        loss = RegionLoss(
            head_loss.kind, head_loss.margin, head_loss.angular, head_loss.scale, head_loss.filter
        )
        negatives = Negatives(head_loss.negatives, head_loss.rho, table.seed)
        heads.append(ClassHead(name, settings.classes, loss, negatives, settings.weight))
    return heads


def recipe_heads(table: Pretrain) -> dict[str, ObjectHead | TextHead]:
    """The settings of the recipe's heads by name."""
    heads: dict[str, ObjectHead | TextHead | None] = {"object": table.object, "text": table.text}
    return {name: settings for name, settings in heads.items() if settings}


def build_transformer(table: Pretrain) -> RegionTransformer:
    """The region transformer at its start."""
    config = vit_config(table)
    if table.model.start:
        vit = export.load(table.model.start, dtype=torch.float32, as_start=True)
        vit.config = config
    else:
        vit = ViT(config, seed=table.seed)
    vit.checkpointing = table.checkpointing
    return RegionTransformer(vit, region_layer(table), seed=table.seed)


def region_layer(table: Pretrain) -> RegionLayer:
    """How the recipe's regions become rows.

    Raises:
        ValueError: If its settings do not go together.
    """
    model = table.model
    return RegionLayer(
        form=model.region,
        layers=model.region_layers,
        query=model.query,
        projection=model.projection,
    )


def build_learner(
    table: Pretrain, ranks: Ranks, *, shard: bool = False, compile_blocks: bool = False
) -> Learner:
    """Everything that learns, on this rank's device.

    Args:
        table: the `[pretrain]` table of the recipe.
        ranks: the processes of the run.
        shard: FSDP2 in place of DDP.
        compile_blocks: `torch.compile` each block.
    """
    heads = class_heads(table)
    transformer = build_transformer(table).to(ranks.device)
    if compile_blocks:
        for block in transformer.blocks:
            block.compile()  # in place: names stay
    in_bfloat16 = computes_in_bfloat16(table, ranks)
    model: nn.Module = transformer
    if shard and ranks.mesh is not None:
        _shard(transformer, ranks, in_bfloat16=in_bfloat16)
    elif ranks.mesh is not None:
        model = DistributedDataParallel(transformer, gradient_as_bucket_view=True)
    centres = ClassCentres(
        heads,
        transformer.width,
        seed=table.seed,
        mesh=ranks.mesh,
        products=torch.bfloat16 if in_bfloat16 else None,
        device=ranks.device,
    )
    settings = table.optimizer
    betas = (settings.betas[0], settings.betas[1])
    groups = decay_groups(transformer, settings.weight_decay, all_of_it=settings.decay == "all")
    return Learner(
        transformer=transformer,
        model=model,
        centres=centres,
        transformer_optimizer=torch.optim.AdamW(groups, betas=betas, eps=settings.eps),
        centre_optimizer=RowAdam(centres, betas=betas, eps=settings.eps),
        is_sharded=shard and ranks.mesh is not None,
    )


def _shard(transformer: RegionTransformer, ranks: Ranks, *, in_bfloat16: bool) -> None:
    """Divide the region transformer among the ranks, block by block."""
    # inputs are not cast: rotary angles in bfloat16 would be wrong by whole patches, and the patch
    # embedding casts the pixels
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if in_bfloat16 else None,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )
    for module in (*transformer.blocks, transformer):
        fully_shard(module, mesh=ranks.mesh, mp_policy=policy)


def computes_in_bfloat16(table: Pretrain, ranks: Ranks) -> bool:
    """True if products are computed in bfloat16: on a GPU, where the recipe says so."""
    return table.precision == "bf16" and ranks.device.type == "cuda"


def decay_groups(
    model: nn.Module, weight_decay: float, *, all_of_it: bool = False
) -> list[dict[str, Any]]:
    """Two parameter groups: those with weight decay, and those without.

    Args:
        model: the model.
        weight_decay: the weight decay.
        all_of_it: norms, biases, CLS and queries have it, too, and not matrices alone.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in parameters if all_of_it or parameter.ndim >= 2]
    others = [parameter for parameter in parameters if not all_of_it and parameter.ndim < 2]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
