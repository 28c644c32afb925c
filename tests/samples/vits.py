"""RICE's vision transformer in its smallest size, and pixels for it."""

from __future__ import annotations

from typing import Any

import torch

from regiontok.rice.vit import ViT, ViTConfig


def mini_vit(**changes: Any) -> ViT:
    """The smallest size with random weights; `changes` are fields of its config."""
    return ViT(ViTConfig.named("mini", **changes), seed=1)


def pixels(*size: int, images: int = 2, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Normal pixels `[b 3 H W]`, the same ones for a size whenever they are drawn."""
    return torch.randn(images, 3, *size, generator=torch.Generator().manual_seed(0), dtype=dtype)
