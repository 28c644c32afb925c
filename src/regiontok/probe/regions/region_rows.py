"""Region rows of a RICE encoder: what its region layer gives, under the mask of each region.

After: RICE, section 3.2 (row R4).
Differs: pictures are stretched to the size that the network was trained at, as in the evaluation of
pretraining; the exported encoder, as `transformers('...')` reads it, crops them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from regiontok.core.frame import Frame
from regiontok.core.picture import Picture
from regiontok.probe.regions.features import ImageRows, Subject
from regiontok.probe.regions.labelled import LabelledImage
from regiontok.rice.export import MEAN, STD, load_regions
from regiontok.rice.region_attention import RegionTransformer
from regiontok.rice.visible import Visible
from regiontok.system.checkpoint import fingerprint, locate

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class RegionRows(Subject):
    """A region transformer whose rows are judged; its patch tokens are the exported encoder's.

    Attributes:
        model: the region transformer, in evaluation mode.
        name: what tables call it.
        key: the hash of its weights.
        device: where it runs.
    """

    model: RegionTransformer
    name: str
    key: str
    device: str = "cpu"

    @classmethod
    def of(cls, folder: str | Path, device: str = "cpu") -> RegionRows:
        """The region transformer of an exported encoder: a folder or hub name.

        Raises:
            ValueError: If it is no RICE encoder, or weights are missing.
        """
        model = load_regions(folder, dtype=torch.float32).eval().requires_grad_(False)
        return cls(model.to(device), str(folder), fingerprint(locate(str(folder))), device)

    @property
    def title(self) -> str:
        """See `Subject`."""
        return f"{self.name} [region rows]"

    @property
    def fingerprint(self) -> str:
        """See `Subject`."""
        return f"region rows of {self.key}"

    @torch.no_grad()
    def rows(self, image: LabelledImage, rng: np.random.Generator, most: int) -> ImageRows:
        """See `Subject`."""
        config = self.model.vit.config
        side, patch = config.image_size, config.patch
        frame = Frame.stretch(image.picture.size, (side, side), (patch, patch))
        share = frame.to_grid(image.masks)
        seen = (share.flatten(1).sum(1) > 0).nonzero()[:, 0]
        width = self.model.layer.projection or config.width
        rows = torch.zeros(0, width)
        if len(seen):
            values = _normalised(frame, image.picture).to(self.device)
            visible = Visible.from_masks([share[seen]]).to(torch.device(self.device))
            rows = self.model(values[None], visible).regions.float().cpu()
        none = torch.zeros(0, dtype=torch.int64)
        return ImageRows(rows, seen, torch.zeros(0, config.width), none)


def _normalised(frame: Frame, picture: Picture) -> Float[Tensor, "3 H W"]:
    """The picture on its canvas, normalised as in pretraining."""
    mean, std = (torch.tensor(values)[:, None, None] * 255 for values in (MEAN, STD))
    pixels = torch.from_numpy(frame.place(picture)).permute(2, 0, 1)
    return (pixels.float() - mean) / std
