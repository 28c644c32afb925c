"""A pretraining run's folder: the recipe, where it came from, the log, checkpoints, the encoder;
nothing half-written in it counts.

recipe.toml         as it was given          resolved.toml   at its scale, with overrides: what
resuming compares provenance.json     versions, hardware, seed; one entry a start
log.jsonl           one JSON object a step, evaluation or event
checkpoints/step-N  of all ranks             data/           generated sources
encoder/            the trained encoder, once the run is done
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
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

PACKAGES = ("regiontok", "torch", "numpy", "pillow", "pyarrow", "scikit-learn")


class OtherRun(RegiontokError, ValueError):
    """The folder holds a run of another recipe."""


@dataclass(frozen=True)
class PretrainFolder:
    """The folder of one run."""

    path: Path

    @property
    def log(self) -> Path:
        """One JSON object a line."""
        return self.path / "log.jsonl"

    @property
    def encoder(self) -> Path:
        """The trained encoder: of transformers and of this project."""
        return self.path / "encoder"

    def begin(self, recipe: Recipe, given: str, *, resume: bool) -> None:
        """Write what the run is, or check that it is the one that stands here.

        Raises:
            OtherRun: resuming what another recipe began.
            ValueError: a folder that is not empty, without `resume`.
        """
        resolved, known = to_toml(recipe), self.path / "resolved.toml"
        if (
            known.exists() and self._has_steps()
        ):  # without a step there is nothing to lose: a wrong path may be put right
            if not resume:
                raise ValueError(
                    f"{self.path} holds a run already: go on with --resume, or choose another --out"
                )
            self._same(known.read_text(encoding="utf-8"), resolved)
        elif not known.exists() and self._foreign():
            raise ValueError(f"{self.path} is not empty and holds no run: choose another --out")
        else:
            self.path.mkdir(parents=True, exist_ok=True)
            self._write("recipe.toml", given)
            self._write("resolved.toml", resolved)  # last: without it nothing has begun

    def start(self, entry: dict[str, Any], step: int) -> None:
        """Note one more start, and forget what was logged after a checkpoint: those steps are taken
        again."""
        path = self.path / "provenance.json"
        held = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        self._write("provenance.json", json.dumps([*held, entry], indent=1) + "\n")
        kept = [json.dumps(own) + "\n" for own in self.entries() if step and own["step"] <= step]
        self._write("log.jsonl", "".join(kept))

    def record(self, entry: dict[str, Any]) -> None:
        """One more line of the log."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def entries(self) -> list[dict[str, Any]]:
        """The log; a last line that a kill cut off is not one."""
        if not self.log.exists():
            return []
        return [
            json.loads(line)
            for line in self.log.read_text(encoding="utf-8").split("\n")[:-1]
            if line
        ]

    def _foreign(self) -> bool:
        """True if something lies here that no start of a run has left."""
        names = (path.name for path in self.path.iterdir()) if self.path.is_dir() else ()
        return any(name != "recipe.toml" and not name.endswith(".part") for name in names)

    def _has_steps(self) -> bool:
        return any(self.path.glob("checkpoints/step-*")) or any(
            entry["kind"] == "step" for entry in self.entries()
        )

    def _write(self, name: str, text: str) -> None:
        with replacing(self.path / name) as part:
            part.write_text(text, encoding="utf-8")

    def _same(self, before: str, now: str) -> None:
        if before == now:
            return
        pairs = zip(_flat(before), _flat(now), strict=False)
        first = next(((old, new) for old, new in pairs if old != new), ("", ""))
        raise OtherRun(
            f"{self.path} was begun with another setting: there {first[0].strip()!r}, now {first[1].strip()!r}; "
            "resume with the same recipe and overrides, or choose another --out"
        )


def _flat(text: str) -> list[str]:
    """Lines, and inline tables cut at their commas, so that a message names the setting and not the
    table."""
    return [part for line in text.splitlines() for part in line.split(", ")]


def provenance(recipe: Recipe, world: int, step: int) -> dict[str, Any]:
    """What a start started from."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "step": step,
        "python": sys.version.split()[0],
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "hardware": {
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "gpus": gpus,
            "cuda": torch.version.cuda,
        },
        "processes": world,
        "seed": recipe.pretrain.seed if recipe.pretrain else 0,
        "recipe": hashlib.sha256(to_toml(recipe).encode()).hexdigest(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
