"""A prompt vector and a picture's embedding -> a mask: SAM's decoder, prompted by a token.

After: LISA (Lai et al., CVPR 2024), section 3.2: the projected hidden state of [SEG] goes into
SAM's mask decoder as the one sparse prompt, and the first mask is taken.
Differs: transformers' `SamModel` takes no such prompt, so that its decoder is called directly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from transformers import SamConfig, SamModel

from regiontok.core.frame import Frame

if TYPE_CHECKING:
    from jaxtyping import Float


class Placed(Protocol):
    """How a picture lies under low-resolution masks; SAM's own is `CanvasPlacement`."""

    def full(self, logits: Float[Tensor, "k h w"]) -> Float[Tensor, "k H W"]:
        """Logits at the picture's own size."""


@dataclass(frozen=True)
class FramePlacement:
    """How a picture lies under the masks that come of an encoder's grid.

    Attributes:
        frame: how it lies under the grid.

    Raises:
        ValueError: If the frame cuts the picture, whose masks could then not be whole.
    """

    frame: Frame

    def __post_init__(self) -> None:
        if self.frame.crop != (0, 0, *self.frame.image):
            raise ValueError(
                f"{self.frame} shows only a part of the picture: frame it by 'stretch' or "
                "'letterbox'"
            )

    def full(self, logits: Float[Tensor, "k h w"]) -> Float[Tensor, "k H W"]:
        """Logits at the picture's own size, linear between the centres of low-resolution pixels."""
        frame = self.frame
        covered = [count * side for count, side in zip(frame.grid, frame.patch, strict=True)]
        if tuple(covered) == frame.resized:  # the picture is stretched over all patches
            return _enlarged(logits, frame.image)
        on_canvas = _enlarged(logits, covered)
        rest = [max(0, whole - part) for whole, part in zip(frame.canvas, covered, strict=True)]
        on_canvas = pad(on_canvas[None], (0, rest[1], 0, rest[0]), mode="replicate")[0]
        (top, left), (height, width) = frame.offset, frame.resized
        return _enlarged(on_canvas[..., top : top + height, left : left + width], frame.image)


class SamMasks(nn.Module):
    """SAM with its own image encoder.

    Args:
        sam: the model.
    """

    def __init__(self, sam: SamModel) -> None:
        super().__init__()
        self.sam = sam

    @property
    def prompt_width(self) -> int:
        """c, the length of a prompt."""
        return _prompt_width(self.sam)

    def embed(self, pixels: Any, grids: Sequence[Any]) -> Tensor:
        """`[b c h w]` the embeddings of pixels `[b 3 S S]`, without gradient if nothing learns."""
        learns = any(value.requires_grad for value in self.sam.vision_encoder.parameters())
        with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
            embeddings: Tensor = self.sam.vision_encoder(pixels)[0]
        return embeddings

    def forward(
        self, embeddings: Float[Tensor, "n c h w"], prompts: Float[Tensor, "n c"]
    ) -> Float[Tensor, "n 4h 4w"]:
        """The logits of the mask of each prompt, four times as fine as the embeddings."""
        return decoded(self.sam, embeddings, prompts)


def decoded(
    sam: SamModel, embeddings: Float[Tensor, "n c h w"], prompts: Float[Tensor, "n c"]
) -> Float[Tensor, "n 4h 4w"]:
    """The first mask of SAM's decoder for each picture and the one sparse prompt about it."""
    height, width = embeddings.shape[-2:]
    dense = sam.prompt_encoder.no_mask_embed.weight[0][None, :, None, None]
    masks, _ = sam.mask_decoder(
        image_embeddings=embeddings,
        image_positional_embeddings=_positions(sam, height, width).expand_as(embeddings),
        sparse_prompt_embeddings=prompts[:, None, None],
        dense_prompt_embeddings=dense.expand_as(embeddings),
        multimask_output=False,
    )
    return masks[:, 0, 0]


def _positions(sam: SamModel, height: int, width: int) -> Float[Tensor, "1 c h w"]:
    """SAM's positions of a grid's cells; on a square grid those of `SamModel` itself."""
    table = sam.shared_image_embedding.positional_embedding
    rows, columns = (
        (torch.arange(count, device=table.device, dtype=table.dtype) + 0.5) / count
        for count in (height, width)
    )
    cells = torch.stack(
        [columns[None].expand(height, width), rows[:, None].expand(height, width)], dim=-1
    )
    positions: Tensor = sam.shared_image_embedding(cells)
    return positions.permute(2, 0, 1)[None]


def tiny_sam(
    seed: int = 0, *, side: int = 128, patch: int = 8, width: int = 64, layers: int = 2
) -> SamModel:
    """A SAM of random weights for generated pictures.

    Args:
        seed: seed of the weights.
        side: side of its canvas in pixels.
        patch: side of a patch in pixels.
        width: width of image encoder, prompts and decoder.
        layers: of the image encoder.
    """
    vision = {
        "hidden_size": width,
        "output_channels": width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "image_size": side,
        "patch_size": patch,
        "window_size": 0,
        "global_attn_indexes": list(range(layers)),
        "num_pos_feats": width // 2,
        "scale": 1.0,  # SAM's own; with transformers' width / 2 neighbours' positions are unlike
        "mlp_dim": 2 * width,
        "initializer_range": 0.02,
    }
    prompts = {"hidden_size": width, "image_size": side, "patch_size": patch}
    decoder = {
        "hidden_size": width,
        "mlp_dim": 2 * width,
        "num_attention_heads": 4,
        "iou_head_hidden_dim": width,
    }
    config = SamConfig(
        vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sam = SamModel(config)
        # as SAM's own code begins: from transformers' weights of .02 it hardly learns
        for module in (*sam.mask_decoder.modules(), *sam.prompt_encoder.modules()):
            if isinstance(module, nn.Linear | nn.ConvTranspose2d | nn.Embedding):
                module.reset_parameters()
        return sam


def _enlarged(values: Tensor, size: Sequence[int]) -> Tensor:
    """`[k h w]` values at another size, linear between the centres of pixels."""
    return interpolate(values[None], tuple(size), mode="bilinear", align_corners=False)[0]


def _prompt_width(sam: SamModel) -> int:
    config: Any = sam.config.prompt_encoder_config
    return int(config.hidden_size)
