"""From a recipe to what learns: region transformer, class centres, their two optimisers, and how
they are spread over ranks.

After: RICE, section 4.1 (rows R4 to R8).
Differs: the encoder is whole on every rank (DDP), or sharded by blocks (FSDP2) where it would not
fit; centres are always sharded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from regiontok.pretrain.ranks import Ranks
from regiontok.rice import export
from regiontok.rice.classes import ClassCentres, ClassHead
from regiontok.rice.loss import RegionLoss
from regiontok.rice.negatives import Negatives
from regiontok.rice.region_attention import RegionTransformer
from regiontok.rice.row_adam import RowAdam
from regiontok.rice.vit import ViT, ViTConfig
from regiontok.settings.pretrain_recipe import ObjectHead, Pretrain, TextHead


@dataclass(frozen=True, eq=False)
class Learner:
    """All that learns.

    Attributes:
        bare: the region transformer, whose names checkpoints use.
        model: what to call: the same, or DDP around it.
        centres: of all heads.
        trunk: AdamW on the region transformer.
        rows: Adam on the centres.
        sharded: whether the encoder is (FSDP2).
    """

    bare: RegionTransformer
    model: nn.Module
    centres: ClassCentres
    trunk: torch.optim.AdamW
    rows: RowAdam
    sharded: bool

    def set_rate(self, rate: float, centres: float) -> None:
        """Both learning rates; `centres` is theirs over the encoder's."""
        for group in self.trunk.param_groups:
            group["lr"] = rate
        self.rows.lr = rate * centres

    def state(self) -> dict[str, Tensor]:
        """Weights, centres and both optimisers' moments by name; loading writes into these
        tensors."""
        found: dict[str, Tensor] = {}
        for name, parameter in self.bare.named_parameters():
            found[f"model.{name}"] = parameter.detach()
            moments = self.trunk.state[parameter]
            if not moments:  # before the first step, so that a checkpoint has where to go
                moments["step"] = torch.zeros(())
                moments["exp_avg"], moments["exp_avg_sq"] = (
                    torch.zeros_like(parameter.detach()) for _ in range(2)
                )
            found |= {f"trunk.{name}.{key}": value for key, value in moments.items()}
        found |= {f"centres.{name}": value.detach() for name, value in self.centres.centres.items()}
        return found | {f"rows.{name}": value for name, value in self.rows.state_dict().items()}


def vit_config(table: Pretrain) -> ViTConfig:
    """The encoder's shape; its trained size is the longer side of the last stage's pictures.

    Raises:
        ValueError: no such size, or pictures that are not made of whole patches.
    """
    config = (
        export.load(table.model.start).config
        if table.model.start
        else ViTConfig.named(table.model.vit)
    )
    for stage in table.stage:
        if any(side % config.patch for side in stage.sides):
            raise ValueError(
                f"stage {stage.name!r}: {stage.sides} is not made of whole patches of {config.patch} pixels"
            )
    return replace(config, image_size=max(table.stage[-1].sides))


def heads(table: Pretrain) -> list[ClassHead]:
    """The heads of the class centres.

    Raises:
        ValueError: none.
    """
    loss = RegionLoss(table.loss.kind, table.loss.margin, table.loss.angular, table.loss.scale)
    negatives = Negatives(table.loss.negatives, table.loss.rho, table.seed)
    named: list[tuple[str, ObjectHead | TextHead | None]] = [
        ("object", table.object),
        ("text", table.text),
    ]
    found = [
        ClassHead(name, own.classes, loss, negatives, own.weight) for name, own in named if own
    ]
    if not found:
        raise ValueError(
            "nothing to discriminate: give [pretrain.object], [pretrain.text], or both"
        )
    return found


def transformer(table: Pretrain) -> RegionTransformer:
    """The region transformer at its start."""
    config = vit_config(table)
    if table.model.start:
        vit = export.load(table.model.start, dtype=torch.float32)
        vit.config = config
    else:
        vit = ViT(config, seed=table.seed)
    vit.checkpointing = table.checkpointing
    return RegionTransformer(vit, table.model.region_layers, table.model.query, seed=table.seed)


def build(
    table: Pretrain, ranks: Ranks, *, shard: bool = False, compile_blocks: bool = False
) -> Learner:
    """Everything that learns, on this rank's device.

    Args:
        table: of the recipe.
        ranks: of the run.
        shard: FSDP2 in place of DDP.
        compile_blocks: `torch.compile` each block.
    """
    own = heads(table)
    bare = transformer(table).to(ranks.device)
    if compile_blocks:
        for block in bare.vit.blocks:
            block.compile()  # in place: names stay
    model: nn.Module = bare
    if shard and ranks.mesh is not None:
        half = torch.bfloat16 if halved(table, ranks) else None
        # inputs are not cast: rotary angles in bfloat16 would be wrong by whole patches, and the
        # patch embedding casts the pixels
        policy = MixedPrecisionPolicy(
            param_dtype=half, reduce_dtype=torch.float32, cast_forward_inputs=False
        )
        for block in bare.vit.blocks:
            fully_shard(block, mesh=ranks.mesh, mp_policy=policy)
        fully_shard(bare, mesh=ranks.mesh, mp_policy=policy)
    elif ranks.mesh is not None:
        model = DistributedDataParallel(bare, gradient_as_bucket_view=True)
    products = torch.bfloat16 if halved(table, ranks) else None
    centres = ClassCentres(
        own,
        bare.vit.config.width,
        seed=table.seed,
        mesh=ranks.mesh,
        products=products,
        device=ranks.device,
    )
    told = table.optimizer
    betas = (told.betas[0], told.betas[1])
    trunk = torch.optim.AdamW(groups(bare, told.weight_decay), betas=betas, eps=told.eps)
    return Learner(
        bare,
        model,
        centres,
        trunk,
        RowAdam(centres, betas=betas, eps=told.eps),
        shard and ranks.mesh is not None,
    )


def halved(table: Pretrain, ranks: Ranks) -> bool:
    """True if products are computed in bfloat16: a GPU, and the recipe says so."""
    return table.precision == "bf16" and ranks.device.type == "cuda"


def groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Matrices with weight decay, and norms, biases, CLS and queries without."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in parameters if parameter.ndim >= 2]
    plain = [parameter for parameter in parameters if parameter.ndim < 2]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
