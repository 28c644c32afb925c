"""The last stage: for each tar the side-car that pretraining reads, objects and text in one.

After: RICE, section 3.1 (rows R1, R2).
Differs: images that are set aside, and those in which no region was found, have no row.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from regiontok.curate.image_regions import CuratedImage, Row, curated_image
from regiontok.curate.packing import packed_tar, sidecar_folder
from regiontok.curate.sources import CurationError
from regiontok.curate.stage_files import Stage, is_done, read_rows, write_piece
from regiontok.curate.tars import Curation, Piece
from regiontok.shards.report import config_hash
from regiontok.shards.sidecar import write_sidecar
from regiontok.system.need import need

FORM = 1


@dataclass(frozen=True)
class RegionStages:
    """The stages from which side-cars are put together.

    Attributes:
        filter: the sizes of images.
        propose: boxes, their scores and masks.
        label: the nearest centres of each box.
        ocr: lines of text; None where no text is read.
        classes: number of centres.
        centroids: hash of the centroids.
        score: lines of text above this confidence are used.
    """

    filter: Stage
    propose: Stage
    label: Stage
    ocr: Stage | None
    classes: int
    centroids: str
    score: float

    @property
    def stages(self) -> list[Stage]:
        """Those that there are."""
        return [stage for stage in (self.filter, self.propose, self.label, self.ocr) if stage]


def assemble_stage(curation: Curation, reads: RegionStages) -> Stage:
    """The stage. Its own rows only count regions; side-cars lie in `sidecar_folder`."""
    pa = need("pyarrow", extra="store")
    columns = {
        "index": pa.int32(),
        "objects": pa.int32(),
        "texts": pa.int32(),
        "reason": pa.string(),
    }
    settings = {
        "classes": reads.classes,
        "centroids": reads.centroids,
        "score": reads.score if reads.ocr else None,
    }
    upstream = config_hash({stage.name: stage.hash for stage in reads.stages})
    return Stage("assemble", FORM, settings, upstream, pa.schema(list(columns.items())))


def in_whole_tars(curation: Curation) -> Curation:
    """A curation whose pieces are its tars: a side-car cannot be written in parts."""
    return replace(curation, piece=max(1, *(tar.images for tar in curation.tars)))


@dataclass(frozen=True)
class AssemblePiece:
    """Writes the side-car of a tar, which is one piece; worker processes get it.

    Attributes:
        curation: the tars, `in_whole_tars`.
        reads: the stages from which side-cars are put together.
    """

    curation: Curation
    reads: RegionStages

    def __call__(self, piece: Piece) -> None:
        """Write the side-car of a tar, and for images without a tar the tar beside it.

        Raises:
            CurationError: If the file of a stage is missing or damaged.
            ShardError: If the tar is missing or damaged.
        """
        start = time.perf_counter()
        images = self._images(piece)
        stage = assemble_stage(self.curation, self.reads)
        tar = packed_tar(
            self.curation, piece.tar, [image.regions for image in images if not image.reason]
        )
        failures = [image.failure for image in images if image.failure]
        write_sidecar(
            tar.path,
            tar.rows,
            sidecar_folder(self.curation, piece.tar),
            config={"curation": stage.hash, **self._settings()},
            index=tar.index,
            errors=() if tar.is_new else failures,  # they have no number in a new one
            classes=self.reads.classes,
            centroids=self.reads.centroids,
        )
        rows = [image.row() for image in images]
        write_piece(stage, self.curation.out, piece, rows, time.perf_counter() - start)

    def _settings(self) -> dict[str, Any]:
        return {stage.name: dict(stage.settings) for stage in self.reads.stages}

    def _images(self, piece: Piece) -> list[CuratedImage]:
        """All images of a tar."""
        index, score = self.curation.index(piece.tar), self.reads.score
        for stage in self.reads.stages:
            if not is_done(stage, self.curation.out, piece.tar):
                raise CurationError(
                    f"{piece.tar.name} is without {stage.name} of these settings: it comes first"
                )
        rows: dict[str, Sequence[Row]] = {
            stage.name: read_rows(stage, self.curation.out, piece.tar).to_pylist()
            for stage in self.reads.stages
        }
        read: Sequence[Row | None] = rows.get("ocr") or [None] * piece.tar.images
        sizes = [(row["height"], row["width"]) for row in rows["filter"]]
        columns = zip(sizes, rows["propose"], rows["label"], read, strict=True)
        return [
            curated_image(index.key(number), *found, score=score)
            for number, found in enumerate(columns)
        ]
