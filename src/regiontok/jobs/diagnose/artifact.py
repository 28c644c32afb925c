"""The mean positional artifact of each half of the photos: what `denoise` subtracts from the photos
of the other half."""

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
    """Denoise for the photos of half 0 and of half 1, each by the artifact of the other half. One
    grid is in memory at a time.

    Grids of another shape than most of their half have no part in it. A half without photos leaves
    the other without `denoise`.
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
    found = {}
    folder.mkdir(parents=True, exist_ok=True)
    for half in (0, 1):
        if images[half]:
            shape, seen = images[half].most_common(1)[0]
            mean = totals[half][shape] / counts[half][shape].clamp(min=1)[..., None]
            path = save_artifact(
                folder / f"{'even' if half == 0 else 'odd'}.safetensors",
                mean.float(),
                encoder,
                seen,
            )
            found[1 - half] = Denoise(str(path))
    return found


def saved_artifacts(folder: Path) -> dict[int, Denoise]:
    """What `estimate_artifacts` wrote there."""
    found = {1: folder / "even.safetensors", 0: folder / "odd.safetensors"}
    return {half: Denoise(str(path)) for half, path in found.items() if path.is_file()}
