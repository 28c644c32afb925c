"""The mean positional artifact of each half of the photos.

`denoise` subtracts it from the photos of the other half.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from regiontok.core.grid import PatchGrid
from regiontok.transform.denoise import Denoise, mean_artifact, save_artifact


def estimate_artifacts(
    grids: Iterable[tuple[int, PatchGrid]], folder: Path, encoder: Any
) -> dict[int, Denoise]:
    """`Denoise` for the photos of half 0 and of half 1, each by the artifact of the other half.

    One grid is in memory at a time. Grids of another shape than most of their half have no part in
    the artifact. A half without photos leaves the other without `denoise`.

    Args:
        grids: the half of each photo, 0 or 1, and its grid.
        folder: where the artifacts are written.
        encoder: the encoder of the grids.
    """
    totals: dict[int, dict[tuple[int, ...], Any]] = {
        0: defaultdict(lambda: 0),
        1: defaultdict(lambda: 0),
    }
    counts: dict[int, dict[tuple[int, ...], Any]] = {
        0: defaultdict(lambda: 0),
        1: defaultdict(lambda: 0),
    }
    images: dict[int, Counter[tuple[int, ...]]] = {0: Counter(), 1: Counter()}
    for half, grid in grids:
        shape = tuple(grid.features.shape)
        totals[half][shape] = totals[half][shape] + mean_artifact([grid]).double()
        counts[half][shape] = counts[half][shape] + grid.valid.long()
        images[half][shape] += 1
    transforms = {}
    folder.mkdir(parents=True, exist_ok=True)
    for half in (0, 1):
        if images[half]:
            shape, photos = images[half].most_common(1)[0]
            mean = totals[half][shape] / counts[half][shape].clamp(min=1)[..., None]
            path = folder / f"{'even' if half == 0 else 'odd'}.safetensors"
            save_artifact(path, mean.float(), encoder, photos)
            transforms[1 - half] = Denoise(str(path))
    return transforms


def saved_artifacts(folder: Path) -> dict[int, Denoise]:
    """The transforms of artifacts that `estimate_artifacts` wrote into the folder."""
    paths = {1: folder / "even.safetensors", 0: folder / "odd.safetensors"}
    return {half: Denoise(str(path)) for half, path in paths.items() if path.is_file()}
