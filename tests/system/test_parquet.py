"""Parquet files of ours come back, and whatever is wrong with one is a clear error."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from regiontok.system import need as needing
from regiontok.system import parquet
from regiontok.system.parquet import ParquetError, list_of, open_parquet, read_groups, write_parquet

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


def bomb(path, values, **options):
    table = pa.table({"name": values, "sizes": pa.array([[1]] * len(values), list_of(pa.int32()))})
    write_parquet(table, path, FORMAT, group_rows=len(values), metadata={}, **options)
    assert path.stat().st_size < 2**20


def test_a_small_file_that_claims_to_be_huge_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "MOST_BYTES", 2**20)
    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", lambda *_, **__: pytest.fail("read"))
    path = tmp_path / "bomb.parquet"
    for values, options in [
        (["a" * 2**22], {"use_dictionary": False}),  # one long text, compressed
        (["a" * 2**10] * 2**12, {}),  # a text that is stored once and stands 4,096 times
        (["a"] * 2**18, {}),  # many short ones
    ]:
        bomb(path, values, **options)
        with open_parquet(path, TABLE.schema, FORMAT) as file:
            message = r"bomb.parquet: \d+ bytes that claim to be"
            with pytest.raises(ParquetError, match=message):
                read_groups(file, path)


def test_what_repeats_within_bounds_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "MOST_BYTES", 2**18)
    path = tmp_path / "file.parquet"
    bomb(path, ["a" * 1000, "b"] + ["b"] * 5000)
    with open_parquet(path, TABLE.schema, FORMAT) as file:
        assert read_groups(file, path, columns=["name"]).num_rows == 5002
        with pytest.raises(ParquetError, match=r"corrupt \(it has 1 row groups\)"):
            read_groups(file, path, [1])


def test_texts_in_lists_are_counted_as_they_stand(tmp_path):
    path, texts = tmp_path / "file.parquet", [["x" * 100] * 10, [], ["y"] * 3]
    table = pa.table({"texts": pa.array(texts, list_of(pa.string()))})
    write_parquet(table, path, FORMAT, group_rows=3, metadata={})
    assert parquet._repeated_bytes(path, 0, "texts.list.element") == 1003


def test_an_encoding_that_is_not_ours_is_refused(tmp_path):
    path = tmp_path / "file.parquet"
    options = {"use_dictionary": False, "column_encoding": {"name": "DELTA_BYTE_ARRAY"}}
    bomb(path, ["a" * 100] * 100, **options)
    with (
        open_parquet(path, TABLE.schema, FORMAT) as file,
        pytest.raises(ParquetError, match="is encoded as DELTA_BYTE_ARRAY"),
    ):
        read_groups(file, path)
