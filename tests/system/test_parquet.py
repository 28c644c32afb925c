"""Parquet files of ours come back, and whatever is wrong with one is a clear error."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from regiontok.system import need as needing
from regiontok.system.parquet import ParquetError, list_of, open_parquet, write_parquet

FORMAT = "a test's format 1"
TABLE = pa.table(
    {"name": ["a", "b", "c"], "sizes": pa.array([[1, 2], [], [3]], list_of(pa.int32()))}
)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "file.parquet"
    write_parquet(TABLE, file, FORMAT, group_rows=2, metadata={"made": "here"})
    return file


def read(path, file_format=FORMAT, schema=TABLE.schema):
    with open_parquet(path, schema, file_format) as file:
        return file.read()


def test_a_table_comes_back_in_groups_with_its_metadata(path):
    assert read(path).equals(TABLE)
    with open_parquet(path, TABLE.schema, FORMAT) as file:
        assert file.num_row_groups == 2
        assert file.metadata.metadata[b"made"] == b"here"


def test_the_same_table_gives_the_same_bytes(path, tmp_path):
    write_parquet(TABLE, tmp_path / "again", FORMAT, group_rows=2, metadata={"made": "here"})
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_a_file_of_another_format_is_named(path):
    message = r"file.parquet: of the format \"a test's format 1\", expected 'format 2'"
    with pytest.raises(ParquetError, match=message):
        read(path, "format 2")


def test_a_file_that_somebody_else_wrote_is_named(tmp_path):
    pq.write_table(TABLE, tmp_path / "foreign.parquet")
    with pytest.raises(ParquetError, match=r"foreign.parquet: of the format 'none', expected"):
        read(tmp_path / "foreign.parquet")


def test_other_columns_are_named(path):
    with pytest.raises(ParquetError, match=r"corrupt \(it has other columns: name, sizes\)"):
        read(path, schema=TABLE.schema.remove(0))


@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_a_damaged_file_is_named(path, share):
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] ^= 0x55
    path.write_bytes(data)
    with pytest.raises(ParquetError, match=r"file\.parquet: "):
        read(path)


def test_a_file_that_is_cut_off_is_corrupt(path):
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ParquetError, match=r"file.parquet: corrupt \("):
        read(path)


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.parquet")


def test_an_error_of_the_reader_stays_what_it_is(path):
    with (
        pytest.raises(ValueError, match="the reader's own"),
        open_parquet(path, TABLE.schema, FORMAT),
    ):
        raise ValueError("the reader's own")


def test_without_pyarrow_the_extra_is_named(path, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(needing.importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"needs pyarrow.*regiontok\[store\]"):
        read(path)
