"""The stage that reads the text of an image: every line, with its corners and its score.

After: RICE, section 3.1 (row R2: PaddleOCR's text with a confidence above 0.7).
Differs: all lines are written down; the threshold applies where they are used. An image in a script
that the reader does not know is set aside, see `scripts`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from regiontok.core.picture import Picture, PictureError
from regiontok.curate.kept import LEFT_OUT, rows_of_kept
from regiontok.curate.plan import OcrPlan
from regiontok.curate.scripts import unknown_script
from regiontok.curate.sources import ImageChanged, ImageIndex
from regiontok.curate.stage_files import Stage, write_piece
from regiontok.curate.tars import Curation, Piece
from regiontok.curate.text_readers import ReaderError, TextLines, TextReader, text_reader
from regiontok.system.need import need
from regiontok.system.parquet import list_of

FORM = 1
NO_TEXT = "no text"


def ocr_stage(curation: Curation, plan: OcrPlan, reads: str) -> Stage:
    """The stage, of a plan's settings; a plan whose reader is "none" has no such stage.

    Args:
        curation: what is curated.
        plan: the plan.
        reads: the hash of the keep-list.

    Raises:
        MissingPackage: If the reader's package is not installed.
        WrongPackage: If another package lies under its name.
    """
    pa = need("pyarrow", extra="store")
    columns = {
        "index": pa.int32(),
        "polygons": list_of(pa.float32()),
        "texts": list_of(pa.string()),
        "scores": list_of(pa.float32()),
        "reason": pa.string(),
    }
    settings = {
        "reader": text_reader(plan.reader, plan.small_text).identity,
        "small_text": plan.small_text,
    }
    return Stage("ocr", FORM, settings, reads, pa.schema(list(columns.items())))


@dataclass(frozen=True)
class OcrPiece:
    """Writes a piece of the stage; worker processes get it.

    Attributes:
        curation: what is curated.
        plan: how text is read.
        reads: the hash of the keep-list.
    """

    curation: Curation
    plan: OcrPlan
    reads: str

    def __call__(self, piece: Piece) -> None:
        """Read every image of a piece that stays.

        Raises:
            ShardError: If its tar is missing or damaged.
            CurationError: If the keep-list is missing, damaged, or another one.
            MissingPackage: If the reader's package is not installed.
        """
        start = time.perf_counter()
        stage = ocr_stage(self.curation, self.plan, self.reads)
        reader = text_reader(self.plan.reader, self.plan.small_text)
        rows = rows_of_kept(self.curation, piece, self.reads, partial(_read, reader), _row)
        write_piece(stage, self.curation.out, piece, rows, time.perf_counter() - start)


def _read(reader: TextReader, index: ImageIndex, number: int) -> dict[str, Any]:
    """The row of one image."""
    try:
        lines = reader(Picture.of(index.read(number), index.key(number)))
    except ImageChanged as error:
        return _row(reason=f"changed: {error}")
    except PictureError as error:
        return _row(reason=f"corrupt: {error}")
    except ReaderError as error:
        return _row(reason=f"unread: {error}")
    return _row(lines, unknown_script(lines) if len(lines) else NO_TEXT)


def _row(lines: TextLines | None = None, reason: str = LEFT_OUT) -> dict[str, Any]:
    if lines is None:
        return {"polygons": [], "texts": [], "scores": [], "reason": reason}
    return {
        "polygons": lines.polygons.ravel(),
        "texts": list(lines.texts),
        "scores": lines.scores,
        "reason": reason,
    }
