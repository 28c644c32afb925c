"""What people drew, by patch: enough for the page to compute the covering of any regions exactly.

After: diagnostic study, supplement (covering of human regions); `regiontok.measures.covering`.
Differs: nothing; the page's numbers equal `region_scores(...)` of the same regions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from regiontok.core.frame import Frame
from regiontok.system.arrays import packed


def truth_data(frame: Frame, humans: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """How many pixels of each patch lie in each region that a person drew, person by person.

    "patch" n, the number of patches, stands for pixels that no patch sees.

    Args:
        frame: how the photo lies under the grid.
        humans: label maps `[H W]`, one a person.

    Raises:
        ValueError: If a label map has another size than the photo.
    """
    patches = math.prod(frame.grid)
    indices = torch.arange(patches).view(frame.grid)
    patch = frame.to_pixels(indices).numpy()
    patch = np.where(patch < 0, patches, patch).ravel()
    people = []
    for human in humans:
        if human.shape != tuple(frame.image):
            raise ValueError(
                f"a human segmentation is {human.shape}, the photo {tuple(frame.image)}"
            )
        names, label = np.unique(human, return_inverse=True)
        joint = np.bincount(patch * len(names) + label.ravel())
        places = joint.nonzero()[0]
        people.append(
            {
                "regions": len(names),
                "patch": packed(places // len(names), "int32"),
                "region": packed(places % len(names), "int32"),
                "pixels": packed(joint[places], "int32"),
            }
        )
    return people
