r"""From a folder of photos to a trained encoder: curate, cluster, read text, pretrain, evaluate.

    python examples/curate_and_pretrain.py --images photos --out work
    python examples/curate_and_pretrain.py --images photos scans --out work --workers 2 --steps 400

Photos below a shorter edge of 200 pixels and near-duplicates are left out. Regions are proposed and
described without any weights, clustered, and labelled by their cluster; text is read. Of the photos
that stay every eighth is held out. On the others a small region transformer learns to tell the
clusters apart (RICE), and region k-NN over the photos that are held out says before and after what
its features are worth: a few hundred photos teach hardly anything. Where a photo has its known text
beside it (NAME.txt beside NAME.png), what was read is held against it.

The same command goes on where an earlier one stopped. Needs the extra `curate`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regiontok.cli.progress import follow, progress, tally
from regiontok.cli.run_tables import pretraining_line
from regiontok.cli.terminal import note, say, stderr
from regiontok.curate.stage_files import read_rows
from regiontok.curate.steps import BarrierStep, PieceStep
from regiontok.jobs.curate import CurationJob, begin
from regiontok.jobs.curation_report.write import write_report
from regiontok.jobs.pretrain import pretrain
from regiontok.pretrain.options import PretrainOptions
from regiontok.shards.image_regions import ImageRegions
from regiontok.shards.report import read_report, report_path
from regiontok.shards.sidecar import GROUP, SUFFIX, read_row_group, write_sidecar
from regiontok.system.errors import RegiontokError

HELD_OUT = 8  # every so many-th photo
FEWEST = 30  # photos that stay, below which there is nothing to learn from


@dataclass(frozen=True)
class KnownText:
    """What was read, held against what is known to stand there.

    Attributes:
        photo: the photo's name.
        known: number of characters that are known, without blanks.
        read: how many of them were read, in whatever order.
    """

    photo: str
    known: int
    read: int


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", nargs="+", type=Path, required=True, help="folders of photos")
    parser.add_argument("--out", type=Path, default=Path("curated"), help="where all of it goes")
    parser.add_argument("--k", type=int, default=100, help="clusters")
    parser.add_argument("--shorter-edge", type=int, default=200, help="least pixels of a photo")
    parser.add_argument("--region-edge", type=int, default=80, help="least pixels of a region")
    parser.add_argument("--steps", type=int, default=240, help="steps of training")
    parser.add_argument("--size", type=int, default=96, help="side of a training picture")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: this one")
    return parser.parse_args(words)


def write_plan(given: argparse.Namespace) -> Path:
    """The plan of a small curation, as a file."""
    images = json.dumps([str(folder.resolve()) for folder in given.images])
    path: Path = given.out / "plan.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"images = {images}\npiece = 64\n"
        f"[filter]\nshorter_edge = {given.shorter_edge}\n"
        f"[propose]\nshorter_edge = {given.region_edge}\n"
        "[embed]\nby = 'dense'\nsize = 320\n"
        f"[cluster]\nk = {given.k}\n"
        "[ocr]\nsmall_text = false\n",
        encoding="utf-8",
    )
    return path


def curate(given: argparse.Namespace) -> CurationJob:
    """All stages of the curation, and its page."""
    job = begin(write_plan(given), given.out / "curated")
    for step in job.steps():
        if isinstance(step, BarrierStep):
            step.run(given.workers)
            continue
        count = tally(
            job.run(step, workers=given.workers),
            total=len(step.missing),
            name=lambda piece: piece.name,
            go_on="the same command goes on",
            unit=f"pieces of {step.name}",
        )
        for failure in count.failed:
            raise RegiontokError(f"{failure['image']}: {failure['error']}")
        for stage in step.steps:
            say(f"{stage.name}: {stage.progress.images} images, {stage.progress.seconds:.0f} s")
    page = given.out / "curated.html"
    write_report(job, page)
    say(f"the page of the curation: {page}")
    return job


def known_texts(job: CurationJob) -> Iterator[KnownText]:
    """The photos with a known text beside them, and how much of it was read."""
    step = job.pipeline.step("ocr")
    assert isinstance(step, PieceStep)
    folders = {Path(folder).name: Path(folder) for folder in job.plan.images}
    for source in job.curation.tars:
        index = job.curation.index(source)
        folder = folders.get(source.name.rsplit("-", 1)[0])
        rows = read_rows(step.stage, job.curation.out, source).to_pylist()
        for row in rows:
            path = folder / index.name(row["index"]) if folder else None
            if path is None or not row["texts"] or not path.with_suffix(".txt").is_file():
                continue
            known = Counter("".join(path.with_suffix(".txt").read_text("utf-8").split()))
            read = Counter("".join("".join(row["texts"]).split()))
            yield KnownText(path.name, known.total(), (known & read).total())


def divided(job: CurationJob, out: Path) -> dict[str, Path]:
    """Side-cars of the photos to learn from and of those that are held out, in two folders.

    Returns:
        The folder of the tars, and those of the side-cars: "shards", "train" and "held-out".

    Raises:
        RegiontokError: If hardly a photo is left.
    """
    shards = job.curation.out / "shards"
    photos = 0
    for source in job.curation.tars:
        rows = list(_rows(shards, source.name))
        report = read_report(report_path(shards, source.name))
        parts = {
            "held-out": rows[::HELD_OUT],
            "train": [row for number, row in enumerate(rows) if number % HELD_OUT],
        }
        for name, part in parts.items():
            write_sidecar(
                shards / f"{source.name}.tar",
                part,
                out / name,
                config=report.config,
                classes=report.classes,
                centroids=report.centroids,
            )
        photos += len(rows)
    if photos < FEWEST:
        raise RegiontokError(f"{photos} photos have regions, and {FEWEST} are the least")
    return {"shards": shards, "train": out / "train", "held-out": out / "held-out"}


def _rows(folder: Path, name: str) -> Iterator[ImageRegions]:
    """The rows of a side-car."""
    images = read_report(report_path(folder, name)).images
    for start in range(0, images, GROUP):
        group = read_row_group(folder / f"{name}{SUFFIX}", start // GROUP)
        yield from (group[row] for row in range(min(GROUP, images - start)))


def train(given: argparse.Namespace, folders: dict[str, Path]) -> dict[str, Any]:
    """Pretrain a small region transformer on what was curated."""
    shards, learnt, held_out = (
        json.dumps(str(folders[name].resolve())) for name in ("shards", "train", "held-out")
    )
    steps = f"steps={given.steps}, batch=32, learning_rate=3e-3, warmup=0.1"
    overrides = [
        f"pretrain.data=[{{shards={shards}, sidecars={learnt}}}]",
        f"pretrain.object.classes={given.k}",
        f"pretrain.stage=[{{name='px{given.size}', size={given.size}, {steps}}}]",
        f"pretrain.evaluate={{shards={shards}, sidecars={held_out}, images=500}}",
    ]
    run = given.out / "run"
    with progress(stderr()) as bar:
        return pretrain(
            "rice/pretrain_b16",
            run,
            overrides=overrides,
            options=PretrainOptions(device="cpu", workers=given.workers),
            resume=run.exists(),
            tell=follow(bar, pretraining_line),
        )


def say_result(given: argparse.Namespace) -> None:
    """Loss and region k-NN before and after training."""
    log = (given.out / "run" / "log.jsonl").read_text(encoding="utf-8")
    entries = [json.loads(line) for line in log.splitlines()]
    first, *_, last = [entry for entry in entries if entry["kind"] == "eval"]
    losses = [entry["loss"] for entry in entries if entry["kind"] == "step"]
    say(f"loss: {losses[0]:.3f} at the first step, {losses[-1]:.3f} at the last")
    say(
        f"region k-NN on photos that are held out: {first['knn']:.3f} before training, "
        f"{last['knn']:.3f} after; a blind neighbour {last['knn_chance']:.3f}, at best "
        f"{last['knn_best']:.3f}"
    )


def main(words: Sequence[str] | None = None) -> int:
    """Curate, check, train, evaluate."""
    given = parsed(words)
    try:
        job = curate(given)
        for text in known_texts(job):
            say(f"{text.photo}: {text.read} of {text.known} known characters were read")
        train(given, divided(job, given.out))
        say_result(given)
    except (RegiontokError, ImportError, OSError) as error:
        print(f"curate_and_pretrain: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        note("stopped: the same command goes on")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
