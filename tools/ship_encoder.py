"""Turn a finished pretraining run into an encoder that comes with the package.

    python tools/ship_encoder.py runs/rice mini-rice

Weights are rounded to bfloat16, and the largest difference that this makes to features is printed.
Then the encoder's regions are named by their neighbours, and `shipped.json` says how it came about
and how many names were right. The folder appears when all of it is there.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from regiontok.core.picture import Picture
from regiontok.jobs.probe.regions import RegionProbeOptions, judged_subjects, probe_regions
from regiontok.miniworld.world import World
from regiontok.probe.regions.scenes import ATTRIBUTES
from regiontok.probe.regions.sources import labelled_set
from regiontok.settings.recipes import name_of_recipe
from regiontok.settings.registry import build
from regiontok.system.files import replacing
from regiontok.system.shipped_encoders import FOLDER
from regiontok.system.shipped_models import FACTS
from regiontok.system.strict_json import json_bytes, parse_json
from regiontok.system.weights import WEIGHTS

COMPARED = 32  # pictures of the validation split, before and after rounding
JUDGED = 200  # pictures of the test split
SPLITS = 3


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and write the encoder's folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of `regiontok pretrain`")
    parser.add_argument("name", help="name of the encoder, such as mini-rice")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of shipped encoders")
    words = parser.parse_args(arguments)
    try:
        facts = ship(words.run, words.name, out=words.out)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    for name, value in facts["rounding"].items():
        print(f"{name}: {value}")
    for name, row in facts["regions"]["right"].items():
        print(f"{name}: {100 * row['accuracy']:.1f} ± {100 * row['spread']:.1f}")


def ship(run: Path, name: str, *, out: Path) -> dict[str, Any]:
    """Write the folder of a shipped encoder.

    Args:
        run: the folder of a finished pretraining run.
        name: name of the encoder.
        out: the folder of shipped encoders.

    Returns:
        What `shipped.json` holds.

    Raises:
        ValueError: If the run is not finished.
    """
    trained = run / "encoder"
    if not (trained / WEIGHTS).is_file():
        raise ValueError(f"{run} is not finished: there is no encoder")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        rounded = Path(work) / name
        write_rounded(trained, rounded)
        facts = {
            **facts_of_run(run),
            "rounding": difference(trained, rounded),
            "regions": regions(name, rounded),
        }
        (rounded / FACTS).write_bytes(json_bytes(facts, indent=1))
        with replacing(out / name) as folder:
            shutil.copytree(rounded, folder)
    return facts


def write_rounded(trained: Path, folder: Path) -> None:
    """Copy an exported encoder with its weights rounded to bfloat16.

    Its config says float32, in which it computes: features must not hang on whether a machine has
    bfloat16.
    """
    shutil.copytree(trained, folder)
    tensors = {key: value.bfloat16() for key, value in load_file(trained / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # it is written for its owner alone


def features(folder: Path, count: int = COMPARED) -> torch.Tensor:
    """Features `[n h w d]` of the first pictures of the validation split."""
    encoder = build("encoder", f"transformers({str(folder)!r})")
    world = World("val", size=192)
    grids = encoder.encode([Picture.of(world[number].pixels) for number in range(count)])
    return torch.stack([grid.features for grid in grids])


def difference(trained: Path, rounded: Path) -> dict[str, Any]:
    """What rounding changed.

    A single patch may change altogether, so the share of those that do stands beside the largest
    difference.
    """
    before, after = features(trained), features(rounded)
    cosine = torch.nn.functional.cosine_similarity(before, after, dim=-1)
    return {
        "weights": "bfloat16, computed in float32",
        "pictures": COMPARED,
        "largest_difference_of_features": round(float((before - after).abs().max()), 4),
        "largest_feature": round(float(before.abs().max()), 4),
        "median_cosine": round(float(cosine.median()), 6),
        "patches_below_0.99": round(float((cosine < 0.99).float().mean()), 6),
    }


def regions(name: str, folder: Path) -> dict[str, Any]:
    """Which share of objects their neighbours name rightly, attribute by attribute."""
    options = RegionProbeOptions(probes=("knn",), seeds=SPLITS, patches=0, resamples=0)
    right = {}
    for attribute in ATTRIBUTES:
        data = labelled_set(f"world({JUDGED}, labels={attribute!r})")
        (row,) = probe_regions(judged_subjects([str(folder)]), data, options).rows
        report = row.report()
        right[attribute] = {key: round(report[key], 4) for key in ("accuracy", "spread", "chance")}
    command = (
        f"regiontok probe regions {name} --data \"world({JUDGED}, labels='shape')\" --probe knn "
        f"--seeds {SPLITS} --patches 0"
    )
    counts = {"pictures": JUDGED, "k": options.k, "splits": SPLITS}
    return {"command": command, **counts, "right": right}


def facts_of_run(run: Path) -> dict[str, Any]:
    """How an encoder came about, as its run's folder says."""
    resolved = (run / "resolved.toml").read_text(encoding="utf-8")
    recipe = tomllib.loads(resolved)
    starts = parse_json((run / "provenance.json").read_text(encoding="utf-8"))
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    done = next(entry for line in reversed(lines) if (entry := parse_json(line))["kind"] == "done")
    tensors = load_file(run / "encoder" / WEIGHTS)
    name = name_of_recipe(recipe["name"], resolved)
    return {
        "what": recipe["what"],
        "recipe": {"name": recipe["name"], "resolved": resolved},
        "command": f"regiontok pretrain {name} --out run --device cpu",
        "parameters": sum(value.numel() for value in tensors.values()),
        "trained": {
            "python": starts[-1]["python"],
            "versions": starts[-1]["versions"],
            "seeds": starts[-1]["seeds"],
            "starts": len(starts),
            "steps": done["step"],
            "loss": done["loss"],
            "evaluation": {key: done[key] for key in ("knn", "knn_patches", "knn_chance")},
            "data": [data["shards"] for data in recipe["pretrain"]["data"]],
        },
        "licence": "Apache-2.0",
    }


if __name__ == "__main__":
    main()
