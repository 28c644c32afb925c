"""Clustering, measured: how fast centres are found and rows assigned, beside faiss and plain torch.

    pip install faiss-cpu
    OPENBLAS_CORETYPE=SkylakeX OMP_NUM_THREADS=1 python bench/kmeans.py assign $REGIONTOK_DATA
    OPENBLAS_CORETYPE=SkylakeX OMP_NUM_THREADS=1 python bench/kmeans.py curve $REGIONTOK_DATA
    OMP_NUM_THREADS=1 python bench/kmeans.py curve planted --k 1000
    OMP_NUM_THREADS=1 python bench/kmeans.py labels planted

Rows are unit vectors: means of 3 x 3 patches of `lite` on the photos of a folder of real data (a
minute of one core; `--vectors FILE.npy` keeps them), or planted clusters of very different sizes.
Times are processor time of one thread. OPENBLAS_CORETYPE says which of its kernels faiss takes: it
does not know every processor; try Haswell, too, and compare with the faster one. Where faiss is not
installed, its lines are missing. It prints tables, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from regiontok.core.picture import Picture
from regiontok.encoders.lite import Lite
from regiontok.kmeans.lloyd import lloyd
from regiontok.kmeans.nearest import NearestCentres
from regiontok.kmeans.products import PRODUCTS, fastest_kind
from regiontok.kmeans.rows import ArrayRows, unit
from regiontok.kmeans.start import random_rows
from regiontok.kmeans.tree import tree_rows

HELD_OUT = 8192
CHUNK = 1024

Row = dict[str, Any]


def photo_vectors(root: Path) -> np.ndarray:
    """`[n d]` unit means of 3 x 3 patches of `lite`, of all photos of BSDS500 and COCO."""
    encoder, tables = Lite(), []
    for path in sorted(
        path for name in ("bsds500", "coco") for path in (root / name).rglob("*.jpg")
    ):
        (grid,) = encoder.encode([Picture.of(path)])
        windows = F.avg_pool2d(grid.pooled.permute(2, 0, 1)[None], 3, 1)[0]
        tables.append(F.normalize(windows.flatten(1).T, dim=1).numpy())
    return np.concatenate(tables)


def planted_vectors(n: int = 60_000, clusters: int = 3000, width: int = 128) -> tuple:
    """`[n d]` unit rows of clusters far apart and of heavy-tailed sizes; their numbers."""
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, clusters + 1)
    labels = rng.choice(clusters, n, p=weights / weights.sum())
    centres = unit(rng.normal(size=(clusters, width)))
    spread = rng.lognormal(-3.3, 0.5, clusters)[labels, None].astype(np.float32)
    noise = rng.normal(size=(n, width)).astype(np.float32)
    return unit(centres[labels] + spread * noise), labels


def seconds(work: Callable[[], Any], rounds: int) -> float:
    """The median processor time of a call, the first one not counted."""
    work()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


def assign(vectors: np.ndarray, ks: list[int], rounds: int) -> Iterator[Row]:
    """Rows a second by kind of product and by faiss, and how many are wrong against float64."""
    held_out = vectors[:HELD_OUT]
    rows, train = torch.from_numpy(held_out), vectors[HELD_OUT:]
    for k in ks:
        centres = random_rows(ArrayRows(train), k, 0)
        for iteration in lloyd(ArrayRows(train[: 8 * k]), centres, 1):
            centres = iteration.centres  # centres are shorter than rows, as they end
        true = nearest_in_float64(held_out, centres)
        calls: dict[str, Callable[[int], np.ndarray]] = {}
        for kind in PRODUCTS:
            if kind != "int8" or torch.cpu._is_vnni_supported():
                nearest = NearestCentres(torch.from_numpy(centres), kind=kind)
                calls[kind] = lambda top, nearest=nearest: nearest(rows, top).ids
        if find_spec("faiss"):
            index = flat_index(centres)
            calls["faiss"] = lambda top, index=index: index.search(held_out, top)[1]
        for name, call in calls.items():
            yield {
                "k": k,
                "by": name,
                "top 1": len(rows) / seconds(lambda call=call: call(1), rounds),
                "top 10": len(rows) / seconds(lambda call=call: call(10), max(1, rounds // 3)),
                "wrong": int((call(1)[:, 0] != true).sum()),
            }


def nearest_in_float64(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The nearest centre of each row, by scores in float64."""
    wide = centres.astype(np.float64)
    halves = (wide**2).sum(1) / 2
    chunks = np.array_split(rows.astype(np.float64), max(1, len(rows) // CHUNK))
    return np.concatenate([(chunk @ wide.T - halves).argmax(1) for chunk in chunks])


def flat_index(centres: np.ndarray) -> Any:
    """faiss's exact search, with one thread."""
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatL2(centres.shape[1])
    index.add(centres)
    return index


def curve(vectors: np.ndarray, k: int, iterations: int) -> Iterator[Row]:
    """Held-out mean squared distance against processor time: ours by start, plain torch, faiss."""
    held_out, rows = torch.from_numpy(vectors[:HELD_OUT]), ArrayRows(vectors[HELD_OUT:])

    def row(by: str, done: int, spent: float, centres: np.ndarray) -> Row:
        squares = NearestCentres(torch.from_numpy(centres))(held_out).squares
        return {"k": k, "by": by, "iterations": done, "s": spent, "squares": float(squares.mean())}

    for name, start in (("random", random_rows), ("tree", tree_rows)):
        begun = time.process_time()
        centres, spent = start(rows, k, 0), 0.0
        steps = lloyd(rows, centres, iterations)
        for done in range(iterations + 1):
            if done:
                begun = time.process_time()
                centres = next(steps).centres
            spent += time.process_time() - begun
            if done or name == "tree":
                yield row(name, done, spent, centres)
    for done, spent, centres in plain(rows.values, random_rows(rows, k, 0), iterations):
        yield row("plain torch", done, spent, centres)
    if find_spec("faiss"):
        import faiss

        faiss.omp_set_num_threads(1)
        for done in sorted({max(1, iterations // 2), iterations}):
            begun = time.process_time()
            kmeans = faiss.Kmeans(
                vectors.shape[1], k, niter=done, seed=1, max_points_per_centroid=10**9
            )
            kmeans.train(rows.values)
            yield row("faiss.Kmeans", done, time.process_time() - begun, kmeans.centroids)


def plain(
    table: np.ndarray, start: np.ndarray, iterations: int
) -> Iterator[tuple[int, float, np.ndarray]]:
    """Lloyd as it is written in torch: products in float32, argmax, index_add."""
    rows, centres, spent = torch.from_numpy(table), torch.from_numpy(start), 0.0
    for done in range(1, iterations + 1):
        begun = time.process_time()
        halves = centres.pow(2).sum(1) / 2
        labels = torch.cat(
            [torch.addmm(-halves, part, centres.T).argmax(1) for part in rows.split(CHUNK)]
        )
        counts = torch.bincount(labels, minlength=len(centres))
        sums = torch.zeros_like(centres).index_add_(0, labels, rows)
        means = sums / counts.clamp(min=1)[:, None]
        centres = torch.where(counts[:, None] > 0, means, centres)
        spent += time.process_time() - begun
        yield done, spent, centres.numpy()


def labels(vectors: np.ndarray, planted: np.ndarray, ks: list[int]) -> Iterator[Row]:
    """Normalised mutual information of planted clusters and nearest centres."""
    from sklearn.metrics import normalized_mutual_info_score

    rows = ArrayRows(vectors)
    for k in ks:
        for name, start in (("random", random_rows), ("tree", tree_rows)):
            *_, last = lloyd(rows, start(rows, k, 0), 6)
            ids = NearestCentres(torch.from_numpy(last.centres))(torch.from_numpy(vectors)).ids
            score = normalized_mutual_info_score(planted, ids[:, 0])
            yield {"k": k, "by": name, "mutual information": float(score)}


def shown(rows: Iterator[Row]) -> list[Row]:
    """Print rows as a table, each as soon as it is there."""
    kept: list[Row] = []
    for row in rows:
        if not kept:
            print("| " + " | ".join(row) + " |\n" + "|" + " --- |" * len(row), flush=True)
        kept.append(row)
        cells = (
            f"{value:,.0f}"
            if isinstance(value, float) and value > 1000
            else f"{value:.5f}"
            if isinstance(value, float) and value < 1
            else f"{value:.1f}"
            if isinstance(value, float)
            else str(value)
            for value in row.values()
        )
        print("| " + " | ".join(cells) + " |", flush=True)
    return kept


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["assign", "curve", "labels"])
    parser.add_argument("data", help="folder of real data, or `planted`")
    parser.add_argument("--k", type=int, nargs="+", default=[2000])
    parser.add_argument("--rows", type=int, default=100_000, help="rows that are clustered")
    parser.add_argument("--iterations", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vectors", type=Path, help="where the photos' vectors are kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    truth = None
    if options.data == "planted":
        vectors, truth = planted_vectors()
    elif options.vectors and options.vectors.is_file():
        vectors = np.load(options.vectors)
    else:
        vectors = photo_vectors(Path(options.data))
        if options.vectors:
            np.save(options.vectors, vectors)
    order = np.random.default_rng(0).permutation(len(vectors))[: options.rows + HELD_OUT]
    vectors = vectors[order]
    print(f"{len(vectors):,} rows of {vectors.shape[1]}, products in {fastest_kind()}\n")
    if options.what == "assign":
        rows = shown(assign(vectors, options.k, options.rounds))
    elif options.what == "labels":
        if truth is None:
            parser.error("labels needs planted clusters: bench/kmeans.py labels planted")
        rows = shown(labels(vectors, truth[order], options.k))
    else:
        rows = shown(row for k in options.k for row in curve(vectors, k, options.iterations))
    print(json.dumps({"what": options.what, "rows": rows, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
