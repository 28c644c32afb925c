"""Checkpoints of a run as folders: each is whole or absent, and only the last ones stay.

A checkpoint is whole if its `files.json` lists it: every file with its size and its SHA-256. What
an interrupted copy between machines left, or a disk that was full, is set aside under another name
when a run is resumed, and the checkpoint before it is tried.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regiontok.runs.errors import NoWholeCheckpoint
from regiontok.system.files import flush, flush_entry
from regiontok.system.strict_json import parse_json

MANIFEST = "files.json"
DAMAGED = "damaged-"  # the first part of the name under which a damaged checkpoint is set aside


@dataclass(frozen=True)
class CheckpointFolder:
    """A folder of checkpoints, `PREFIX-N` each after N steps.

    Attributes:
        path: the folder that holds them.
        prefix: the first part of a checkpoint's name.
        keep: how many checkpoints stay.
    """

    path: Path
    prefix: str
    keep: int = 2

    @property
    def staging(self) -> Path:
        """Where a checkpoint is written before it is published."""
        return self.path / ".writing"

    def by_step(self) -> dict[int, Path]:
        """The checkpoints by their steps, in order."""
        pattern = re.compile(rf"{re.escape(self.prefix)}-(\d+)")
        matches = {path: pattern.fullmatch(path.name) for path in self.path.glob("*")}
        return dict(sorted((int(match[1]), path) for path, match in matches.items() if match))

    def set_aside_damaged(self) -> list[str]:
        """Set the damaged ones among the last checkpoints aside, up to the last whole one.

        The first process of a run does so before any of them looks for a checkpoint.

        Returns:
            What is wrong with each checkpoint that was set aside.

        Raises:
            NoWholeCheckpoint: If there were checkpoints, and none of them is whole.
        """
        messages: list[str] = []
        by_step = self.by_step()
        for path in reversed(by_step.values()):
            damage = damage_of(path)
            if not damage:
                return messages
            aside = path.with_name(f"{DAMAGED}{path.name}")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            messages.append(f"{path} is no whole checkpoint: {damage}; it is now {aside.name}")
        if messages:
            raise NoWholeCheckpoint(
                f"{'; '.join(messages)}. There is no whole one before it: copy a whole one there, "
                "or say --resume once more to take its steps again"
            )
        return messages

    def last_good(self) -> str:
        """The part of an error message that says which checkpoint a run can go on from."""
        paths = list(self.by_step().values())
        if not paths:
            return "there is no checkpoint before it"
        return f"the last good checkpoint is {paths[-1]}"

    def clear_staging(self) -> None:
        """Remove what a killed run left half-written or half-removed."""
        shutil.rmtree(self.staging, ignore_errors=True)

    def publish(self, staged: Path, step: int) -> Path:
        """Give a whole checkpoint in the staging folder its name, and remove the oldest ones.

        Its files are listed, and flushed to the disk before it is renamed.

        Args:
            staged: the checkpoint's folder within `staging`.
            step: steps that were taken before it.

        Returns:
            The checkpoint's path.
        """
        manifest = {name: _entry(staged / name) for name in _file_names(staged)}
        text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
        (staged / MANIFEST).write_text(text, encoding="utf-8")
        flush(staged)
        target = self.path / f"{self.prefix}-{step}"
        if target.exists():
            shutil.rmtree(target)
        staged.rename(target)
        flush_entry(self.path)
        for path in list(self.by_step().values())[: -self.keep]:
            # removed under another name: a half-removed folder is no checkpoint either
            path.rename(self.staging / f"removed-{path.name}")
        self.clear_staging()
        return target


def damage_of(checkpoint: Path) -> str:
    """What is wrong with the files of a checkpoint; "" if all are as they were written."""
    try:
        manifest = parse_json((checkpoint / MANIFEST).read_text(encoding="utf-8"))
        listed = {str(name): (entry["bytes"], entry["sha256"]) for name, entry in manifest.items()}
    except FileNotFoundError:
        return f"it has no {MANIFEST} (an older version wrote it, or its copy is not complete)"
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return f"its {MANIFEST} cannot be read"
    if absent := sorted(set(listed) - set(_file_names(checkpoint))):
        return f"{', '.join(absent[:3])} is missing"
    for name, (size, digest) in listed.items():
        path = checkpoint / name
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
        if _entry(path)["sha256"] != digest:
            return f"{name} holds other bytes than were written"
    return ""


def _file_names(checkpoint: Path) -> list[str]:
    """The files of a checkpoint by their names in it, without the list of them."""
    names = (
        path.relative_to(checkpoint).as_posix() for path in checkpoint.rglob("*") if path.is_file()
    )
    return sorted(name for name in names if name != MANIFEST)


def _entry(path: Path) -> dict[str, Any]:
    """What the list of files says of one."""
    with path.open("rb") as file:
        return {
            "bytes": path.stat().st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }
