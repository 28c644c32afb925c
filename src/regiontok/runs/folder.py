"""The folder of a run: its recipe, its provenance and its log; nothing half-written in it counts.

::

    recipe.toml       the recipe's text as it was read
    options.json      options beside the recipe that decide the result, if the loop has any
    resolved.toml     the recipe at its scale, with overrides; resuming compares both
    provenance.json   versions, hardware, seeds and hashes; one entry a start
    log.jsonl         one JSON object a step, evaluation or event

Each loop adds its checkpoints and its results: `regiontok.train.folder` and
`regiontok.pretrain.folder` say where.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regiontok.runs.errors import OtherRun
from regiontok.runs.same_recipe import Difference, differences, parse_resolved
from regiontok.settings.recipe import Recipe, to_toml
from regiontok.system.errors import first_line
from regiontok.system.files import replacing
from regiontok.system.lease import LEASE
from regiontok.system.strict_json import parse_json, strict_json
from regiontok.system.writing import clear_write_errors

RECENT = 20  # steps whose losses are averaged for a run's result


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run, of either loop.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def log(self) -> Path:
        """The log: one JSON object a line."""
        return self.path / "log.jsonl"

    def has_progress(self) -> bool:
        """True if a step of a run has been taken here."""
        return any(entry["kind"] == "step" for entry in self.entries())

    def begin(
        self,
        recipe: Recipe,
        recipe_text: str,
        *,
        resume: bool,
        decisive_options: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Write what the run is, or check that the run in this folder is the same one.

        A start that failed before its first step blocks nothing: what it wrote is replaced.

        Args:
            recipe: the resolved recipe.
            recipe_text: the recipe's text as it was read.
            resume: go on with the run in this folder, or start if there is none.
            decisive_options: options beside the recipe that decide the result.

        Returns:
            What is changed in a run that goes on, setting by setting, where this loop allows it.

        Raises:
            OtherRun: If another recipe, or other decisive options, began the run to be resumed.
            ValueError: If the folder holds a run and `resume` is not set, or holds other files.
        """
        settings = {"resolved.toml": to_toml(recipe)}
        if decisive_options:
            text = json.dumps(decisive_options, indent=1, sort_keys=True) + "\n"
            # resolved.toml is written last: without it nothing has begun
            settings = {"options.json": text, **settings}
        if not (self.path / "resolved.toml").exists():
            self._refuse_foreign_files()
        elif self.has_progress():
            if not resume:
                raise ValueError(
                    f"{self.path} holds a run already: go on with --resume, or choose another --out"
                )
            if decisive_options:
                self._check_same_options(settings["options.json"])
            changes = self._check_same_recipe(recipe)
            if changes:
                self._write_all({"recipe.toml": recipe_text, "resolved.toml": to_toml(recipe)})
            return changes
        self.path.mkdir(parents=True, exist_ok=True)
        self._write_all({"recipe.toml": recipe_text, **settings})
        return []

    def allowed_changes(
        self, changes: Sequence[Difference], begun: Recipe, recipe: Recipe
    ) -> Sequence[Difference]:
        """Those of the changes with which this loop can go on: none, unless it says so.

        Args:
            changes: what the recipe says otherwise than the run in this folder.
            begun: the recipe with which the run was begun, or last went on.
            recipe: the recipe with which it is to go on.
        """
        return ()

    def add_start(self, provenance: Mapping[str, Any]) -> None:
        """Add one more start of the run to `provenance.json`."""
        self.write_json("provenance.json", [*self.read_json("provenance.json", []), provenance])

    def record(self, entry: Mapping[str, Any]) -> None:
        """Add a line to the log; it is handed to the system before this returns."""
        with clear_write_errors(self.log), self.log.open("a", encoding="utf-8") as file:
            file.write(strict_json(entry) + "\n")

    def entries(self) -> list[dict[str, Any]]:
        """The entries of the log; a last line that a kill cut off is not one of them."""
        if not self.log.exists():
            return []
        lines = self.log.read_text(encoding="utf-8").split("\n")
        return [parse_json(line) for line in lines[:-1] if line]

    def rewind(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Drop the log entries that `keep` refuses: steps after a checkpoint are taken again."""
        lines = [strict_json(entry) + "\n" for entry in self.entries() if keep(entry)]
        self._write("log.jsonl", "".join(lines))

    def read_json(self, name: str, default: Any) -> Any:
        """The content of a JSON file in the folder, or `default` if there is no such file."""
        path = self.path / name
        return parse_json(path.read_text(encoding="utf-8")) if path.exists() else default

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file in the folder, whole or not at all."""
        self._write(name, strict_json(content, indent=1) + "\n")

    def _refuse_foreign_files(self) -> None:
        """Raise if the folder holds files that no start of a run has left."""
        names = [path.name for path in self.path.iterdir()] if self.path.is_dir() else []
        leftovers = ("recipe.toml", "options.json", LEASE)
        if any(name not in leftovers and not name.endswith(".part") for name in names):
            raise ValueError(f"{self.path} is not empty and holds no run: choose another --out")

    def _check_same_options(self, text: str) -> None:
        """Raise if the run in this folder was begun with other decisive options."""
        path = self.path / "options.json"
        begun = path.read_text(encoding="utf-8") if path.exists() else ""
        if begun != text:
            pairs = zip(begun.splitlines(), text.splitlines(), strict=False)
            old, new = next(((old, new) for old, new in pairs if old != new), ("", ""))
            raise self._other_run(f"there {old.strip(' ,')!r}, now {new.strip(' ,')!r}")

    def _check_same_recipe(self, recipe: Recipe) -> list[str]:
        """The changes of settings with which the run may go on; raises if there are others."""
        path = self.path / "resolved.toml"
        try:
            begun = parse_resolved(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise self._other_run(f"its {path.name} cannot be read ({first_line(error)})") from None
        changes = differences(begun, recipe)
        allowed = self.allowed_changes(changes, begun, recipe)
        for change in changes:
            if change not in allowed:
                raise self._other_run(str(change))
        return [str(change) for change in changes]

    def _other_run(self, difference: str) -> OtherRun:
        return OtherRun(
            f"{self.path} was begun with another setting: {difference}; "
            "resume with the same recipe, overrides and options, or choose another --out"
        )

    def _write_all(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            self._write(name, text)

    def _write(self, name: str, text: str) -> None:
        path = self.path / name
        with clear_write_errors(path), replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def recent_loss(steps: Sequence[Mapping[str, Any]]) -> float:
    """Mean loss of the last steps among these log entries of steps.

    >>> recent_loss([{"loss": 9.0}, *[{"loss": 1.0}] * 20])
    1.0
    """
    losses = [step["loss"] for step in steps[-RECENT:]]
    return sum(losses) / len(losses)
