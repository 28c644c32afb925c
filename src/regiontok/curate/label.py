"""The stage that gives each region its nearest centroids.

After: RICE, equation 1 (row R1): a region's label is its nearest centre by Euclidean distance.
Differs: several nearest centres are written down, with their cosines; the first is the label.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from regiontok.curate.cluster import centroids_path, read_centroid_report
from regiontok.curate.cluster_device import clustering_device
from regiontok.curate.cluster_sample import features_of
from regiontok.curate.plan import ClusterPlan
from regiontok.curate.sources import CurationError
from regiontok.curate.stage_files import Stage, is_done, read_rows, write_piece
from regiontok.curate.tars import Curation, Piece
from regiontok.curate.threads import one_thread
from regiontok.kmeans.nearest import NearestCentres
from regiontok.kmeans.rows import unit
from regiontok.shards.report import config_hash
from regiontok.system.need import need
from regiontok.system.parquet import list_of

FORM = 1


def label_stage(curation: Curation, plan: ClusterPlan, reads: str) -> Stage:
    """The stage, of a plan's settings.

    Args:
        curation: what is curated.
        plan: the settings.
        reads: the hash of the features and of the centroids, which `LabelPiece.reads` is.
    """
    pa = need("pyarrow", extra="store")
    columns = {
        "index": pa.int32(),
        "ids": list_of(pa.int32()),
        "scores": list_of(pa.float16()),
        "reason": pa.string(),
    }
    return Stage("label", FORM, {"top": plan.top}, reads, pa.schema(list(columns.items())))


@dataclass(frozen=True)
class LabelPiece:
    """Writes a piece of the stage; worker processes get it.

    Attributes:
        curation: what is curated.
        plan: the settings.
        embed: the stage that has written the features.
        centroids: the hash of the centroids.
        device: where products are computed.
    """

    curation: Curation
    plan: ClusterPlan
    embed: Stage
    centroids: str
    device: str = "cpu"

    @property
    def reads(self) -> str:
        """The hash of what the stage reads."""
        return config_hash({"embed": self.embed.hash, "centroids": self.centroids})

    def __call__(self, piece: Piece) -> None:
        """Label the regions of every image of a piece.

        Raises:
            CurationError: If features or centroids are missing, damaged, or of other settings.
            NotFinite: If a feature is not finite.
        """
        start = time.perf_counter()
        table = self._features(piece)
        with one_thread():
            ids, cosines = self._nearest(features_of(table, self.embed))
        rows, first = [], 0
        for index, regions, reason in zip(
            *(table.column(name).to_pylist() for name in ("index", "regions", "reason")),
            strict=True,
        ):
            of_image = slice(first, first + regions)
            labels = {"ids": ids[of_image].ravel(), "scores": cosines[of_image].ravel()}
            rows.append({"index": index, **labels, "reason": reason})
            first += regions
        stage = label_stage(self.curation, self.plan, self.reads)
        write_piece(stage, self.curation.out, piece, rows, time.perf_counter() - start)

    def _features(self, piece: Piece) -> Any:
        """The rows of the features of a piece's images."""
        if not is_done(self.embed, self.curation.out, piece.tar):
            raise CurationError(
                f"{piece.tar.name} has no features of these settings yet: embed comes first"
            )
        table = read_rows(self.embed, self.curation.out, piece.tar)
        return table.slice(piece.start, piece.stop - piece.start)

    def _nearest(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers and cosines of the nearest centroids `[k top]`, or of all if they are fewer."""
        nearest = _centres(self.curation.out, self.centroids, self.plan.top, self.device)
        found = nearest(torch.from_numpy(unit(features)), min(self.plan.top, len(nearest)))
        return found.ids.astype(np.int32), found.cosines.astype(np.float16)


@lru_cache(maxsize=1)
def _centres(out: Path, digest: str, top: int, device: str) -> NearestCentres:
    """The centroids, which a process reads once.

    Raises:
        CurationError: If they are missing, or others.
    """
    report = read_centroid_report(out)
    if report is None or report.hash != digest:
        raise CurationError(f"{centroids_path(out)}: not the centroids of these settings")
    centroids = np.load(centroids_path(out), allow_pickle=False)
    return NearestCentres(torch.from_numpy(centroids), top=top, device=clustering_device(device))
