"""What the stages of a curation would have found in five images: files without the work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from regiontok.curate.assemble import RegionStages
from regiontok.curate.run import run_pieces
from regiontok.curate.stage_files import Stage, write_piece
from regiontok.system.parquet import list_of

SIZE = (48, 64)
COLUMNS = {
    "filter": {"height": pa.int32(), "width": pa.int32()},
    "propose": {
        "boxes": list_of(pa.float32()),
        "scores": list_of(pa.float32()),
        "masks": list_of(pa.binary()),
    },
    "label": {"ids": list_of(pa.int32()), "scores": list_of(pa.float16())},
    "ocr": {
        "polygons": list_of(pa.float32()),
        "texts": list_of(pa.string()),
        "scores": list_of(pa.float32()),
    },
}
NONE = {
    "filter": {"height": 48, "width": 64, "reason": ""},
    "propose": {"boxes": [], "scores": [], "masks": [], "reason": "left out"},
    "label": {"ids": [], "scores": [], "reason": "left out"},
    "ocr": {"polygons": [], "texts": [], "scores": [], "reason": "left out"},
}
TWO_BOXES = {"boxes": [0, 0, 20, 30, 5, 5, 64, 48], "scores": [0.9, 0.5], "masks": [], "reason": ""}
LABELS = {"ids": [3, 1, 2, 0], "scores": [0.9, 0.8, 0.7, 0.6], "reason": ""}  # two a region
LINES = {
    "polygons": [2, 3, 30, 5, 29, 15, 1, 13, 0, 0, 9, 0, 9, 9, 0, 9, 8, 8, 80, 8, 80, 60, 8, 60],
    "texts": ["OPEN", "unsure", "  "],
    "scores": [0.95, 0.7, 0.99],
    "reason": "",
}
# what the stages found in five images: all, nothing, duplicate, damaged, text alone
FOUND = {
    "filter": [NONE["filter"]] * 5,
    "propose": [
        TWO_BOXES,
        NONE["propose"] | {"reason": "no region"},
        NONE["propose"],
        NONE["propose"] | {"reason": "corrupt: cut off"},
        NONE["propose"] | {"reason": "no region"},
    ],
    "label": [LABELS] + [NONE["label"]] * 4,
    "ocr": [
        LINES,
        NONE["ocr"] | {"reason": "no text"},
        NONE["ocr"],
        NONE["ocr"] | {"reason": "corrupt: cut off"},
        LINES,
    ],
}


@dataclass(frozen=True)
class WritesRows:
    """Work that writes rows which a test names."""

    stage: Stage
    out: Path

    def __call__(self, piece):
        rows = [
            {"index": number, **FOUND[self.stage.name][number]}
            for number in range(piece.start, piece.stop)
        ]
        write_piece(self.stage, self.out, piece, rows, 0.0)


def staged(curation, *, score: float = 0.7, text: bool = True) -> RegionStages:
    """The files of all stages, as they would be behind the stages."""
    stages = {}
    for name in ("filter", "propose", "label", "ocr"):
        columns = {"index": pa.int32(), **COLUMNS[name], "reason": pa.string()}
        stages[name] = Stage(name, 1, {"of": name}, "all", pa.schema(list(columns.items())))
        assert not any(
            outcome.error
            for outcome in run_pieces(
                stages[name], curation, WritesRows(stages[name], curation.out)
            )
        )
    if not text:
        stages["ocr"] = None
    return RegionStages(**stages, classes=4, centroids="abc", score=score)
