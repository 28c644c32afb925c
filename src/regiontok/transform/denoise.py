"""Subtract an encoder's mean positional artifact, estimated over a folder of photos, from the
features that region steps read.

After: Yang et al., "Denoising Vision Transformers", ECCV 2024, equation 2 (output = content +
    artifact of the position + interaction), as the diagnostic study, section 4.1, cites it for
    non-smoothness.
Differs: their artifact is a neural field fitted to many crops of ONE image, followed by a trained
    denoiser; ours is the mean over many images, in closed form. It takes out what is the same at a
    position in all images, content included (sky lies on top), and nothing of the interaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.methods import Transform
from regiontok.settings import registry

if TYPE_CHECKING:
    from jaxtyping import Float

LAYER = (
    "layer",
    "stages",
)  # an encoder's fields that say which of its features these are; size and framing may differ


@dataclass(frozen=True, eq=False)
class Artifact:
    """What an encoder adds at each position, whatever the image; `save_artifact` writes one,
    `load_artifact` reads it.

    Attributes:
        values: `[h w d]`.
        encoder: full spec of the encoder, "" if it was not told.
        weights: identity of its weights.
        layer: which of its features, say "layer=-2".
        images: how many it was estimated on.
    """

    values: Float[Tensor, "h w d"]
    encoder: str = ""
    weights: str = ""
    layer: str = ""
    images: int = 0


def mean_artifact(grids: Iterable[PatchGrid]) -> Float[Tensor, "h w d"]:
    """The mean over images of (feature at a position - mean feature of its image), float32; zero
    where no image has a valid patch.

    Of images without an artifact it is noise with 1 / images of the variance of their content.
    Images may come from a generator: one is held at a time.

    Raises:
        ValueError: no images, clips, or grids of several shapes.
    """
    shape: tuple[int, ...] = ()
    for place, grid in enumerate(grids):
        if not place:
            shape = tuple(grid.features.shape)
            total = torch.zeros(shape, dtype=torch.float64, device=grid.features.device)
            count = torch.zeros(shape[:-1], dtype=torch.float64, device=total.device)
        if len(shape) != 3 or tuple(grid.features.shape) != shape:
            got = f"{shape} and {tuple(grid.features.shape)}"
            raise ValueError(
                f"expected images on one grid [h w d], got {got}: an artifact is of positions, so one grid at a time"
            )
        seen = grid.features.double()[grid.valid]
        if len(seen):
            total[grid.valid] += seen - seen.mean(0)
            count += grid.valid
    if not shape:
        raise ValueError("expected images on one grid [h w d], got none")
    return (total / count.clamp(min=1)[..., None]).float()


def save_artifact(
    path: str | Path, values: Float[Tensor, "h w d"], encoder: Any = None, images: int = 0
) -> Path:
    """Write an artifact as safetensors, with the encoder's spec, the identity of its weights and
    its layer.

    Raises:
        ValueError: not `[h w d]`, NaN or infinity.
    """
    if values.ndim != 3 or not bool(torch.isfinite(values).all()):
        raise ValueError(f"expected a finite artifact [h w d], got {list(values.shape)}")
    about = {"images": str(images)}
    if encoder is not None:
        about |= {
            "encoder": registry.render(encoder, full=True),
            "weights": encoder.identity,
            "layer": _layer(encoder),
        }
    save_file({"artifact": values.float().contiguous().cpu()}, str(path), metadata=about)
    return Path(path)


def load_artifact(path: str | Path) -> Artifact:
    """Read an artifact.

    Raises:
        ValueError: no such file, or none that `save_artifact` wrote.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(
            f"{path}: no such file; regiontok.transform.denoise.mean_artifact and save_artifact make one"
        )
    stat = file.stat()
    return _load(str(file.resolve()), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=8)
def _load(path: str, changed: int, size: int) -> Artifact:
    """Of the file as it was then: `changed` and `size` are there for the cache."""
    try:
        with safe_open(path, framework="pt") as file:
            about, values = file.metadata() or {}, file.get_tensor("artifact")
    except SafetensorError as error:
        raise ValueError(f"{path} is no artifact that save_artifact wrote: {error}") from None
    if values.ndim != 3 or not bool(torch.isfinite(values).all()):
        raise ValueError(
            f"{path} holds {list(values.shape)}, or NaN, where a finite artifact [h w d] was expected"
        )
    told = {name: about.get(name, "") for name in ("encoder", "weights", "layer")}
    return Artifact(values, **told, images=int(about.get("images", 0)))


@dataclass(frozen=True)
class Denoise(Transform):
    """Subtract the artifact of a file, resampled to the view's grid if it has another; pooled
    values stay as they are.

    Attributes:
        artifact: path of a file that `save_artifact` wrote.
    """

    artifact: str
    version: ClassVar[int] = 1

    @property
    def identity(self) -> str:
        """32 hex digits of the artifact itself: with the spec it decides the features.

        Raises:
            ValueError: see `load_artifact`.
        """
        values = load_artifact(self.artifact).values
        return hashlib.sha256(
            f"{list(values.shape)}".encode() + values.numpy().tobytes()
        ).hexdigest()[:32]

    def check(self, encoder: Any) -> None:
        """Refuse an encoder that the artifact is not of: other weights, or another layer. Another
        size of image is fine.

        Raises:
            ValueError: another encoder; see `load_artifact`.
        """
        known = load_artifact(self.artifact)
        if known.weights and (known.weights, known.layer) != (encoder.identity, _layer(encoder)):
            ours = registry.render(encoder, full=True)
            raise ValueError(
                f"{self.artifact} was estimated on {known.encoder}, but the encoder is {ours}: estimate it anew"
            )

    def one(self, grid: PatchGrid) -> PatchGrid:
        """Transform one view; a clip frame by frame.

        Raises:
            ValueError: features of another width; see `load_artifact`.
        """
        values = load_artifact(self.artifact).values
        if values.shape[-1] != grid.features.shape[-1]:
            widths = f"{values.shape[-1]}, the features {grid.features.shape[-1]}"
            raise ValueError(
                f"{self.artifact} has a width of {widths}: it was estimated on another encoder or layer"
            )
        exact = resampled(values.to(grid.features.device).double(), grid.features.shape[-3:-1])
        return grid.but(
            features=(grid.features.double() - exact).to(grid.features.dtype), values=grid.pooled
        )


def resampled(values: Float[Tensor, "h w d"], size: Sequence[int]) -> Float[Tensor, "y x d"]:
    """Bilinear, averaging where the grid is coarser; as it is on its own grid."""
    if tuple(values.shape[:2]) == tuple(size):
        return values
    deep = values.movedim(-1, 0)[None]
    return torch.nn.functional.interpolate(deep, tuple(size), mode="bilinear", antialias=True)[
        0
    ].movedim(0, -1)


def _layer(encoder: Any) -> str:
    return ", ".join(
        f"{name}={getattr(encoder, name)!r}" for name in LAYER if hasattr(encoder, name)
    )
