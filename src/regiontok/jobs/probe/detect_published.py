"""The printed rows of a paper about a test set that `probe detect` knows by its file.

After: RICE, Table 3 (row R11).
Differs: nothing known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from regiontok.jobs.report.published import published_rows

TABLE = "rice/3"
# name of the file of annotations -> the figures of boxes and of masks
KNOWN = {
    "instances_val2017.json": ("coco_det", "coco_seg"),
    "lvis_v1_val.json": ("lvis_det", "lvis_seg"),
}


def published_beside(file: Path) -> list[dict[str, Any]]:
    """The printed rows about a test set, AP in percent; none of a set that no row is about.

    Args:
        file: the file of annotations; COCO's and LVIS's have names of their own.

    >>> rows = published_beside(Path("annotations/instances_val2017.json"))
    >>> rows[-1]["row"], rows[-1]["box"], rows[-1]["mask"]
    ('RICE, ViT-B/16, 512', 38.9, 31.5)
    """
    if file.name not in KNOWN:
        return []
    box, mask = KNOWN[file.name]
    return [
        {"row": row.row, "source": row.source, "box": row.figures[box], "mask": row.figures[mask]}
        for row in published_rows(TABLE)
        if box in row.figures
    ]
