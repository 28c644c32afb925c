"""The stage that proposes the regions of an image: boxes, their scores, and masks if wanted.

After: RICE, section 3.1 (row R1: SAM's masks, SA-1B's own annotations for SA-1B, boxes with a
shorter edge of at least 128 pixels).
Differs: any segmenter may stand in for SAM, on a smaller copy of the image; which overlapping boxes
are dropped is not said there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from regiontok.core.masks import PixelMasks, masks_from
from regiontok.core.picture import Picture, PictureError
from regiontok.curate.kept import LEFT_OUT, rows_of_kept
from regiontok.curate.phash import image_size
from regiontok.curate.plan import ProposePlan
from regiontok.curate.proposals import Proposals, Size, proposals_of
from regiontok.curate.sources import ImageChanged, ImageIndex
from regiontok.curate.stage_files import Stage, write_piece
from regiontok.curate.tars import Curation, Piece
from regiontok.methods import Segmenter
from regiontok.segment.formats.rle import masks_of_json, scores_of
from regiontok.settings import registry
from regiontok.shards.tar import ShardError
from regiontok.system.errors import RegiontokError, UnusableModel, first_line
from regiontok.system.need import need
from regiontok.system.parquet import list_of
from regiontok.system.strict_json import parse_json

FORM = 1
STORED = "stored"  # the plan's word for annotations that lie beside the images
LEAST_EDGE = 8  # pixels of the copy's shorter edge, below which a segmenter sees no regions
NO_REGION = "no region"

Found = tuple[PixelMasks, Size]  # the masks of an image or a copy of it, and the image's size
Finder = Callable[[ImageIndex, int], Found]


class UnfitImage(RegiontokError, ValueError):
    """Why an image has no proposals, in the words of the column "reason"."""


def regions_schema() -> Any:
    """The pyarrow schema of a table of regions, one row an image."""
    pa = need("pyarrow", extra="store")
    columns = {
        "index": pa.int32(),
        "height": pa.int32(),
        "width": pa.int32(),
        "boxes": list_of(pa.float32()),
        "scores": list_of(pa.float32()),
        "masks": list_of(pa.binary()),
        "reason": pa.string(),
    }
    return pa.schema(list(columns.items()))


def propose_stage(curation: Curation, plan: ProposePlan, reads: str) -> Stage:
    """The stage, of a plan's settings.

    Args:
        curation: what is curated.
        plan: the plan.
        reads: the hash of the keep-list.

    Raises:
        SpecError: If the segmenter's spec cannot be built.
    """
    settings: dict[str, Any] = plan.model_dump(exclude={"segmenter", "size"})
    if plan.segmenter == STORED:
        settings |= {"segmenter": STORED}
    else:
        segmenter, size = segmenter_of(plan)
        settings |= {
            "segmenter": registry.render(segmenter, full=True),
            "identity": segmenter.identity,
            "size": size,
        }
    return Stage("propose", FORM, settings, reads, regions_schema())


@cache
def segmenter_of(plan: ProposePlan) -> tuple[Segmenter, int]:
    """The segmenter of a plan, built once a process, and the longer edge that it sees; 0: all."""
    segmenter = registry.build("segmenter", plan.segmenter)
    if not segmenter.reads_pixels:
        return segmenter, 0
    size = segmenter.proposal_size if plan.size is None else plan.size
    return (segmenter.at_longest(size) if size else segmenter), size


@dataclass(frozen=True)
class ProposePiece:
    """Writes a piece of the stage; worker processes get it.

    Attributes:
        curation: what is curated.
        plan: where regions come from.
        reads: the hash of the keep-list.
    """

    curation: Curation
    plan: ProposePlan
    reads: str

    def __call__(self, piece: Piece) -> None:
        """Propose regions for every image of a piece that stays.

        Raises:
            ShardError: If its tar is missing or damaged.
            CurationError: If the keep-list is missing, damaged, or another one.
            UnusableModel: If the segmenter's model cannot be loaded.
        """
        start = time.perf_counter()
        row_of = partial(self._row, self._finder())
        rows = rows_of_kept(self.curation, piece, self.reads, row_of, _row)
        stage = propose_stage(self.curation, self.plan, self.reads)
        write_piece(stage, self.curation.out, piece, rows, time.perf_counter() - start)

    def _finder(self) -> Finder:
        if self.plan.segmenter == STORED:
            return _annotated
        segmenter, size = segmenter_of(self.plan)
        return lambda index, number: _segmented(segmenter, size, index, number)

    def _row(self, find: Finder, index: ImageIndex, number: int) -> dict[str, Any]:
        try:
            masks, size = find(index, number)
            return _row(size, proposals_of(masks, size, self.plan))
        except (ShardError, UnusableModel):
            raise
        except UnfitImage as error:
            return _row(reason=str(error))
        except ImageChanged as error:
            return _row(reason=f"changed: {error}")
        except PictureError as error:
            return _row(reason=f"corrupt: {error}")
        except (ValueError, RuntimeError, MemoryError) as error:
            return _row(reason=f"unsegmented: {first_line(error)}")


def _row(
    size: Size = (0, 0), proposals: Proposals | None = None, reason: str = LEFT_OUT
) -> dict[str, Any]:
    """The columns of an image beside its number; without proposals a reason stands there."""
    row: dict[str, Any] = {"height": size[0], "width": size[1]}
    if proposals is None:
        return row | {"boxes": [], "scores": [], "masks": [], "reason": reason}
    return row | {
        "boxes": proposals.boxes.ravel(),
        "scores": proposals.scores,
        "masks": list(proposals.masks),
        "reason": "" if len(proposals) else NO_REGION,
    }


def _segmented(segmenter: Segmenter, size: int, index: ImageIndex, number: int) -> Found:
    """What a segmenter finds in an image, or in a copy of it whose longer edge is `size`."""
    picture = Picture.of(index.read(number), index.key(number))
    (masks,) = masks_from(segmenter, [copy_of(picture, size)])
    return masks, picture.size


def copy_of(picture: Picture, size: int) -> Picture:
    """A copy of a picture whose longer edge has `size` pixels, if that is smaller; 0: as it is.

    Raises:
        UnfitImage: If too few pixels are left along the shorter edge to find regions.
    """
    height, width = picture.size
    share = size / max(height, width)
    if not size or share >= 1:
        return picture
    small = (max(1, round(height * share)), max(1, round(width * share)))
    if min(small) < LEAST_EDGE:
        raise UnfitImage(
            f"too long: {height} x {width} pixels are {small[0]} x {small[1]} for the segmenter"
        )
    pixels = picture.resized(small, (0, 0, height, width), "bilinear")
    return Picture.of(pixels, picture.name)


def _annotated(index: ImageIndex, number: int) -> Found:
    """What SA-1B's JSON beside an image says; the image itself is not decoded."""
    data = index.annotation(number)
    if data is None:
        raise UnfitImage("unannotated: no JSON lies beside it")
    size = image_size(index.read(number))
    annotations = parse_json(data)
    masks = masks_of_json(annotations, size)
    if masks.scores is None and isinstance(annotations, dict):
        scores = scores_of(annotations.get("annotations", []), "stability_score")
        masks = PixelMasks(size, masks.counts, scores)
    return masks, size
