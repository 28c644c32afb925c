"""The families of vision transformers that the encoder `transformers` reads, by `model_type`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class TowerFamily:
    """How the checkpoints of one `model_type` are loaded and read.

    A new family is a new row of `FAMILIES`.

    Attributes:
        tower: the transformers class of the vision tower; of a checkpoint with a text tower it
            takes its own part.
        summaries: how many CLS tokens stand in front of the sequence, or the config field that
            counts them.
        registers: the config field that counts the register tokens behind them, or nothing.
        rotary: True if positions turn queries and keys inside the attention, so that projections
            alone do not give the weights.
        asks: True if another canvas than the model's own needs `interpolate_pos_encoding=True`;
            False if the model adapts unasked.
        within: the attribute of `tower` that is the vision tower, where the tower's own class would
            not find its weights.
        table: the learned position table that the model itself does not interpolate.
        build: further arguments of the class.
    """

    tower: str
    summaries: int | str = 1
    registers: str = ""
    rotary: bool = False
    asks: bool = False
    within: str = ""
    table: str = ""
    build: tuple[tuple[str, Any], ...] = ()


_CLIP = TowerFamily("CLIPVisionModel", asks=True)
_SIGLIP = TowerFamily("SiglipVisionModel", summaries=0, asks=True)
_METACLIP = TowerFamily("MetaClip2VisionModel", asks=True)
_AIMV2 = TowerFamily("Aimv2VisionModel", summaries=0, table="embeddings.position_embedding")
_MLCD = TowerFamily("MLCDVisionModel", rotary=True)
# TIPSv2's one register is a second CLS token, taught with synthetic captions; transformers and timm
# count it as a register, and so do we.
_TIPS = TowerFamily("Tipsv2VisionModel", registers="num_register_tokens")
FAMILIES = {
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "metaclip_2": _METACLIP,
    "metaclip_2_vision_model": _METACLIP,
    "dinov2": TowerFamily("Dinov2Model"),
    "dinov2_with_registers": TowerFamily(
        "Dinov2WithRegistersModel", registers="num_register_tokens"
    ),
    "dinov3_vit": TowerFamily("DINOv3ViTModel", registers="num_register_tokens", rotary=True),
    # Aimv2VisionModel on a checkpoint with a text tower comes back random, with no more than a line
    # in a report.
    "aimv2": replace(_AIMV2, tower="Aimv2Model", within="vision_model"),
    "aimv2_vision_model": _AIMV2,
    "mlcd": _MLCD,
    "mlcd_vision_model": _MLCD,
    # No pooler: classification checkpoints have none, and patch features need none.
    "vit": TowerFamily("ViTModel", asks=True, build=(("add_pooling_layer", False),)),
    "vit_msn": TowerFamily("ViTMSNModel", asks=True),
    "ijepa": TowerFamily("IJepaModel", summaries=0, asks=True),
    "pixio": TowerFamily("PixioModel", summaries="n_cls_tokens"),
    "tipsv2": replace(_TIPS, tower="Tipsv2Model", within="vision_model"),
    "tipsv2_vision_model": _TIPS,
}

# What other encoders read. SigLIP 2's type is NaFlex's: its fixed-size checkpoints have the type
# siglip.
READ_ELSEWHERE = {"siglip2": "naflex", "siglip2_vision_model": "naflex", "radio": "radio"}
