"""The files of a stage: pieces, what they are merged into, and the report that is written last.

Pieces and merged files have unique temporary names and are renamed, and the same work gives the
same bytes: two processes on one piece do each other no harm.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from regiontok.curate.tars import CuratedTar, Curation, CurationError, Piece
from regiontok.shards.report import config_hash
from regiontok.system.files import replacing_shared
from regiontok.system.need import need
from regiontok.system.parquet import ParquetError, open_parquet, write_parquet
from regiontok.system.strict_json import parse_json

GROUP_ROWS = 4096
STALE = 3600  # seconds after which nobody writes a temporary file any more


@dataclass(frozen=True)
class StageReport:
    """The JSON beside a stage's file of one tar.

    Attributes:
        images: number of rows.
        set_aside: how many images are set aside, by the first word of the reason.
        seconds: time that its pieces took.
        hash: of the stage's settings and of what it has read.
    """

    images: int
    set_aside: Mapping[str, int]
    seconds: float
    hash: str


@dataclass(frozen=True)
class Stage:
    """A stage that goes piece by piece.

    Attributes:
        name: its name in file names.
        form: raise it with every change of what the same settings give.
        settings: its settings.
        reads: the hash of what it reads.
        schema: the Arrow schema of its rows; "index" and "reason" are among them.
    """

    name: str
    form: int
    settings: Mapping[str, Any]
    reads: str
    schema: Any = field(compare=False)

    @property
    def hash(self) -> str:
        """The hash of its settings, over that of what it reads."""
        return config_hash(
            {
                "stage": self.name,
                "form": self.form,
                "settings": dict(self.settings),
                "reads": self.reads,
            }
        )

    @property
    def format(self) -> str:
        """What its files state as their format."""
        return f"regiontok {self.name} {self.form}"

    def path(self, out: Path, tar: CuratedTar) -> Path:
        """The file of a tar."""
        return out / f"{tar.name}.{self.name}.parquet"

    def report_path(self, out: Path, tar: CuratedTar) -> Path:
        """The report of a tar."""
        return out / f"{tar.name}.{self.name}.json"

    def piece_path(self, out: Path, piece: Piece) -> Path:
        """The file of a piece; other settings have another name."""
        name = f"{piece.tar.name}.{self.name}.{piece.number:05}.{self.hash[:8]}.parquet"
        return out / "pieces" / name


def write_piece(
    stage: Stage, out: Path, piece: Piece, rows: Sequence[dict[str, Any]], seconds: float
) -> None:
    """Write the rows of a piece."""
    path = stage.piece_path(out, piece)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(stage, path, list(rows), {"seconds": f"{seconds:.3f}"})


def is_done(stage: Stage, out: Path, tar: CuratedTar) -> bool:
    """True if a tar's file is there, of these settings."""
    report = read_report(stage, out, tar)
    return report is not None and report.hash == stage.hash and stage.path(out, tar).is_file()


def missing_pieces(stage: Stage, curation: Curation, tar: CuratedTar) -> list[Piece]:
    """The pieces of a tar that are not there yet."""
    if is_done(stage, curation.out, tar):
        return []
    return [
        piece
        for piece in curation.pieces(tar)
        if not stage.piece_path(curation.out, piece).is_file()
    ]


def merge(stage: Stage, curation: Curation, tar: CuratedTar) -> StageReport:
    """Merge the pieces of a tar into its file, write its report, and remove them.

    Raises:
        CurationError: If a piece is damaged; it is removed, so that it is done again.
    """
    out, tables, seconds = curation.out, [], 0.0
    pieces = [stage.piece_path(out, piece) for piece in curation.pieces(tar)]
    for path in pieces:
        try:
            with open_parquet(path, stage.schema, stage.format) as file:
                tables.append(file.read(use_threads=False))
                seconds += float(file.metadata.metadata[b"seconds"])
        except ParquetError as error:
            path.unlink(missing_ok=True)
            raise CurationError(f"{error}; it is removed, start again") from None
        except FileNotFoundError:
            report = read_report(stage, out, tar) if is_done(stage, out, tar) else None
            if report is None:
                raise CurationError(f"{path}: the piece is gone, start again") from None
            clear_pieces(stage, out, tar)
            return report  # another process has merged them
    rows = [row for table in tables for row in table.to_pylist()]
    reasons = Counter(row["reason"].split(":")[0] for row in rows if row["reason"])
    report = StageReport(len(rows), dict(sorted(reasons.items())), round(seconds, 3), stage.hash)
    stage.report_path(out, tar).unlink(missing_ok=True)  # it would speak for another file
    _write(stage, stage.path(out, tar), rows, {"hash": stage.hash})
    with replacing_shared(stage.report_path(out, tar)) as temporary:
        temporary.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    clear_pieces(stage, out, tar)
    return report


def clear_pieces(stage: Stage, out: Path, tar: CuratedTar) -> None:
    """Remove the pieces of a tar, and what killed processes left of them long ago."""
    for path in (out / "pieces").glob(f"{tar.name}.{stage.name}.*.parquet"):
        path.unlink(missing_ok=True)
    for path in (out / "pieces").glob(f".{tar.name}.{stage.name}.*"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > STALE:
                path.unlink()


def read_report(stage: Stage, out: Path, tar: CuratedTar) -> StageReport | None:
    """The report of a tar; None where there is none, or a damaged one: the tar is done again."""
    try:
        return StageReport(**parse_json(stage.report_path(out, tar).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def read_rows(
    stage: Stage, out: Path, tar: CuratedTar, columns: Sequence[str] | None = None
) -> Any:
    """The file of a tar as an Arrow table.

    Raises:
        CurationError: If it is missing or damaged.
    """
    path = stage.path(out, tar)
    try:
        with open_parquet(path, stage.schema, stage.format) as file:
            return file.read(columns=columns, use_threads=False)
    except (FileNotFoundError, ParquetError) as error:
        raise CurationError(f"{path}: {error}") from None


def _write(stage: Stage, path: Path, rows: list[dict[str, Any]], metadata: dict[str, str]) -> None:
    table = need("pyarrow", extra="store").Table.from_pylist(rows, stage.schema)
    write_parquet(table, path, stage.format, group_rows=GROUP_ROWS, metadata=metadata, shared=True)
