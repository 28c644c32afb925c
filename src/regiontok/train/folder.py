"""A run's folder: the recipe, where it came from, the log, checkpoints; nothing half-written in it
counts.

recipe.toml         as it was given          resolved.toml   at its scale, with overrides: what
resuming compares options.json        what else decides the result      provenance.json  versions,
hardware, seeds, hashes; one entry a start log.jsonl           one JSON object a step, evaluation or
event metrics.json        of each finished stage
1_NAME/             the saved model of a stage, once it is whole; .checkpoints/1_NAME/checkpoint-N
while it runs
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from regiontok.settings.recipe import Recipe, to_toml
from regiontok.system.errors import RegiontokError
from regiontok.system.files import replacing

PACKAGES = (
    "regiontok",
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "tokenizers",
    "safetensors",
    "numpy",
    "pillow",
    "timm",
)


class OtherRecipe(RegiontokError, ValueError):
    """The folder holds a run of another recipe, or of other options."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    @property
    def log(self) -> Path:
        """One JSON object a line."""
        return self.path / "log.jsonl"

    def stage(self, index: int, name: str) -> Path:
        """The saved model of a stage, counted from 0."""
        return self.path / f"{index + 1}_{name}"

    def checkpoints(self, index: int, name: str) -> Path:
        """Where a running stage keeps its checkpoints."""
        return self.path / ".checkpoints" / f"{index + 1}_{name}"

    def begin(self, recipe: Recipe, given: str, options: dict[str, Any], *, resume: bool) -> None:
        """Write what the run is, or check that it is the one that stands here.

        Args:
            recipe: resolved.
            given: the recipe's text as it was read.
            options: what else decides the result.
            resume: go on with what stands here (or start, if nothing does).

        Raises:
            OtherRecipe: resuming what another recipe or other options began.
            ValueError: a folder that is not empty, without `resume`.
        """
        resolved, known = to_toml(recipe), self.path / "resolved.toml"
        if known.exists():
            if not resume:
                raise ValueError(
                    f"{self.path} holds a run already: go on with --resume, or choose another --out"
                )
            _same(self.path, known.read_text(encoding="utf-8"), resolved)
            before = json.loads((self.path / "options.json").read_text(encoding="utf-8"))
            _same(
                self.path,
                *(json.dumps(which, indent=1, sort_keys=True) for which in (before, options)),
            )
        elif self.path.is_dir() and any(self.path.iterdir()) and not resume:
            raise ValueError(f"{self.path} is not empty and holds no run: choose another --out")
        else:
            self.path.mkdir(parents=True, exist_ok=True)
            self._write("options.json", json.dumps(options, indent=1, sort_keys=True) + "\n")
            self._write("recipe.toml", given)
            self._write("resolved.toml", resolved)  # last: without it nothing has begun

    def note(self, name: str, entry: dict[str, Any], *, key: str | None = None) -> None:
        """Add to a JSON file: to its list, or under `key`."""
        path = self.path / name
        held: Any = (
            json.loads(path.read_text(encoding="utf-8"))
            if path.exists()
            else ([] if key is None else {})
        )
        held = [*held, entry] if key is None else held | {key: entry}
        self._write(name, json.dumps(held, indent=1, ensure_ascii=False) + "\n")

    def record(self, entry: dict[str, Any]) -> None:
        """One more line of the log, on disk before this returns to the next step."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def entries(self) -> list[dict[str, Any]]:
        """The log; a last line that a kill cut off is not one."""
        if not self.log.exists():
            return []
        lines = self.log.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1] if line]

    def rewind(self, index: int, step: int) -> None:
        """Forget what was logged after a checkpoint: those steps are taken again."""
        kept = [e for e in self.entries() if (e["stage"], e["step"]) <= (index + 1, step)]
        self._write(
            "log.jsonl", "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in kept)
        )

    def _write(self, name: str, text: str) -> None:
        with replacing(self.path / name) as part:
            part.write_text(text, encoding="utf-8")


def steps_kept(folder: Path) -> dict[int, Path]:
    """Steps -> their checkpoints, whole ones only, in order."""
    found = {
        int(m[1]): path
        for path in folder.glob("checkpoint-*")
        if (m := re.fullmatch(r"checkpoint-(\d+)", path.name))
    }
    return dict(sorted(found.items()))


def publish(staged: Path, folder: Path, *, keep: int) -> Path:
    """A checkpoint written aside becomes one: flushed to the disk, then renamed; only the last
    `keep` stay."""
    for path in staged.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
    target = folder / staged.name
    if target.exists():
        shutil.rmtree(target)
    staged.rename(target)
    for path in list(steps_kept(folder).values())[:-keep]:
        gone = path.with_name(f".{path.name}.gone")  # half removed is no checkpoint either
        path.rename(gone)
        shutil.rmtree(gone)
    return target


def provenance(recipe: Recipe, weights: dict[str, str]) -> dict[str, Any]:
    """What a run started from: time, versions, hardware, seeds, hashes."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "hardware": {
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "gpus": gpus,
            "cuda": torch.version.cuda,
        },
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "seeds": {
            "tokenizer": recipe.tokenizer.seed,
            **{stage.name: stage.seed for stage in recipe.stage},
        },
        "recipe": hashlib.sha256(to_toml(recipe).encode()).hexdigest(),
        "weights": weights,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _same(folder: Path, before: str, now: str) -> None:
    if before == now:
        return
    pairs = zip(before.splitlines(), now.splitlines(), strict=False)
    first = next(((old, new) for old, new in pairs if old != new), ("", ""))
    raise OtherRecipe(
        f"{folder} was begun with another setting: there {first[0].strip()!r}, now {first[1].strip()!r}; "
        f"resume with the same recipe, overrides and options, or choose another --out"
    )
