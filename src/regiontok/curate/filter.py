"""The stage that reads every image once: what is small or corrupt, and the hashes of the rest.

After: RICE, section 3.1 (row R1: images with a shorter edge of at least 336 pixels).
Differs: nothing known; what counts as corrupt is not said there.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import Any

from regiontok.core.picture import PictureError
from regiontok.curate.phash import image_size, look_at
from regiontok.curate.plan import FilterPlan
from regiontok.curate.sources import ImageChanged, ImageIndex
from regiontok.curate.stage_files import Stage, write_piece
from regiontok.curate.tars import Curation, Piece
from regiontok.system.need import need

FORM = 1


def filter_stage(curation: Curation, plan: FilterPlan) -> Stage:
    """The stage, of a plan's settings; duplicates are another stage's matter."""
    pa = need("pyarrow", extra="store")
    columns = {
        "index": pa.int32(),
        "key": pa.string(),
        "height": pa.int32(),
        "width": pa.int32(),
        "sha256": pa.string(),
        "phash": pa.uint64(),
        "reason": pa.string(),
    }
    settings = {"shorter_edge": plan.shorter_edge}
    return Stage("filter", FORM, settings, curation.hash, pa.schema(list(columns.items())))


@dataclass(frozen=True)
class FilterPiece:
    """Writes a piece of the stage; worker processes get it.

    Attributes:
        curation: the tars.
        plan: which images are left out.
    """

    curation: Curation
    plan: FilterPlan

    def __call__(self, piece: Piece) -> None:
        """Look at every image of a piece.

        Raises:
            ShardError: If its tar is missing or damaged.
        """
        start = time.perf_counter()
        index = self.curation.index(piece.tar)
        rows = [
            {"index": number, "key": index.key(number), **self._row(index, number)}
            for number in range(piece.start, piece.stop)
        ]
        stage = filter_stage(self.curation, self.plan)
        write_piece(stage, self.curation.out, piece, rows, time.perf_counter() - start)

    def _row(self, index: ImageIndex, number: int) -> dict[str, Any]:
        row: dict[str, Any] = {"height": 0, "width": 0, "sha256": "", "phash": 0, "reason": ""}
        try:
            data = index.read(number)
            row |= {"sha256": hashlib.sha256(data).hexdigest()}
            height, width = image_size(data)
            row |= {"height": height, "width": width}
            if min(height, width) < self.plan.shorter_edge:
                return row | {"reason": f"small: {height} x {width} pixels"}
            return row | {"phash": look_at(data).phash}
        except ImageChanged as error:
            return row | {"reason": f"changed: {error}"}
        except PictureError as error:
            return row | {"reason": f"corrupt: {error}"}
