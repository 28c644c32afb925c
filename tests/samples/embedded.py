"""A curation whose features are planted: what the stage "embed" would have written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from regiontok.curate.stage_files import Stage, merge, write_piece
from regiontok.curate.tars import Curation, open_curation
from regiontok.shards.tar import write_tar

WIDTH = 16


def embedded(
    folder: Path, images: Mapping[str, int], *, clusters: int = 6, seed: int = 0, name: str = "out"
) -> tuple[Curation, Stage, np.ndarray]:
    """A curation of tars with so many images each, its features, and their planted clusters.

    An image has 0 to 4 regions; every fifth is left out.
    """
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(clusters, WIDTH))
    for tar, count in images.items():
        if not (path := folder / f"{tar}.tar").exists():
            write_tar(path, [(f"{number:03}.jpg", b"an image") for number in range(count)])
    curation = open_curation(folder / name, [str(folder / f"{tar}.tar") for tar in images], 7)
    columns = {"index": pa.int32(), "regions": pa.int32(), "features": pa.binary()}
    schema = pa.schema([*columns.items(), ("reason", pa.string())])
    stage = Stage("embed", 1, {"width": WIDTH, "seed": seed}, curation.hash, schema)
    planted = []
    for tar in curation.tars:
        for piece in curation.pieces(tar):
            rows = []
            for index in range(piece.start, piece.stop):
                labels = rng.integers(clusters, size=rng.integers(5) if index % 5 else 0)
                features = centres[labels] + 0.1 * rng.normal(size=(len(labels), WIDTH))
                features /= np.linalg.norm(features, axis=1, keepdims=True)
                planted.append(labels)
                rows.append(
                    {
                        "index": index,
                        "regions": len(labels),
                        "features": features.astype("<f2").tobytes(),
                        "reason": "" if index % 5 else "left out",
                    }
                )
            write_piece(stage, curation.out, piece, rows, 0.5)
        merge(stage, curation, tar)
    return curation, stage, np.concatenate(planted)
