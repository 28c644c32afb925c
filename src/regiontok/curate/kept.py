"""Which images of a piece stay, by the keep-list; and rows for those that a stage leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from regiontok.curate.duplicates import FORMAT, keep_schema
from regiontok.curate.sources import ImageIndex
from regiontok.curate.tars import Curation, CurationError, Piece
from regiontok.curate.threads import one_thread
from regiontok.system.need import need
from regiontok.system.parquet import ParquetError, open_parquet, read_groups

LEFT_OUT = "left out"  # the reason of an image that is not on the list, or has no region to embed


def kept_images(out: Path, piece: Piece, keep: str) -> frozenset[int]:
    """The numbers of a piece's images that stay.

    Only the row groups that may hold them are read: the list of 400M images is one file.

    Args:
        out: the curation's folder.
        piece: the piece.
        keep: the hash that the list must have.

    Raises:
        CurationError: If there is no list, it is damaged, or it is another one.
    """
    pc = need("pyarrow.compute", extra="store")
    path = out / "keep.parquet"
    try:
        with open_parquet(path, keep_schema(), FORMAT) as file:
            stated = file.metadata.metadata.get(b"hash", b"").decode()
            if stated != keep:
                raise CurationError(f"{path}: another list than the plan's: start again")
            groups = [
                number
                for number in range(file.metadata.num_row_groups)
                if _may_hold(file.metadata.row_group(number), piece)
            ]
            rows = read_groups(file, path, groups)
    except (FileNotFoundError, ParquetError) as error:
        raise CurationError(f"{path}: {error}") from None
    is_first = pc.and_(
        pc.equal(rows["shard"], rows["first_shard"]), pc.equal(rows["index"], rows["first_index"])
    )
    in_piece = pc.and_(
        pc.equal(rows["shard"], piece.tar.name),
        pc.and_(pc.greater_equal(rows["index"], piece.start), pc.less(rows["index"], piece.stop)),
    )
    return frozenset(rows.filter(pc.and_(is_first, in_piece))["index"].to_pylist())


def rows_of_kept(
    curation: Curation,
    piece: Piece,
    keep: str,
    row_of: Callable[[ImageIndex, int], dict[str, Any]],
    left_out: Callable[[], dict[str, Any]],
) -> list[dict[str, Any]]:
    """A row for each image of a piece, computed in one thread.

    Args:
        curation: what is curated.
        piece: the piece.
        keep: the hash of the keep-list.
        row_of: makes the columns of an image that stays, beside its number.
        left_out: makes those of any other.

    Raises:
        ShardError: If the piece's tar is missing or damaged.
        CurationError: If the keep-list is missing, damaged, or another one.
    """
    index = curation.index(piece.tar)
    stays = kept_images(curation.out, piece, keep)
    with one_thread():
        return [
            {"index": number, **(row_of(index, number) if number in stays else left_out())}
            for number in range(piece.start, piece.stop)
        ]


def _may_hold(group: object, piece: Piece) -> bool:
    """True unless the bounds of a row group leave all of a piece out."""
    columns = [group.column(number) for number in range(group.num_columns)]  # type: ignore[attr-defined]
    bounds = {column.path_in_schema: column.statistics for column in columns}
    shard, index = bounds["shard"], bounds["index"]
    if not (shard and shard.has_min_max and index and index.has_min_max):
        return True
    return bool(
        shard.min <= piece.tar.name <= shard.max
        and (shard.min != shard.max or (index.min < piece.stop and piece.start <= index.max))
    )
