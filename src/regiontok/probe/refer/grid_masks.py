"""A prompt vector and a picture's frozen features -> a mask: a product for each patch.

After: MaskFormer (Cheng et al., NeurIPS 2021), section 3.2: mask embeddings times embeddings of
places. SAM's decoder on the same features, from random weights, stays below a mask that never looks
a hundred times as long; here colours are learned in seconds, so that encoders can be compared.
Differs: one mask a prompt, no classes, and patches in place of a pixel decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from regiontok.core.grid import PatchGrid

if TYPE_CHECKING:
    from jaxtyping import Float

WAVES = 8  # of the positions of each axis: half an eighth of a turn over the picture, doubled
RARE = -3.0  # logit of a patch at the beginning: about 5 % of a picture is the object


class GridMasks(nn.Module):
    """Masks as products of prompts and of patches' embeddings.

    Args:
        width: d, the length of a feature.
        prompt_width: c, the length of a prompt.
        seed: seed of the weights.
    """

    def __init__(self, width: int, prompt_width: int = 64, *, seed: int = 0) -> None:
        super().__init__()
        self.prompt_width = prompt_width
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.neck = PatchEmbedding(width, prompt_width)

    def embed(self, pixels: Any, grids: Sequence[Any]) -> Float[Tensor, "b c h w"]:
        """The embeddings of frozen features, whose grids have one size."""
        maps = [grid.pooled.detach().permute(2, 0, 1).float() for grid in grids]
        embeddings: Tensor = self.neck(torch.stack(maps).to(self.neck.bias.device))
        return embeddings

    def forward(
        self, embeddings: Float[Tensor, "n c h w"], prompts: Float[Tensor, "n c"]
    ) -> Float[Tensor, "n h w"]:
        """The logits of the mask of each prompt."""
        return torch.einsum("nc,nchw->nhw", prompts, embeddings) + self.neck.bias


class PatchEmbedding(nn.Module):
    """Patches with their places and their neighbours.

    Args:
        width: d, the length of a feature.
        embedding: c, the length of an embedding.
    """

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(width, embedding, 1)
        self.place = nn.Conv2d(4 * WAVES, embedding, 1)
        self.around = nn.Conv2d(embedding, embedding, 3, padding=1)
        self.bias = nn.Parameter(torch.tensor(RARE))

    def forward(self, maps: Float[Tensor, "b d h w"]) -> Float[Tensor, "b c h w"]:
        """The embeddings of maps."""
        height, width = maps.shape[-2:]
        mixed = self.features(maps) + self.place(waves(height, width).to(maps))
        embeddings: Tensor = mixed + self.around(gelu(mixed))
        return embeddings


class Standard:
    """`standard(grid)` has features of mean 0 and deviation 1 over some pictures' patches.

    The channels of an encoder may differ in scale a thousandfold, and few steps do not mend that;
    linear probes therefore begin with a batch norm without parameters (He et al., MAE, 2022,
    appendix A.1).

    Args:
        grids: of the pictures.
    """

    def __init__(self, grids: Sequence[PatchGrid]) -> None:
        patches = torch.cat([grid.pooled.float().flatten(0, -2) for grid in grids])
        deviation = patches.std(0)
        # a channel that hardly moves says nothing, and must not be blown up
        self._mean, self._deviation = patches.mean(0), deviation.clamp(min=1e-3 * patches.std())

    def __call__(self, grid: PatchGrid) -> PatchGrid:
        """The grid with other features."""
        return grid.but(features=(grid.pooled.float() - self._mean) / self._deviation, values=None)


def waves(height: int, width: int) -> Float[Tensor, "1 p h w"]:
    """Sines and cosines of the rows and columns of patches, p = 4 `WAVES`."""
    turns = torch.pi / 4 * 2.0 ** torch.arange(WAVES)
    rows, columns = (
        ((torch.arange(count) + 0.5) / count)[:, None] * turns for count in (height, width)
    )
    axes = (
        torch.cat([rows.sin(), rows.cos()], 1)[:, None].expand(-1, width, -1),
        torch.cat([columns.sin(), columns.cos()], 1)[None].expand(height, -1, -1),
    )
    return torch.cat(axes, 2).permute(2, 0, 1)[None]
