"""RICE's ablations in small: Table 5, its loss against a margin softmax, regions against images.

    python bench/rice_ablations.py runs/ablations
    python bench/rice_ablations.py runs/ablations --steps 300 --seeds 0 1 2 --only loss rho
    python bench/rice_ablations.py runs/ablations --table

Table 5's settings are N, K, rho and M; the table `region` varies how regions become rows. The data
are generated scenes, the encoder is small, and each run takes about a minute on one core. Labels
are k-means clusters of `lite`'s region features (the table `labels` compares them with true
attributes). The exported encoder is judged on scenes that were not trained on, by its region rows
and by the means of its patch tokens: region k-NN (k = 10, neighbours in other scenes) over colour,
texture, size and shape of objects, and over the words in the scenes, which are text regions. A run
that is done is not done again; one that was stopped goes on from its last checkpoint. `--table`
prints the tables of the runs that are done.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import statistics
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d

from regiontok.jobs.pretrain import pretrain
from regiontok.measures.knn import LabelledRegions, region_knn
from regiontok.miniworld.scenes import make_scene
from regiontok.pretrain.batches import Batch
from regiontok.pretrain.options import PretrainOptions
from regiontok.pretrain.scenes import ATTRIBUTES, WORDS, Scenes, draw_word
from regiontok.rice import export
from regiontok.rice.region_attention import RegionTransformer
from regiontok.rice.visible import Visible
from regiontok.rice.vit import ViT, ViTConfig
from regiontok.system.files import replacing

SIZE, OBJECTS, BATCH = 96, (4, 10), 32
DATA = (
    f"scenes(2048, size={SIZE}, fewest={OBJECTS[0]}, most={OBJECTS[1]}, words=True, "
    "kmeans={k}{more})"
)
JUDGED, SEED = 400, 1_000_000
# So few clusters that a tenth of them are six negatives: hence rho = 1 where nothing else is said.
K = 64
KINDS = (*ATTRIBUTES, "word")
# What is judged: every kind of word by region rows and by exported patches.
COLUMNS = [(kind, subject) for kind in KINDS for subject in ("rows", "patches")]
# Table -> setting -> (clusters, further options of the scenes, overrides). The first setting of a
# table is the one that the others change.
BASE: tuple[int, str, list[str]] = (K, "", [])


def _region(form: str, layers: int) -> tuple[int, str, list[str]]:
    """A setting with region layers; as of old, without a projection."""
    changed = (f"region='{form}'", f"region_layers={layers}", "projection=0")
    return K, "", [f"pretrain.model.{change}" for change in changed]


TABLES: dict[str, dict[str, tuple[int, str, list[str]]]] = {
    "region": {
        "pool": BASE,
        "pool, not projected": (K, "", ["pretrain.model.projection=0"]),
        "1 block on top": _region("blocks", 1),
        "1 shared block": _region("shared", 1),
        "2 shared blocks": _region("shared", 2),
    },
    "N": {"N = 10": BASE} | {f"N = {n}": (K, "", [f"pretrain.regions={n}"]) for n in (1, 5, 20)},
    "K": {f"K = {K}": BASE} | {f"K = {k}": (k, "", []) for k in (16, 32, 128, 256)},
    "rho": {"rho = 1": BASE}
    | {f"rho = {rho}": (K, "", [f"pretrain.loss.rho={rho}"]) for rho in (0.05, 0.1, 0.2, 0.5)},
    "M": {"M = 10": BASE}
    | {f"M = {m}": (K, "", [f"pretrain.text.positives={m}"]) for m in (1, 3, 5)},
    "loss": {"twosided": BASE, "softmax": (K, "", ["pretrain.loss.kind='softmax'"])},
    "regions": {"regions": BASE, "whole images": (K, ", whole=True", ["pretrain.regions=1"])},
    "labels": {"clusters": BASE, "colour and texture": (0, "", [])},
}


def changes(clusters: int, more: str, overrides: list[str], seed: int, steps: int) -> list[str]:
    """The overrides of the recipe that make a run."""
    stage = f"name='a', size={SIZE}, steps={steps}, batch={BATCH}, warmup=50, learning_rate=3e-3"
    source = DATA.format(k=clusters, more=more)
    return [
        f"pretrain.data=[{{shards='{source}'}}]",
        f"pretrain.object.classes={Scenes.of(source).classes}",
        f"pretrain.stage=[{{{stage}}}]",
        "pretrain.checkpointing=false",
        "pretrain.loss.rho=1.0",
        "pretrain.evaluate.shards=''",
        f"pretrain.seed={seed}",
        *overrides,
    ]


def scores_of(root: Path, words: list[str]) -> dict:
    """The scores of a run, which is started, continued or, if it is done, only read.

    Runs of the same settings are the same run, whichever table they stand in.
    """
    out = run_of(root, words)
    scores_file = out / "judged.json"
    if not scores_file.exists():
        options = PretrainOptions(device="cpu", save_every=100, cache=str(root / "data"))
        result = pretrain(
            "rice/pretrain_b16", out, overrides=words, options=options, resume=out.exists()
        )
        scores = judged(export.load_regions(out / "encoder", dtype=torch.float32))
        with replacing(scores_file) as path:
            path.write_text(json.dumps(scores | {"loss": result["loss"]}))
    return json.loads(scores_file.read_text())


def run_of(root: Path, words: list[str]) -> Path:
    """The folder of a run."""
    return root / f"run-{hashlib.sha256(json.dumps(words).encode()).hexdigest()[:12]}"


@cache
def held_out() -> list[tuple[torch.Tensor, torch.Tensor, list[dict[str, str]]]]:
    """Scenes that nothing was trained on: pixels, shares of patches, and words of each region."""
    scenes, patch = [], ViTConfig.named("mini").patch
    for seed in range(SEED, SEED + JUDGED):
        scene = make_scene(seed, SIZE, OBJECTS)
        rng = np.random.default_rng(seed)
        word = WORDS[int(rng.random() * len(WORDS))]
        pixels, box = draw_word(scene.pixels, word, rng)
        x0, y0, x1, y1 = map(int, box)
        masks = np.concatenate([scene.masks, np.zeros((1, SIZE, SIZE), bool)])
        masks[:, y0:y1, x0:x1] = False
        masks[-1, y0:y1, x0:x1] = True
        words = [{name: getattr(drawn, name) for name in ATTRIBUTES} for drawn in scene.objects]
        words.append({"word": word})
        # the word's plate may hide an object
        visible = [index for index, mask in enumerate(masks) if mask.any()]
        dense = torch.from_numpy(masks[visible]).float()
        shares = adaptive_avg_pool2d(dense[None], SIZE // patch)[0]
        image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
        scenes.append((image, shares, [words[index] for index in visible]))
    return scenes


@torch.no_grad()
def judged(model: RegionTransformer) -> dict[str, float]:
    """Region k-NN of an encoder by kind of word, and what a blind neighbour scores.

    "rows" are the model's region rows, "patches" the mean of a region's patch tokens as the encoder
    exports them.
    """
    model, scenes = model.eval(), held_out()
    rows, means, owners, words_by_region = [], [], [], []
    for start in range(0, len(scenes), 20):
        chunk = scenes[start : start + 20]
        visible = Visible.from_masks([scene[1] for scene in chunk])
        batch = Batch(torch.stack([scene[0] for scene in chunk]), visible, {}, ())
        output = model(batch.normalised(torch.device("cpu")), visible)
        rows.append(output.regions)
        weights = visible.mask.float()
        pooled = weights @ output.tokens[:, 1:] / weights.sum(-1, keepdim=True)
        means.append(visible.flat(pooled))
        for number, (_, _, regions) in enumerate(chunk, start):
            owners += [number] * len(regions)
            words_by_region += regions
    scores = {}
    for kind in KINDS:
        words = WORDS if kind == "word" else ATTRIBUTES[kind]
        labels = torch.tensor(
            [words.index(region[kind]) if kind in region else -1 for region in words_by_region]
        )
        for subject, features in (("rows", rows), ("patches", means)):
            score = region_knn(LabelledRegions(torch.cat(features), labels, torch.tensor(owners)))
            scores |= {f"{kind}_{subject}": score.accuracy, f"{kind}_chance": score.chance}
    return scores


def lines(root: Path, steps: int, seeds: Sequence[int], only: Sequence[str]) -> list[str]:
    """The tables in Markdown of the runs that are done; each number with its spread over seeds."""
    untrained = [
        judged(RegionTransformer(ViT(ViTConfig.named("mini"), seed=seed))) for seed in seeds
    ]
    blind = {f"{kind}_{subject}": untrained[0][f"{kind}_chance"] for kind, subject in COLUMNS}
    heads = ("setting", *(f"{kind}, {subject}" for kind, subject in COLUMNS), "loss", "seeds")
    opening = ["", _row(heads), _row(["---"] * len(heads))]
    rows = []
    for table in only:
        rows += opening
        for name, setting in TABLES[table].items():
            folders = [
                run_of(root, changes(*setting, seed, steps)) / "judged.json" for seed in seeds
            ]
            scores = [json.loads(path.read_text()) for path in folders if path.exists()]
            rows += [_row([name, *_spread(scores), str(len(scores))])] if scores else []
    rows += [
        *opening,
        _row(["untrained", *_spread(untrained), str(len(seeds))]),
        _row(["blind neighbour", *_spread([blind]), ""]),
    ]
    return [*rows, "", f"{steps} steps of {BATCH} scenes, mean ± deviation of seeds."]


def _spread(runs: Sequence[dict[str, float]]) -> list[str]:
    cells = []
    for name in (*map("_".join, COLUMNS), "loss"):
        values = [run.get(name, math.nan) * (1 if name == "loss" else 100) for run in runs]
        if any(map(math.isnan, values)):
            cells.append("")
            continue
        deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        cells.append(f"{statistics.mean(values):.1f}{deviation}")
    return cells


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run the settings, then print their tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in [] if options.table else options.seeds:
        for table in options.only:
            for name, setting in TABLES[table].items():
                scores = scores_of(options.root, changes(*setting, seed, options.steps))
                names = map("_".join, COLUMNS)
                text = ", ".join(f"{name} {scores[name]:.3f}" for name in names)
                text += f", loss {scores['loss']:.2f}"
                print(f"{table}: {name}, seed {seed}: {text}", file=sys.stderr)
    print("\n".join(lines(options.root, options.steps, options.seeds, options.only)))


if __name__ == "__main__":
    main()
