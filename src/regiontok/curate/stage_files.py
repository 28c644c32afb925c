"""The files of a stage: pieces, what they are merged into, and the report that is written last.

Pieces and merged files have unique temporary names and are renamed, and the same work gives the
same bytes: two processes on one piece do each other no harm.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from glob import escape
from pathlib import Path
from typing import Any

from regiontok.curate.sources import CurationError, Source
from regiontok.curate.tars import Curation, Piece
from regiontok.shards.report import config_hash
from regiontok.system.files import replacing_shared
from regiontok.system.need import need
from regiontok.system.parquet import ParquetError, open_parquet, write_parquet, write_tables
from regiontok.system.strict_json import parse_json

GROUP_ROWS = 4096
HEARTBEAT = ".beat"
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
        group_rows: rows that are read and decompressed together.
    """

    name: str
    form: int
    settings: Mapping[str, Any]
    reads: str
    schema: Any = field(compare=False)
    group_rows: int = field(default=GROUP_ROWS, compare=False)

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

    def path(self, out: Path, tar: Source) -> Path:
        """The file of a tar."""
        return out / f"{tar.name}.{self.name}.parquet"

    def report_path(self, out: Path, tar: Source) -> Path:
        """The report of a tar."""
        return out / f"{tar.name}.{self.name}.json"

    def piece_path(self, out: Path, piece: Piece) -> Path:
        """The file of a piece; other settings have another name."""
        return out / "pieces" / f"{self._piece_name(piece)}.parquet"

    def heartbeat_path(self, out: Path, piece: Piece) -> Path:
        """A file that is touched while somebody works on a piece."""
        return out / "pieces" / f"{self._piece_name(piece)}{HEARTBEAT}"

    def _piece_name(self, piece: Piece) -> str:
        return f"{piece.tar.name}.{self.name}.{piece.number:05}.{self.hash[:8]}"


def write_piece(
    stage: Stage, out: Path, piece: Piece, rows: Sequence[dict[str, Any]], seconds: float
) -> None:
    """Write the rows of a piece."""
    path = stage.piece_path(out, piece)
    path.parent.mkdir(parents=True, exist_ok=True)
    table = need("pyarrow", extra="store").Table.from_pylist(list(rows), stage.schema)
    metadata = {"seconds": f"{seconds:.3f}"}
    write_parquet(
        table, path, stage.format, group_rows=stage.group_rows, metadata=metadata, shared=True
    )


def is_done(stage: Stage, out: Path, tar: Source) -> bool:
    """True if a tar's file is there, of these settings."""
    report = read_report(stage, out, tar)
    return report is not None and report.hash == stage.hash and stage.path(out, tar).is_file()


def missing_pieces(stage: Stage, curation: Curation, tar: Source) -> list[Piece]:
    """The pieces of a tar that are not there yet."""
    if is_done(stage, curation.out, tar):
        return []
    return [
        piece
        for piece in curation.pieces(tar)
        if not stage.piece_path(curation.out, piece).is_file()
    ]


def merge(stage: Stage, curation: Curation, tar: Source) -> StageReport:
    """Merge the pieces of a tar into its file, write its report, and remove them.

    One piece at a time is in memory.

    Raises:
        CurationError: If a piece is damaged; it is removed, so that it is done again.
    """
    out, merging = curation.out, _Merging(stage, curation, tar)
    path, report_path = stage.path(out, tar), stage.report_path(out, tar)
    try:
        write_tables(
            merging.tables(),
            stage.schema,
            path,
            stage.format,
            group_rows=stage.group_rows,
            metadata={"hash": stage.hash},
            shared=True,
        )
    except FileNotFoundError:
        others = read_report(stage, out, tar) if is_done(stage, out, tar) else None
        if others is None:
            raise CurationError(f"{path}: a piece is gone, start again") from None
        clear_pieces(stage, out, tar)
        return others  # another process has merged them
    report = merging.report()
    with replacing_shared(report_path) as temporary:
        temporary.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    clear_pieces(stage, out, tar)
    return report


@dataclass
class _Merging:
    """The pieces of a tar, read one behind the other, and what is counted on the way."""

    stage: Stage
    curation: Curation
    tar: Source
    reasons: Counter[str] = field(default_factory=Counter)
    images: int = 0
    seconds: float = 0.0

    def tables(self) -> Iterator[Any]:
        """The rows of each piece; at the end the report of the tar's older file is removed."""
        for piece in self.curation.pieces(self.tar):
            path = self.stage.piece_path(self.curation.out, piece)
            try:
                with open_parquet(path, self.stage.schema, self.stage.format) as file:
                    table = file.read(use_threads=False)
                    self.seconds += float(file.metadata.metadata[b"seconds"])
                if table["index"].to_pylist() != list(range(piece.start, piece.stop)):
                    raise ParquetError(f"{path}: corrupt (not the rows of {piece.name})")
            except ParquetError as error:
                path.unlink(missing_ok=True)
                raise CurationError(f"{error}; it is removed, start again") from None
            self.images += len(table)
            self.reasons += reasons_of(table)
            yield table
        # it would speak for another file
        self.stage.report_path(self.curation.out, self.tar).unlink(missing_ok=True)

    def report(self) -> StageReport:
        """The report, when all tables are read."""
        return StageReport(
            self.images, dict(sorted(self.reasons.items())), round(self.seconds, 3), self.stage.hash
        )


def reasons_of(table: Any) -> Counter[str]:
    """How many images of a stage's table are set aside, by the first word of the reason."""
    by_word: Counter[str] = Counter()
    for entry in table["reason"].value_counts().to_pylist():
        if text := entry["values"]:
            by_word[text.split(":")[0]] += entry["counts"]
    return by_word


def clear_pieces(stage: Stage, out: Path, tar: Source) -> None:
    """Remove the pieces of a tar, of any settings, and the heartbeats of killed processes."""
    for path in (out / "pieces").glob(f"{escape(tar.name)}.{stage.name}.*"):
        path.unlink(missing_ok=True)


def clear_temporary(out: Path) -> None:
    """Remove what killed processes were writing long ago."""
    for folder in (out, out / "pieces"):
        for path in folder.glob(".*.part"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > STALE:
                    path.unlink()


def read_report(stage: Stage, out: Path, tar: Source) -> StageReport | None:
    """The report of a tar; None where there is none, or a damaged one: the tar is done again."""
    try:
        return StageReport(**parse_json(stage.report_path(out, tar).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def read_rows(stage: Stage, out: Path, tar: Source, columns: Sequence[str] | None = None) -> Any:
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
