"""What an engine costs beside the work: images a second of the filter, by the processor's time.

    python bench/curate_engines.py ../shared/data/coco/images --images 512 --piece 64

The photos of a folder are curated as far as the filter, each way from nothing, in turn and several
times: in this process, in one and two other processes, and with --ray by Ray tasks on two cores
(whose processes are not counted, for they go on: its wall time counts). A rate is images over the
seconds of processor time of this process and its children, starting them and merging pieces
included, so that a busy machine does not show; "wall" is what the clock says.
The bytes of all ways must be equal. The last line is JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import cycle, islice
from pathlib import Path

from regiontok.curate.engines.engine import Engine
from regiontok.curate.engines.local import LocalProcesses, ThisProcess
from regiontok.curate.engines.ray import ray_cluster
from regiontok.curate.filter import FilterPiece, filter_stage
from regiontok.curate.plan import FilterPlan
from regiontok.curate.run import run_pieces
from regiontok.curate.tars import open_curation
from regiontok.shards.tar import write_tar


def processor_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(times.ru_utime + times.ru_stime for times in usage)


def filtered(tars: Path, out: Path, piece: int, engine: Engine) -> tuple[float, float, str]:
    """Filter all tars; processor seconds, wall seconds, and the hash of the files."""
    begun, wall = processor_seconds(), time.perf_counter()
    curation, plan = open_curation(out, [str(tars)], piece), FilterPlan()
    stage = filter_stage(curation, plan)
    for outcome in run_pieces(stage, curation, FilterPiece(curation, plan), engine=engine):
        assert outcome.error is None, outcome
    seconds = processor_seconds() - begun, time.perf_counter() - wall
    digest = hashlib.sha256()
    for path in sorted(out.glob("*.parquet")):
        digest.update(path.read_bytes())
    shutil.rmtree(out)
    return *seconds, digest.hexdigest()


def packed(photos: Path, images: int, folder: Path) -> Path:
    """Photos, again and again if they are too few, in four tars."""
    paths = sorted(photos.rglob("*.jpg"))
    chosen = enumerate(islice(cycle(paths), images))
    files = [(f"{number:06}.jpg", path.read_bytes()) for number, path in chosen]
    folder.mkdir()
    for number in range(4):
        write_tar(folder / f"{number}.tar", files[number::4])
    return folder


@contextmanager
def engines(with_ray: bool) -> Iterator[dict[str, Engine]]:
    """The engines by name."""
    local: dict[str, Engine] = {"this process": ThisProcess()}
    local |= {"1 worker": LocalProcesses(1), "2 workers": LocalProcesses(2)}
    with ray_cluster(workers=2) if with_ray else nullcontext() as tasks:
        yield local | ({"ray, 2 cores": tasks} if tasks else {})


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--piece", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ray", action="store_true")
    args = parser.parse_args()
    runs: dict[str, list[tuple[float, float, str]]] = {}
    with tempfile.TemporaryDirectory() as folder, engines(args.ray) as by_name:
        tars = packed(args.photos, args.images, Path(folder) / "tars")
        for _ in range(args.rounds):
            for name, engine in by_name.items():
                run = filtered(tars, Path(folder) / "out", args.piece, engine)
                runs.setdefault(name, []).append(run)
    assert len({digest for of_name in runs.values() for _, _, digest in of_name}) == 1
    rates = {}
    for name, of_name in runs.items():
        processor = statistics.median(run[0] for run in of_name)
        wall = statistics.median(run[1] for run in of_name)
        rates[name] = {"images_a_second": args.images / processor, "wall": args.images / wall}
        print(f"{name:14} {args.images / processor:8.1f} {args.images / wall:8.1f} wall")
    print(json.dumps({"images": args.images, "piece": args.piece, "engines": rates}))


if __name__ == "__main__":
    main()
