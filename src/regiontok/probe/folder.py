"""The folder of a probe's run: what it is, its log, and checkpoints of what learns.

::

    probe.json            all that decides the result, the encoder's identity among it
    provenance.json       versions, hardware and seeds; one entry a start
    log.jsonl             one JSON object a step, evaluation or event
    checkpoints/step-N    after N steps: learned.safetensors, optimiser.safetensors

A probe adds what it measures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from regiontok.probe.optimisation import learned_state, load_optimizer_state, optimizer_state
from regiontok.runs.checkpoints import CheckpointFolder
from regiontok.runs.errors import OtherRun, RunStopped
from regiontok.runs.folder import RunFolder
from regiontok.system.errors import RegiontokError, first_line
from regiontok.system.lease import LEASE
from regiontok.system.strict_json import parse_json, strict_json
from regiontok.system.tensor_files import save_file
from regiontok.system.writing import clear_write_errors

SETTINGS = "probe.json"
LEARNED, OPTIMISER = "learned.safetensors", "optimiser.safetensors"


class OtherHead(RegiontokError, ValueError):
    """A checkpoint of another head than the one that it is to be loaded into."""


class ProbeFolder(RunFolder):
    """The folder of one run of a probe."""

    def checkpoints(self, *, keep: int = 2) -> CheckpointFolder:
        """The checkpoints of the run."""
        return CheckpointFolder(self.path / "checkpoints", "step", keep)

    def settings(self) -> dict[str, Any]:
        """All that decided the run in this folder.

        Raises:
            ValueError: If there is no run of a probe.
        """
        settings = self.read_json(SETTINGS, None)
        if not isinstance(settings, dict):
            raise ValueError(f"{self.path} holds no run of a probe: it has no {SETTINGS}")
        return settings

    def has_progress(self) -> bool:
        """True if a step has been taken; checkpoints are looked for before the long log."""
        return bool(self.checkpoints().by_step()) or super().has_progress()

    def open(self, settings: Mapping[str, Any], *, resume: bool) -> None:
        """Write what the run is, or check that the run in this folder is the same one.

        A start that failed before its first step blocks nothing: what it wrote is replaced.

        Args:
            settings: all that decides the result, as JSON has it.
            resume: go on with the run in this folder, or start if there is none.

        Raises:
            OtherRun: If other settings, such as another encoder, began the run.
            ValueError: If the folder holds a run and `resume` is not set, or holds other files.
        """
        wanted = parse_json(strict_json(settings))
        if not (self.path / SETTINGS).exists():
            names = [path.name for path in self.path.iterdir()] if self.path.is_dir() else []
            if any(name != LEASE and not name.endswith(".part") for name in names):
                raise ValueError(f"{self.path} is not empty and holds no run: choose another --out")
        elif self.has_progress():
            if not resume:
                raise ValueError(
                    f"{self.path} holds a run already: go on with --resume, or choose another --out"
                )
            self.check_same(wanted)
            return
        self.path.mkdir(parents=True, exist_ok=True)
        self.write_json(SETTINGS, wanted)

    def check_same(self, settings: Mapping[str, Any]) -> None:
        """Raise if some of these settings are not those of the run in this folder.

        Raises:
            OtherRun: If one differs; the message says which.
        """
        begun = _flat(self.settings())
        for key, now in _flat(parse_json(strict_json(settings))).items():
            if begun.get(key) != now:
                raise OtherRun(
                    f"{self.path} is of another run: {key} was {_short(begun.get(key))} there and "
                    f"is {_short(now)} now; take the same one, or choose another --out"
                )

    def save(self, step: int, module: nn.Module, optimizer: Optimizer, *, keep: int) -> None:
        """Write a checkpoint after so many steps.

        Raises:
            RunStopped: If it cannot be written; the checkpoints before it stay.
        """
        checkpoints = self.checkpoints(keep=keep)
        staged = checkpoints.staging / f"step-{step}"
        try:
            checkpoints.clear_staging()
            with clear_write_errors(staged):
                staged.mkdir(parents=True)
                save_file(_on_cpu(learned_state(module)), staged / LEARNED)
                save_file(_on_cpu(optimizer_state(optimizer, module)), staged / OPTIMISER)
                checkpoints.publish(staged, step)
        except OSError as error:
            checkpoints.clear_staging()
            raise RunStopped(
                f"the checkpoint of step {step} is not saved: {error}; {checkpoints.last_good()}. "
                "Go on with --resume"
            ) from error

    def load(self, module: nn.Module, optimizer: Optimizer | None = None) -> int:
        """Give a module, and its optimiser, what the last checkpoint holds.

        Returns:
            The steps that were taken before it; 0 if there is no checkpoint.

        Raises:
            OtherHead: If the checkpoint is of another head.
        """
        by_step = self.checkpoints().by_step()
        if not by_step:
            return 0
        step, path = max(by_step.items())
        _load_learned(module, path / LEARNED)
        if optimizer is not None:
            load_optimizer_state(optimizer, module, _read(path / OPTIMISER))
        return step

    def rewind_to(self, step: int) -> None:
        """Drop what was logged after a checkpoint; after none, all of the log."""
        self.rewind(lambda entry: bool(step) and entry["step"] <= step)


def _load_learned(module: nn.Module, path: Path) -> None:
    state, tensors = learned_state(module), _read(path)
    if odd := sorted(set(state) ^ set(tensors)):
        where = "the file" if odd[0] in tensors else "this head"
        raise OtherHead(f"{path} is of another head: only {where} has {odd[0]}")
    for name, value in tensors.items():
        if value.shape != state[name].shape:
            raise OtherHead(
                f"{path} is of another head: {name} has shape {list(value.shape)} there and "
                f"{list(state[name].shape)} here"
            )
        state[name].copy_(value)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()  # the file is no mapping and cannot be iterated itself
            return {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise OtherHead(f"{path} cannot be read ({first_line(error)})") from None


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, which share no memory: safetensors refuses tensors that do."""
    return {
        name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()
    }


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """The values of nested objects by their dotted keys."""
    if not isinstance(value, dict):
        return {key: value}
    return {
        inner_key: inner
        for name, part in value.items()
        for inner_key, inner in _flat(part, f"{key}.{name}" if key else name).items()
    }


def _short(value: Any) -> str:
    text = strict_json(value)
    return text if len(text) <= 160 else f"{text[:157]}..."
