"""`regiontok masks` over tars: the masks of each image, and a side-car for each tar.

OUT/NAME.masks.parquet          the masks of a tar's images, merged of its pieces
OUT/shards/NAME.regions.parquet its side-car, as every reader of shards takes it
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from regiontok.core.masks import PixelMasks, masks_from
from regiontok.core.picture import Picture, PictureError
from regiontok.curate.assemble import in_whole_tars
from regiontok.curate.packing import clear_other_sidecars, sidecar_folder, write_manifests
from regiontok.curate.propose import regions_schema
from regiontok.curate.sources import CurationError, ImageIndex
from regiontok.curate.stage_files import Stage, read_rows, write_piece
from regiontok.curate.steps import PieceStep
from regiontok.curate.tars import Curation, Piece, curation_in
from regiontok.curate.threads import one_thread
from regiontok.curate.verify import Finding
from regiontok.curate.verify_sidecars import verify_sidecars
from regiontok.jobs.tars.job import TarJob, open_tars
from regiontok.methods import Segmenter
from regiontok.settings import registry
from regiontok.shards.image_regions import ImageRegions
from regiontok.shards.report import FailedImage
from regiontok.shards.sidecar import write_sidecar
from regiontok.shards.tar import ShardError, open_index
from regiontok.system.errors import UnusableModel, first_line
from regiontok.system.files import replacing_shared
from regiontok.system.need import need
from regiontok.system.strict_json import parse_json

FORM = 1
PLAN = "masks.json"  # in the folder: the segmenter, by which it is looked after


def begin_masks(words: Sequence[str], segmenter: str, out: Path, piece: int) -> TarJob:
    """Begin with the masks of tars in a folder, or go on; by another segmenter they are done anew.

    Args:
        words: tars and folders of tars.
        segmenter: spec of the segmenter.
        out: the folder.
        piece: images of a piece.

    Raises:
        SpecError: If the spec cannot be built.
        CurationError: If the folder is of other tars or pieces; see `open_tars`.
        ShardError: If a tar is missing.
    """
    job = masks_job(open_tars(words, out, piece), segmenter)
    with replacing_shared(out / PLAN) as temporary:
        temporary.write_text(json.dumps({"segmenter": segmenter}) + "\n", encoding="utf-8")
    return job


def masks_job(curation: Curation, segmenter: str) -> TarJob:
    """The masks of the images of tars, and their side-cars.

    Args:
        curation: the tars.
        segmenter: spec of the segmenter.

    Raises:
        SpecError: If the spec cannot be built.
    """
    stage, whole = _masks_stage(curation, segmenter), in_whole_tars(curation)
    gpus = float(_segmenter(segmenter).wants_gpu)
    sidecars = _sidecar_stage(stage)
    return TarJob(
        curation,
        (
            PieceStep(stage, curation, MasksPiece(curation, segmenter), gpus=gpus),
            PieceStep(
                sidecars,
                whole,
                SidecarPiece(whole, stage),
                before=lambda: clear_other_sidecars(whole, sidecars),
                after=lambda: write_manifests(whole),
                behind=stage.name,
            ),
        ),
    )


def has_masks_of_tars(out: Path) -> bool:
    """True if a folder holds the masks of tars."""
    return (out / PLAN).is_file()


def masks_job_in(out: Path) -> TarJob:
    """The job whose results lie in a folder.

    Raises:
        CurationError: If there is none, or it is damaged.
    """
    try:
        segmenter = parse_json((out / PLAN).read_bytes())["segmenter"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CurationError(f"{out / PLAN}: cannot be read ({error})") from None
    return masks_job(curation_in(out), segmenter)


def verify_masks(job: TarJob) -> list[Finding]:
    """What is not whole, not done, or of other settings, side-cars among it."""
    sidecars = job.steps[1]
    return [*job.verify(), *verify_sidecars(sidecars.curation, sidecars.stage)]


@cache
def _segmenter(spec: str) -> Segmenter:
    """A segmenter, built once a process."""
    return registry.build("segmenter", spec)


def _masks_stage(curation: Curation, spec: str) -> Stage:
    segmenter = _segmenter(spec)
    settings = {
        "segmenter": registry.render(segmenter, full=True),
        "identity": segmenter.identity,
    }
    return Stage("masks", FORM, settings, curation.hash, regions_schema())


def _sidecar_stage(masks: Stage) -> Stage:
    pa = need("pyarrow", extra="store")
    columns = {"index": pa.int32(), "regions": pa.int32(), "reason": pa.string()}
    return Stage("sidecars", FORM, {}, masks.hash, pa.schema(list(columns.items())))


@dataclass(frozen=True)
class MasksPiece:
    """Writes the masks of a piece's images; worker processes get it.

    Attributes:
        curation: the tars.
        segmenter: spec of the segmenter.
    """

    curation: Curation
    segmenter: str

    def __call__(self, piece: Piece) -> None:
        """Segment every image of a piece.

        Raises:
            ShardError: If its tar is missing or damaged.
            UnusableModel: If the segmenter's model cannot be loaded.
        """
        start, index = time.perf_counter(), self.curation.index(piece.tar)
        with one_thread():
            rows = [
                {"index": number, **self._row(index, number)}
                for number in range(piece.start, piece.stop)
            ]
        stage = _masks_stage(self.curation, self.segmenter)
        write_piece(stage, self.curation.out, piece, rows, time.perf_counter() - start)

    def _row(self, index: ImageIndex, number: int) -> dict[str, Any]:
        try:
            picture = Picture.of(index.read(number), index.key(number))
        except PictureError as error:
            return _row(PixelMasks((0, 0), ()), f"corrupt: {error}")
        try:
            (masks,) = masks_from(_segmenter(self.segmenter), [picture])
            return _row(masks)
        except (ShardError, UnusableModel):
            raise
        except (ValueError, RuntimeError, MemoryError) as error:
            return _row(PixelMasks(picture.size, ()), f"unsegmented: {first_line(error)}")


def _row(masks: PixelMasks, reason: str = "") -> dict[str, Any]:
    """The columns of an image beside its number; empty masks are left out."""
    boxes = np.asarray(masks.boxes, np.float32).reshape(-1, 4)
    some = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(1))
    scores = np.ones(len(masks)) if masks.scores is None else np.asarray(masks.scores)
    return {
        "height": masks.size[0],
        "width": masks.size[1],
        "boxes": boxes[some].ravel(),
        "scores": np.nan_to_num(scores[some].astype(np.float32), nan=1.0),
        "masks": [masks.counts[number] for number in some],
        "reason": reason,
    }


@dataclass(frozen=True)
class SidecarPiece:
    """Writes the side-car of a tar, which is one piece; worker processes get it.

    Attributes:
        curation: the tars, `in_whole_tars`.
        masks: the stage that has found the masks.
    """

    curation: Curation
    masks: Stage

    def __call__(self, piece: Piece) -> None:
        """Write the side-car of a tar.

        Raises:
            CurationError: If its masks are missing or damaged.
            ShardError: If the tar is missing or damaged.
        """
        start, stage = time.perf_counter(), _sidecar_stage(self.masks)
        path = Path(piece.tar.place)
        index = open_index(path, self.curation.out)
        rows = read_rows(self.masks, self.curation.out, piece.tar).to_pylist()
        write_sidecar(
            path,
            (_regions(row, index.key(row["index"])) for row in rows if not row["reason"]),
            sidecar_folder(self.curation, piece.tar),
            config={"curation": stage.hash, "masks": dict(self.masks.settings)},
            index=index,
            errors=[
                FailedImage(row["index"], index.key(row["index"]), row["reason"])
                for row in rows
                if row["reason"]
            ],
        )
        counts = [
            {"index": row["index"], "regions": len(row["masks"]), "reason": row["reason"]}
            for row in rows
        ]
        write_piece(stage, self.curation.out, piece, counts, time.perf_counter() - start)


def _regions(row: dict[str, Any], key: str) -> ImageRegions:
    """An image's row of the side-car: its masks, without classes."""
    return ImageRegions(
        index=row["index"],
        key=key,
        size=(row["height"], row["width"]),
        boxes=np.reshape(np.array(row["boxes"], np.float32), (-1, 4)),
        masks=row["masks"],
        confidences=np.array(row["scores"], np.float32),
    )
