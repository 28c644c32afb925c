"""What lies where in a mask store: the marker (whose masks it holds), its shards and its parts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from regiontok.maskstore.parquet_file import FORMAT
from regiontok.methods import Segmenter
from regiontok.settings import registry
from regiontok.system.files import replacing

MARKER = "store.json"


@dataclass(frozen=True)
class SegmenterRecord:
    """Whose masks a store holds.

    Attributes:
        spec: the segmenter's full spec, every field and the version.
        identity: what the spec cannot say (weights, a package's version).
    """

    spec: str
    identity: str

    @classmethod
    def of(cls, segmenter: Segmenter) -> SegmenterRecord:
        """The record of a built segmenter."""
        return cls(registry.render(segmenter, full=True), segmenter.identity)

    @property
    def fingerprint(self) -> str:
        """The hash of spec and identity, 32 hexadecimal digits."""
        text = json.dumps([FORMAT, self.spec, self.identity])
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def is_store(path: str | Path) -> bool:
    """True if the folder has a store's marker."""
    return (Path(path) / MARKER).is_file()


def read_marker(root: Path) -> SegmenterRecord:
    """Whose masks the marker of a store says it holds.

    Raises:
        ValueError: If there is no marker, or it cannot be read, is of another format, or was
            changed by hand.
    """
    try:
        stated = json.loads((root / MARKER).read_bytes())
        record = SegmenterRecord(stated["segmenter"], stated["identity"])
        stated_format, fingerprint = stated["format"], stated["fingerprint"]
    except FileNotFoundError:
        raise ValueError(f"{root}: no mask store (it has no {MARKER})") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{root / MARKER}: cannot be read ({type(error).__name__}: {error})"
        ) from None
    if stated_format != FORMAT:
        raise ValueError(
            f"{root}: a mask store of the format {stated_format!r}, this regiontok reads "
            f"{FORMAT!r}: make it anew in another folder with `regiontok masks`"
        )
    if fingerprint != record.fingerprint:
        raise ValueError(f"{root / MARKER}: its fingerprint is not that of the segmenter it names")
    return record


def write_marker(root: Path, record: SegmenterRecord) -> None:
    """Write the marker of a new store."""
    stated = {
        "format": FORMAT,
        "fingerprint": record.fingerprint,
        "segmenter": record.spec,
        "identity": record.identity,
    }
    with replacing(root / MARKER) as temporary:
        temporary.write_text(json.dumps(stated, indent=1) + "\n", encoding="utf-8")


def check_segmenter(root: Path, record: SegmenterRecord, wanted: SegmenterRecord) -> None:
    """Raise ValueError, with both segmenters, unless the store's record is the one wanted."""
    if record != wanted:
        raise ValueError(
            f"{root} holds masks of {record.spec} ({record.identity or 'no identity'}), not of "
            f"{wanted.spec} ({wanted.identity or 'no identity'}); use another folder for these"
        )


def shard_files(folder: Path) -> list[Path]:
    """The shards below a store's fingerprint, in the order of their keys."""
    return sorted(folder.glob("[!.]*.parquet"))


def part_files(folder: Path) -> list[Path]:
    """The files below a store's fingerprint that nobody has sorted into shards yet."""
    return sorted((folder / "parts").glob("[!.]*.parquet"))


def check_shard_keys(path: Path, keys: Sequence[str]) -> None:
    """Raise ValueError unless a shard's keys are sorted, each once, and begin with its name."""
    if any(left >= right for left, right in pairwise(keys)):
        raise ValueError(f"{path}: corrupt (its rows are not sorted by key, each once)")
    if path.stem != "all" and any(not key.startswith(path.stem) for key in keys):
        raise ValueError(f"{path}: corrupt (it holds a key that does not begin with {path.stem!r})")
