"""Files on disk and in a store: the same answers, parts read together, failures tried again."""

from __future__ import annotations

import errno

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from regiontok.system import storage
from regiontok.system.need import MissingPackage
from regiontok.system.storage import (
    StorageError,
    child,
    file_bytes,
    listing,
    opened,
    read_file,
    read_parts,
)

CONTENT = bytes(range(200))


class FlakyFileSystem(MemoryFileSystem):
    """A store in memory that fails so many times before it answers."""

    protocol = "flaky"
    failures = 0
    asked = 0
    store: dict = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012

    def cat_file(self, path, start=None, end=None, **kwargs):
        FlakyFileSystem.asked += 1
        if FlakyFileSystem.failures:
            FlakyFileSystem.failures -= 1
            raise TimeoutError("the store is busy")
        return super().cat_file(path, start, end, **kwargs)


fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)


@pytest.fixture(params=["disk", "memory", "file", "flaky"])
def folder(request, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "FIRST_WAIT", 0.0)
    FlakyFileSystem.failures = 2 if request.param == "flaky" else 0
    place = {
        "disk": tmp_path,
        "file": f"file://{tmp_path}",
    }.get(request.param, f"{request.param}://{tmp_path.name}")
    if isinstance(place, str):
        fsspec.filesystem(request.param).pipe(f"{place}/a.tar", CONTENT)
    else:
        (tmp_path / "a.tar").write_bytes(CONTENT)
    return place


def test_a_file_is_read_alike_wherever_it_lies(folder):
    place = child(folder, "a.tar")
    assert listing(folder) == {"a.tar": 200}
    assert (read_file(place), file_bytes(place)) == (CONTENT, 200)
    assert read_parts(place, [(190, 50), (3, 2), (0, 4)]) == [
        CONTENT[190:],
        CONTENT[3:5],
        CONTENT[:4],
    ]
    with opened(place) as file:
        file.seek(5)
        assert file.read(2) == CONTENT[5:7]
    assert listing(child(folder, "none")) == {}
    with pytest.raises(FileNotFoundError):
        read_file(child(folder, "b.tar"))


def test_parts_that_lie_together_are_one_request(monkeypatch):
    fsspec.filesystem("flaky").pipe("flaky://many/a", bytes(200_000))
    FlakyFileSystem.failures = FlakyFileSystem.asked = 0
    parts = read_parts("flaky://many/a", [(10, 5), (100, 5), (150_000, 5), (50, 100)])
    assert [len(part) for part in parts] == [5, 5, 5, 100]
    assert FlakyFileSystem.asked == 2


def test_a_store_that_never_answers_is_named(monkeypatch):
    monkeypatch.setattr(storage, "FIRST_WAIT", 0.0)
    fsspec.filesystem("flaky").pipe("flaky://busy/a", CONTENT)
    FlakyFileSystem.failures = 99
    message = r"flaky://busy/a: cannot be read, tried 4 times \(the store is busy\)"
    with pytest.raises(StorageError, match=message):
        read_parts("flaky://busy/a", [(0, 5)])
    with pytest.raises(StorageError, match="Protocol not known"):
        read_file("nonsense://a/b")
    assert FlakyFileSystem.failures == 95


def test_a_disk_that_fails_once_is_asked_again(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "FIRST_WAIT", 0.0)
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    errors = [OSError(errno.EIO, "Input/output error")] * 2
    pread = storage.os.pread

    def failing(handle, length, start):
        if errors:
            raise errors.pop()
        return pread(handle, length, start)

    monkeypatch.setattr(storage.os, "pread", failing)
    assert read_parts(path, [(0, 3)]) == [CONTENT[:3]]
    errors += [OSError(errno.EIO, "Input/output error")] * 9
    with pytest.raises(StorageError, match=r"a: cannot be read, tried 4 times \(Input/output"):
        read_parts(path, [(0, 3)])


def test_a_store_whose_package_is_missing_is_named(monkeypatch):
    def missing(url):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(MissingPackage, match=r"s3://b/a: Install s3fs .*regiontok\[s3\]"):
        read_file("s3://b/a")
