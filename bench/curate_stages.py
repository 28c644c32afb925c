"""What the stages of `regiontok curate` cost an image, and a curation of 400M images from that.

    python bench/curate_stages.py PHOTOS
    python bench/curate_stages.py PHOTOS --count 16 --skip ocr

Photos of the folder PHOTOS are put in a tar, and each stage does them as it does any piece: it
reads, decodes, works, and writes its rows. Seconds are processor time of one thread. Models are
loaded, and what is compiled is compiled, on one photo before. `decode` is `Picture.of` alone, which
is part of every stage but `filter`, where a JPEG is decoded at a fraction.

The first table is measured. The second one multiplies by 400M images; what no line of the first one
says is marked as an estimate. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regiontok.core.picture import SUFFIXES, Picture
from regiontok.curate.duplicates import write_keep_list
from regiontok.curate.embed import EmbedPiece, embed_stage
from regiontok.curate.engines.engine import Work
from regiontok.curate.filter import FilterPiece, filter_stage
from regiontok.curate.ocr import OcrPiece, ocr_stage
from regiontok.curate.plan import EmbedPlan, FilterPlan, OcrPlan, ProposePlan
from regiontok.curate.propose import ProposePiece, propose_stage
from regiontok.curate.run import run_pieces
from regiontok.curate.stage_files import Stage, read_rows
from regiontok.curate.tars import Curation, open_curation
from regiontok.shards.tar import write_tar

IMAGES = 400e6  # RICE's
SIZES = (256, 320, 640)
Row = dict[str, Any]


@dataclass(frozen=True)
class Rates:
    """Runs stages over the photos of a tar.

    Attributes:
        curation: the tar, as one piece.
        warm: a tar of one photo, on which models are loaded.
        keep: the hash of each one's keep-list.
    """

    curation: Curation
    warm: Curation
    keep: dict[Path, str]

    def of(self, name: str, made: Callable[[Curation, str], tuple[Stage, Work]]) -> Row:
        """Processor seconds an image of a stage, and the bytes that it writes."""
        seconds = 0.0
        for curation in (self.warm, self.curation):
            stage, work = made(curation, self.keep[curation.out])
            start = time.process_time()
            for outcome in run_pieces(stage, curation, work):
                if outcome.error:
                    raise SystemExit(f"{name}: {outcome.error}")
            seconds = time.process_time() - start
        (tar,) = self.curation.tars
        size = stage.path(self.curation.out, tar).stat().st_size
        return {"stage": name, "ms": 1000 * seconds / tar.images, "bytes": size / tar.images}

    def rows(self, stage: Stage, column: str) -> list[Any]:
        """A column of what a stage has written."""
        table = read_rows(stage, self.curation.out, self.curation.tars[0])
        return list(table[column].to_pylist())


def main() -> None:
    """Measure, print both tables and one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--skip", nargs="*", default=[], help="first words of stages")
    args = parser.parse_args()
    paths = [path for path in sorted(args.photos.iterdir()) if path.suffix.lower() in SUFFIXES]
    paths = paths[:: max(1, len(paths) // args.count)][: args.count]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        rates = begun(Path(folder), paths)
        print(f"{'stage':24s}{'ms/image':>10s}{'bytes/image':>12s}")
        for row in measured(rates, paths, set(args.skip)):
            rows.append(row)
            extra = "".join(
                f"  {key} {value:.1f}" for key, value in row.items() if key in ("regions", "lines")
            )
            print(f"{row['stage']:24s}{row['ms']:10.1f}{row['bytes']:12.0f}{extra}", flush=True)
    print(f"\n{'400M images':24s}{'core-hours':>10s}{'gigabytes':>12s}")
    for row in rows:
        hours, size = row["ms"] / 3.6e6 * IMAGES, row["bytes"] * IMAGES / 1e9
        print(f"{row['stage']:24s}{hours:10,.0f}{size:12,.0f}")
    print(json.dumps({"bench": "curate_stages", "photos": len(paths), "rows": rows}))


def begun(folder: Path, paths: list[Path]) -> Rates:
    """Two curations, one of a single photo, with their keep-lists."""
    keep, curations = {}, []
    plan = FilterPlan(shorter_edge=1, duplicates=-1)
    for name, some in (("warm", paths[:1]), ("all", paths)):
        (folder / name).mkdir()
        files = [
            (f"{number:05}{path.suffix}", path.read_bytes()) for number, path in enumerate(some)
        ]
        write_tar(folder / name / "photos.tar", files)
        curation = open_curation(folder / f"{name}_out", [str(folder / name)], piece=len(files))
        stage = filter_stage(curation, plan)
        list(run_pieces(stage, curation, FilterPiece(curation, plan)))
        keep[curation.out] = write_keep_list(curation, stage, plan).hash
        curations.append(curation)
    return Rates(curations[1], curations[0], keep)


def measured(rates: Rates, paths: list[Path], skip: set[str]) -> Iterator[Row]:
    """A row a stage and setting, in the order of the stages."""
    start = time.process_time()
    size = sum(Picture.of(path.read_bytes()).pixels.size for path in paths) / len(paths)
    yield {
        "stage": "decode",
        "ms": 1000 * (time.process_time() - start) / len(paths),
        "bytes": size,
    }
    plan = FilterPlan(shorter_edge=2, duplicates=-1)
    yield rates.of("filter", lambda each, _: (filter_stage(each, plan), FilterPiece(each, plan)))
    if "propose" not in skip:
        for size_seen in SIZES:
            yield proposing(rates, ProposePlan(size=size_seen))
    if "embed" not in skip:
        proposing(rates, ProposePlan())
        yield embedding(rates, "embed crops 224", EmbedPlan())
        yield embedding(rates, "embed dense 384", EmbedPlan(by="dense", size=384))
    if "ocr" not in skip:
        yield reading(rates, OcrPlan())
        yield reading(rates, OcrPlan(small_text=False))


def proposing(rates: Rates, plan: ProposePlan) -> Row:
    """The rate of the stage that proposes regions."""
    row = rates.of(
        f"propose {plan.size}",
        lambda each, keep: (propose_stage(each, plan, keep), ProposePiece(each, plan, keep)),
    )
    stage = propose_stage(rates.curation, plan, rates.keep[rates.curation.out])
    counts = [len(scores) for scores in rates.rows(stage, "scores")]
    return row | {"regions": sum(counts) / len(counts)}


def embedding(rates: Rates, name: str, plan: EmbedPlan) -> Row:
    """The rate of the stage that describes regions."""

    def made(curation: Curation, keep: str) -> tuple[Stage, Work]:
        propose = propose_stage(curation, ProposePlan(), keep)
        return embed_stage(curation, plan, propose.hash), EmbedPiece(curation, plan, propose)

    return rates.of(name, made)


def reading(rates: Rates, plan: OcrPlan) -> Row:
    """The rate of the stage that reads text."""
    row = rates.of(
        f"ocr {'small text' if plan.small_text else 'fast'}",
        lambda each, keep: (ocr_stage(each, plan, keep), OcrPiece(each, plan, keep)),
    )
    stage = ocr_stage(rates.curation, plan, rates.keep[rates.curation.out])
    lines = [score for scores in rates.rows(stage, "scores") for score in scores]
    used = sum(score > plan.score for score in lines)
    return row | {"lines": len(lines) / rates.curation.tars[0].images, "used": used}


if __name__ == "__main__":
    main()
