"""RICE's ablations in small (Table 5: N, K, rho, M), its loss against a margin softmax, and regions against whole images.

    python bench/rice_ablations.py runs/ablations [--steps 400] [--seeds 3] [--only loss,rho] [--table]

Generated scenes, a small encoder; each run takes about two minutes on one core. Labels are k-means clusters of `lite`'s region features
(the table `labels` compares them with true attributes). Measured is region k-NN over shape and colour on scenes that were not trained
on. A run that is done is not done again; one that was stopped goes on from its last checkpoint. `--table` prints what is there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

import torch

from regiontok.commands.pretrain import PretrainOptions, pretrain
from regiontok.core.files import replacing

DATA = "scenes(1024, size=96, fewest=4, most=10, words=True, kmeans={k}{more})"
HELD_OUT = "scenes(256, start=1_000_000, size=96, fewest=4, most=10)"
K = 64
# table -> setting -> (clusters, more of the scenes, overrides); the first setting of each is the one the others change
TABLES: dict[str, dict[str, tuple[int, str, list[str]]]] = {
    "N": {f"N = {n}": (K, "", [f"pretrain.regions={n}"]) for n in (10, 1, 5, 20)},
    "K": {f"K = {k}": (k, "", []) for k in (K, 16, 32, 128, 256)},
    "rho": {f"rho = {rho}": (K, "", [f"pretrain.loss.rho={rho}"]) for rho in (0.1, 0.05, 0.2, 0.5, 1.0)},
    "M": {f"M = {m}": (K, "", [f"pretrain.text.positives={m}"]) for m in (10, 3, 5, 20)},
    "loss": {kind: (K, "", [f"pretrain.loss.kind='{kind}'"]) for kind in ("twosided", "softmax")},
    "regions": {"regions": (K, "", []), "whole images": (K, ", whole=True", ["pretrain.regions=1"])},
    "labels": {"clusters": (K, "", []), "shape and colour": (0, "", [])},
}


def changes(clusters: int, more: str, overrides: list[str], seed: int, steps: int) -> list[str]:
    """The overrides of one run."""
    stage = f"name='a', size=96, steps={steps}, batch=16, warmup=20, learning_rate=1e-3"
    return [
        f"pretrain.data=[{{shards='{DATA.format(k=clusters, more=more)}'}}]",
        f"pretrain.object.classes={clusters or 64}",
        f"pretrain.stage=[{{{stage}}}]",
        f"pretrain.evaluate.shards='{HELD_OUT}'",
        "pretrain.evaluate.every=0",
        "pretrain.evaluate.images=256",
        f"pretrain.seed={seed}",
        *overrides,
    ]


def one(root: Path, words: list[str]) -> dict:
    """Run, or go on, or read what is done; runs of the same settings are one run, whichever table asks."""
    kept = root / "done.json"
    done = json.loads(kept.read_text()) if kept.exists() else {}
    key = json.dumps(words)
    if key not in done:
        out = root / f"run-{len(done):04}"
        options = PretrainOptions(device="cpu", save_every=100, cache=str(root / "data"))
        found = pretrain("rice/pretrain_b16", out, overrides=words, options=options, resume=out.exists())
        done[key] = {name: found[name] for name in ("loss", "knn", "knn_chance", "far_cosine", "neighbour_gain")}
        with replacing(kept) as part:
            part.write_text(json.dumps(done, indent=1))
    return done[key]


def lines(root: Path, steps: int, seeds: int, only: list[str]) -> list[str]:
    """The tables in Markdown, of what is done."""
    kept = root / "done.json"
    done = json.loads(kept.read_text()) if kept.exists() else {}
    found = []
    for table in only:
        found += ["", "| setting | region k-NN | far cosine | loss | seeds |", "| --- | --- | --- | --- | --- |"]
        for name, setting in TABLES[table].items():
            own = [done[key] for seed in range(seeds) if (key := json.dumps(changes(*setting, seed, steps))) in done]
            if own:
                mean = {key: statistics.mean(run[key] for run in own) for key in own[0]}
                spread = f" ± {statistics.stdev(run['knn'] for run in own):.3f}" if len(own) > 1 else ""
                row = [name, f"{mean['knn']:.3f}{spread}", f"{mean['far_cosine']:.3f}", f"{mean['loss']:.2f}", str(len(own))]
                found.append(f"| {' | '.join(row)} |")
    chance = next(iter(done.values()))["knn_chance"] if done else float("nan")
    return [*found, "", f"{steps} steps of 16 scenes; a blind neighbour scores {chance:.3f}."]


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default=",".join(TABLES))
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    only = given.only.split(",")
    torch.set_num_threads(1)
    for seed in range(0 if given.table else given.seeds):
        for table in only:
            for name, setting in TABLES[table].items():
                found = one(given.root, changes(*setting, seed, given.steps))
                sys.stderr.write(f"{table}: {name}, seed {seed}: k-NN {found['knn']:.3f}, loss {found['loss']:.2f}\n")
    sys.stdout.write("\n".join(lines(given.root, given.steps, given.seeds, only)) + "\n")


if __name__ == "__main__":
    main()
