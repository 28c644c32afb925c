"""The regions on which centres are found: a sample of all features, in one file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from regiontok.curate.sources import CurationError, Source
from regiontok.curate.stage_files import Stage, read_rows
from regiontok.curate.tars import Curation
from regiontok.system.files import replacing_shared

if TYPE_CHECKING:
    from jaxtyping import Float16, Int


def features_of(table: Any, embed: Stage) -> Float16[np.ndarray, "k d"]:
    """The features in rows of the stage "embed", one region behind the other."""
    data = b"".join(table.column("features").to_pylist())
    return np.frombuffer(data, "<f2").reshape(-1, int(embed.settings["width"]))


def count_regions(curation: Curation, embed: Stage) -> list[int]:
    """How many regions each tar has.

    Raises:
        CurationError: If a tar's features are missing or damaged.
    """
    return [
        sum(read_rows(embed, curation.out, tar, ["regions"]).column("regions").to_pylist())
        for tar in curation.tars
    ]


def sample_numbers(regions: int, count: int, seed: int) -> Int[np.ndarray, "n"]:
    """Regions of a sample, ascending: one from each of `count` stretches of equal length.

    Each region is as likely as any other. All of them where there are no more than `count`.

    >>> sample_numbers(3, 9, seed=0).tolist()
    [0, 1, 2]
    >>> [number // 10 for number in sample_numbers(40, 4, seed=0).tolist()]
    [0, 1, 2, 3]
    """
    if count >= regions:
        return np.arange(regions)
    edges = np.array([regions * number // count for number in range(count + 1)])
    share = np.random.default_rng(seed).random(count)
    return edges[:-1] + (share * np.diff(edges)).astype(np.int64)


def write_sample(
    path: Path, curation: Curation, embed: Stage, counts: list[int], numbers: np.ndarray
) -> None:
    """Write the features of some regions as a .npy file of float16, whole or not at all.

    Args:
        path: the file.
        curation: what is curated.
        embed: the stage that wrote the features.
        counts: regions of each tar.
        numbers: which of all regions, ascending.

    Raises:
        CurationError: If a tar's features are missing, damaged, or not finite.
    """
    shape = (len(numbers), int(embed.settings["width"]))
    header = {"descr": "<f2", "fortran_order": False, "shape": shape}
    with replacing_shared(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for features in _sampled(curation, embed, counts, numbers):
            file.write(features.tobytes())


def _sampled(
    curation: Curation, embed: Stage, counts: list[int], numbers: np.ndarray
) -> Iterator[Float16[np.ndarray, "k d"]]:
    """The features of the sample, tar by tar."""
    start = 0
    for tar, count in zip(curation.tars, counts, strict=True):
        first, last = np.searchsorted(numbers, (start, start + count))
        if last > first:
            table = read_rows(embed, curation.out, tar, ["features"])
            features = features_of(table, embed)[numbers[first:last] - start]
            _check_finite(features, tar)
            yield features
        start += count


def _check_finite(features: Float16[np.ndarray, "k d"], tar: Source) -> None:
    if not np.isfinite(features).all():
        raise CurationError(
            f"{tar.name}: features are not finite: take another encoder, or leave its tar out"
        )
