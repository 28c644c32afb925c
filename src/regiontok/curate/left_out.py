"""Tars that a curation goes on without, because a piece of them could not be done.

    OUT/left_out.json   their names, each with the stage that failed, and why

A tar is left out of the stage that failed and of all that come after it. A barrier behind that
stage has another hash then; what came before it stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from regiontok.curate.sources import CurationError
from regiontok.system.files import replacing_shared
from regiontok.system.strict_json import parse_json

FILE = "left_out.json"


@dataclass(frozen=True)
class LeftOutTar:
    """A tar without which a curation goes on.

    Attributes:
        tar: its name.
        stage: the stage that failed.
        reason: the piece, and why it cannot be done.
    """

    tar: str
    stage: str
    reason: str


def read_left_out(out: Path) -> tuple[LeftOutTar, ...]:
    """The tars that are left out, in the order of their names.

    Raises:
        CurationError: If the list is damaged.
    """
    path = out / FILE
    try:
        return tuple(LeftOutTar(**entry) for entry in parse_json(path.read_bytes()))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError) as error:
        raise CurationError(f"{path}: damaged ({error}); remove it, and start again") from None


def add_left_out(out: Path, tars: Sequence[LeftOutTar]) -> None:
    """Leave out further tars; of one that is listed already, what stands there stays."""
    by_name = {entry.tar: entry for entry in (*tars[::-1], *read_left_out(out))}
    listed = [asdict(by_name[name]) for name in sorted(by_name)]
    with replacing_shared(out / FILE) as temporary:
        temporary.write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")


def take_back(out: Path) -> None:
    """Leave out no tar any more."""
    (out / FILE).unlink(missing_ok=True)
