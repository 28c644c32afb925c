"""Subtract an encoder's mean positional artifact from the features that region steps read.

The artifact is estimated over a folder of photos.

After: Yang et al., "Denoising Vision Transformers", ECCV 2024, equation 2 (output = content +
    artifact of the position + interaction), as the diagnostic study, section 4.1, cites it for
    non-smoothness.
Differs: the paper's artifact is a neural field fitted to many crops of ONE image, followed by a
    trained denoiser; ours is the mean over many images, in closed form. It takes out what is the
    same at a position in all images, content included (sky lies on top), and nothing of the
    interaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.methods import Encoder, Transform
from regiontok.settings import registry

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class Artifact:
    """What an encoder adds at each position, whatever the image shows.

    `save_artifact` writes one to a file, `load_artifact` reads it.

    Attributes:
        values: `[h w d]`, the artifact.
        encoder: full spec of the encoder, "" if the file does not name it.
        weights: identity of the encoder's weights.
        layer: name of the encoder's layer that the features come from, say "-2" or "stage 1".
        images: number of images that it was estimated on.
    """

    values: Float[Tensor, "h w d"]
    encoder: str = ""
    weights: str = ""
    layer: str = ""
    images: int = 0


def mean_artifact(grids: Iterable[PatchGrid]) -> Float[Tensor, "h w d"]:
    """The mean over images of (feature at a position - mean feature of its image), in float32.

    It is zero where no image has a valid patch. Of images without an artifact it is noise with
    1 / images of the variance of their content. Images may come from a generator: one of them is
    held at a time.

    Raises:
        ValueError: If there are no images, clips, or grids of several shapes.
    """
    shape: tuple[int, ...] | None = None
    for grid in grids:
        if shape is None:
            shape = tuple(grid.features.shape)
            total = torch.zeros(shape, dtype=torch.float64, device=grid.features.device)
            count = torch.zeros(shape[:-1], dtype=torch.float64, device=total.device)
        if len(shape) != 3 or tuple(grid.features.shape) != shape:
            raise ValueError(
                f"expected images on one grid [h w d], got {shape} and "
                f"{tuple(grid.features.shape)}: an artifact is of positions, so one grid at a time"
            )
        valid = grid.features.double()[grid.valid]
        if len(valid):
            total[grid.valid] += valid - valid.mean(0)
            count += grid.valid
    if shape is None:
        raise ValueError("expected images on one grid [h w d], got none")
    return (total / count.clamp(min=1)[..., None]).float()


def save_artifact(
    path: str | Path,
    values: Float[Tensor, "h w d"],
    encoder: Encoder | None = None,
    images: int = 0,
) -> Path:
    """Write an artifact as safetensors, with the encoder's spec, weights' identity and layer.

    Raises:
        ValueError: If the values are not `[h w d]`, or are NaN or infinite.
    """
    if values.ndim != 3 or not bool(torch.isfinite(values).all()):
        raise ValueError(f"expected a finite artifact [h w d], got {list(values.shape)}")
    metadata = {"images": str(images)}
    if encoder is not None:
        metadata |= {
            "encoder": registry.render(encoder, full=True),
            "weights": encoder.identity,
            "layer": encoder.layer_name,
        }
    save_file({"artifact": values.float().contiguous().cpu()}, str(path), metadata=metadata)
    return Path(path)


def load_artifact(path: str | Path) -> Artifact:
    """Read an artifact.

    Raises:
        ValueError: If there is no such file, or `save_artifact` has not written it.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(
            f"{path}: no such file; regiontok.transform.denoise.mean_artifact and save_artifact "
            "make one"
        )
    stat = file.stat()
    return _load(str(file.resolve()), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=8)
def _load(path: str, changed: int, size: int) -> Artifact:
    """Read the file; `changed` and `size` are in the cache's key, so a new file is read anew."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata, values = file.metadata() or {}, file.get_tensor("artifact")
    except SafetensorError as error:
        raise ValueError(f"{path} is no artifact that save_artifact wrote: {error}") from None
    if values.ndim != 3 or not bool(torch.isfinite(values).all()):
        raise ValueError(
            f"{path} holds {list(values.shape)}, or NaN, where a finite artifact [h w d] was "
            "expected"
        )
    return Artifact(
        values,
        encoder=metadata.get("encoder", ""),
        weights=metadata.get("weights", ""),
        layer=metadata.get("layer", ""),
        images=int(metadata.get("images", 0)),
    )


@dataclass(frozen=True)
class Denoise(Transform):
    """Subtract the artifact of a file, resampled to the view's grid if it has another.

    Pooled values stay as they are.

    Attributes:
        artifact: path of a file that `save_artifact` wrote.
    """

    artifact: str
    version: ClassVar[int] = 1

    @property
    def identity(self) -> str:
        """32 hex digits of the artifact itself: with the spec it decides the features.

        Raises:
            ValueError: If the artifact cannot be read (see `load_artifact`).
        """
        values = load_artifact(self.artifact).values
        content = f"{list(values.shape)}".encode() + values.numpy().tobytes()
        return hashlib.sha256(content).hexdigest()[:32]

    def check(self, encoder: Encoder) -> None:
        """Refuse an encoder that the artifact was not estimated on.

        Its weights and its layer must be those of the artifact; the size of images may differ.

        Raises:
            ValueError: If the encoder is another one, or the artifact cannot be read.
        """
        artifact = load_artifact(self.artifact)
        expected = (artifact.weights, artifact.layer)
        if artifact.weights and expected != (encoder.identity, encoder.layer_name):
            raise ValueError(
                f"{self.artifact} was estimated on {artifact.encoder}, but the encoder is "
                f"{registry.render(encoder, full=True)}: estimate it anew"
            )

    def one(self, grid: PatchGrid) -> PatchGrid:
        """Transform one view; a clip frame by frame.

        Raises:
            ValueError: If the features have another width, or the artifact cannot be read.
        """
        values = load_artifact(self.artifact).values
        if values.shape[-1] != grid.features.shape[-1]:
            raise ValueError(
                f"{self.artifact} has a width of {values.shape[-1]}, the features "
                f"{grid.features.shape[-1]}: it was estimated on another encoder or layer"
            )
        artifact = resampled(values.to(grid.features.device).double(), grid.features.shape[-3:-1])
        clean = (grid.features.double() - artifact).to(grid.features.dtype)
        return grid.but(features=clean, values=grid.pooled)


def resampled(values: Float[Tensor, "h w d"], size: Sequence[int]) -> Float[Tensor, "y x d"]:
    """Values on a grid of another size: bilinear, averaged where that grid is coarser."""
    if tuple(values.shape[:2]) == tuple(size):
        return values
    image = torch.nn.functional.interpolate(
        values.movedim(-1, 0)[None], tuple(size), mode="bilinear", antialias=True
    )
    return image[0].movedim(0, -1)
