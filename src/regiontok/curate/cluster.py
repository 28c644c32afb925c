"""k-means over the features of regions: one file of centroids, the second barrier of a curation.

After: RICE, section 3.1 (rows R1, R2: k-means over region features, label = nearest centre by
Euclidean distance, equation 1).
Differs: the paper's k-means is hierarchical; by default this one starts from random distinct rows
and is flat and exact on a sample (`init="tree"` starts from two levels). Features are unit vectors,
whose Euclidean order is that of the cosine with a centre up to the centre's length; centres are
means, and not made unit.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch.distributed as dist

from regiontok.curate.cluster_device import clustering_device
from regiontok.curate.cluster_sample import count_regions, sample_numbers, write_sample
from regiontok.curate.cluster_state import ClusterState
from regiontok.curate.plan import ClusterPlan
from regiontok.curate.sources import CurationError
from regiontok.curate.stage_files import Stage
from regiontok.curate.tars import Curation
from regiontok.curate.threads import one_thread
from regiontok.kmeans.lloyd import Iteration, lloyd
from regiontok.kmeans.rows import UnitRowFile
from regiontok.kmeans.start import TooFewDistinctRows, random_rows
from regiontok.kmeans.tree import tree_rows
from regiontok.kmeans.workers import AllRanks, Processes, ThisProcess, Workers
from regiontok.shards.report import config_hash
from regiontok.system.files import replacing_shared
from regiontok.system.strict_json import parse_json

FORM = 1


@dataclass(frozen=True)
class CentroidReport:
    """The JSON beside the centroids, written last: a file without it does not count.

    Attributes:
        k: number of centroids.
        width: values of each.
        regions: regions of all images.
        sample: how many of them the centroids were found on.
        inertia: mean squared distance of the sample from the centres before each iteration.
        empty: centres without a region in each iteration, which were split off others.
        smallest: regions of the sample that the smallest cluster had in the last iteration.
        largest: those of the largest.
        seconds: time it took, a stopped run's finished iterations included.
        settings: the hash of the settings and of what was read.
        hash: of the file of centroids, which later stages read.
    """

    k: int
    width: int
    regions: int
    sample: int
    inertia: list[float]
    empty: list[int]
    smallest: int
    largest: int
    seconds: float
    settings: str
    hash: str


@dataclass(frozen=True)
class ClusterProgress:
    """How far the clustering is.

    Attributes:
        iteration: the iteration that is under way.
        of: how many there will be.
        done: parts that have been assigned, in all iterations of this run.
        total: how many there will be.
        seconds_left: an estimate; 0 before anything is known.
    """

    iteration: int
    of: int
    done: int
    total: int
    seconds_left: float


Tell = Callable[[ClusterProgress], None]


def centroids_path(out: Path) -> Path:
    """The file of centroids, float32 `[K d]`."""
    return out / "centroids.npy"


def file_hash(path: Path) -> str:
    """The hash of a file's bytes, as the report of the centroids has it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def centroid_settings(curation: Curation, embed: Stage, plan: ClusterPlan) -> str:
    """The hash of what decides the centroids; where they are found does not."""
    settings = plan.model_dump(exclude={"top", "device"}) | curation.left_out_settings
    return config_hash({"stage": "cluster", "form": FORM, **settings, "reads": embed.hash})


def read_centroid_report(out: Path) -> CentroidReport | None:
    """The report of the centroids; None where there are none that are whole."""
    try:
        report = CentroidReport(**parse_json((out / "centroids.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return report if centroids_path(out).is_file() else None


def write_centroids(
    curation: Curation,
    embed: Stage,
    plan: ClusterPlan,
    *,
    workers: int = 0,
    device: str = "cpu",
    tell: Tell = lambda progress: None,
) -> CentroidReport:
    """Find the centroids of all regions; those that are there, of these settings, stay.

    A stopped run goes on at the iteration it was in, and ends at the same bytes as one that was
    not. So do any number of workers, and of ranks: where torchrun has started several processes,
    and they have joined a group, each calls this and assigns its part.

    Args:
        curation: what is curated.
        embed: the stage that has written the features.
        plan: the settings.
        workers: processes, one thread each; 0 does the work in this one.
        device: where this process, or this rank, computes products, see `clustering_device`.
        tell: is called with how far it is.

    Raises:
        CurationError: If features are missing, damaged or not finite, or there are fewer distinct
            ones than centres.
        WorkerDied: If a worker process was killed.
    """
    settings = centroid_settings(curation, embed, plan)
    if (report := read_centroid_report(curation.out)) and report.settings == settings:
        return report
    clustering = _Clustering(curation, embed, plan, settings, tell)
    try:
        with one_thread(), _workers(workers, clustering_device(device)) as who:
            return clustering.run(who)
    except FileNotFoundError:
        # another run has finished the same, and cleared its folder away
        if (report := read_centroid_report(curation.out)) and report.settings == settings:
            return report
        raise


def _workers(count: int, device: str) -> Workers:
    if dist.is_initialized():
        return AllRanks(device)
    # processes would share the GPU
    return Processes(count) if count and device == "cpu" else ThisProcess(device)


@dataclass(frozen=True)
class _Clustering:
    """One clustering, begun or gone on with."""

    curation: Curation
    embed: Stage
    plan: ClusterPlan
    settings: str
    tell: Tell

    def run(self, workers: Workers) -> CentroidReport:
        """From the features to the centroids and their report."""
        begun = time.monotonic()
        folder = self.curation.out / f"cluster.{self.settings[:8]}"
        counts = count_regions(self.curation, self.embed)
        if not sum(counts):
            raise CurationError("no image has a region, and centroids need some: see propose.*")
        rows, state = UnitRowFile(folder / "sample.npy"), ClusterState(folder)
        if _is_first():
            folder.mkdir(exist_ok=True)
            self._begin(rows, state, counts, workers)
        _wait()
        before = state.seconds
        tell = _Estimate(self.tell, self.plan.iterations, state.number, rows.parts)
        for iteration in lloyd(
            rows,
            state.centres(),
            self.plan.iterations,
            workers=workers,
            after=state.number,
            tell=tell,
        ):
            if _is_first():
                state.write(iteration, before + time.monotonic() - begun)
            _wait()
        if _is_first():
            self._write(state, len(rows), sum(counts))
            with suppress(OSError):  # another run may clear it away, too
                shutil.rmtree(folder)
        _wait()
        report = read_centroid_report(self.curation.out)
        if report is None:
            raise CurationError(f"{self.curation.out}: the centroids are gone, start again")
        return report

    def _begin(
        self, rows: UnitRowFile, state: ClusterState, counts: list[int], workers: Workers
    ) -> None:
        """Take the sample and choose the first centres, unless both are there."""
        if not rows.path.is_file():
            numbers = sample_numbers(sum(counts), self.plan.sample * self.plan.k, self.plan.seed)
            write_sample(rows.path, self.curation, self.embed, counts, numbers)
        if state.is_there():
            return
        begun = time.monotonic()
        # the first process alone chooses them: the others wait, and read them
        who = ThisProcess() if dist.is_initialized() else workers
        k, seed = self.plan.k, self.plan.seed
        try:
            tree = self.plan.init == "tree"
            centres = tree_rows(rows, k, seed, who) if tree else random_rows(rows, k, seed)
        except TooFewDistinctRows as error:
            raise CurationError(
                f"{sum(counts)} regions, of which {error.distinct} in the sample are distinct, do "
                f"not make cluster.k = {k} clusters: set cluster.k to {error.distinct} at most, or "
                "curate more images"
            ) from None
        nothing = np.zeros(k, np.int64)
        state.write(Iteration(0, centres, nothing, 0.0, 0), time.monotonic() - begun)

    def _write(self, state: ClusterState, sample: int, regions: int) -> None:
        """Write the centroids, and their report last."""
        out, centres = self.curation.out, state.centres()
        (out / "centroids.json").unlink(missing_ok=True)  # it would speak for other centroids
        with replacing_shared(centroids_path(out)) as temporary, temporary.open("wb") as file:
            np.save(file, centres)
        digest = file_hash(centroids_path(out))
        report = CentroidReport(
            k=len(centres),
            width=centres.shape[1],
            regions=regions,
            sample=sample,
            **state.history(),
            seconds=round(state.seconds, 3),
            settings=self.settings,
            hash=digest,
        )
        with replacing_shared(out / "centroids.json") as temporary:
            temporary.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")


class _Estimate:
    """Counts parts, and says how long the rest takes."""

    def __init__(self, tell: Tell, iterations: int, after: int, parts: int) -> None:
        self.tell, self.iterations, self.after, self.parts = tell, iterations, after, parts
        self.done, self.begun = 0, time.monotonic()

    def __call__(self, parts: int) -> None:
        """Count further parts; of several ranks each counts for all."""
        total = (self.iterations - self.after) * self.parts
        ranks = dist.get_world_size() if dist.is_initialized() else 1
        self.done = min(self.done + parts * ranks, total)
        seconds = time.monotonic() - self.begun
        iteration = self.after + 1 + (self.done - 1) // self.parts
        left = seconds / self.done * (total - self.done)
        self.tell(ClusterProgress(iteration, self.iterations, self.done, total, left))


def _is_first() -> bool:
    return not dist.is_initialized() or dist.get_rank() == 0


def _wait() -> None:
    if dist.is_initialized():
        dist.barrier()
