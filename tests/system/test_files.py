"""A file or folder appears whole under its name, or not at all."""

from __future__ import annotations

import errno
import os
from functools import partial

import pytest

from regiontok.system.files import (
    UnwritableName,
    adding,
    clear_name_errors,
    replacing,
    replacing_shared,
)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("replace", [replacing, replacing_shared])
def test_a_file_takes_the_place_of_the_old_one_when_the_block_ends(tmp_path, replace):
    path = tmp_path / "report.json"
    path.write_text("old")
    with replace(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["report.json"]


@pytest.mark.parametrize("replace", [replacing, replacing_shared])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, replace):
    path = tmp_path / "report.json"
    path.write_text("old")

    def fail_half_way() -> None:
        with replace(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["report.json"]


def test_a_folder_takes_the_place_of_the_old_one_whole(tmp_path):
    folder = tmp_path / "tokens"
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    with replacing(folder) as temporary:
        temporary.mkdir()
        (temporary / "new.txt").write_text("new")
    assert names(folder) == ["new.txt"]
    assert names(tmp_path) == ["tokens"]


def test_what_a_killed_process_left_is_cleared_away(tmp_path):
    (tmp_path / ".tokens.part").mkdir()
    (tmp_path / ".tokens.part" / "half.txt").write_text("half")
    with replacing(tmp_path / "tokens") as temporary:
        temporary.mkdir()
    assert names(tmp_path) == ["tokens"]
    assert names(tmp_path / "tokens") == []


def test_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_end(tmp_path, monkeypatch):
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(handle: int) -> None:
        events.append(os.path.basename(os.readlink(f"/proc/self/fd/{handle}")))
        fsync(handle)

    def note_replace(source: os.PathLike[str], target: os.PathLike[str]) -> None:
        events.append("renamed")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    with replacing(tmp_path / "tokens") as temporary:
        temporary.mkdir()
        (temporary / "one.txt").write_text("one")
    assert set(events[:2]) == {"one.txt", ".tokens.part"}
    assert events[2:] == ["renamed", tmp_path.name]


def test_files_are_added_to_a_folder_and_the_one_that_speaks_for_them_comes_last(
    tmp_path, monkeypatch
):
    folder = tmp_path / "cat.jpg"
    moved: list[str] = []
    replace = os.replace

    def note_replace(source: os.PathLike[str], target: os.PathLike[str]) -> None:
        moved.append(os.path.basename(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", note_replace)
    with adding(folder, last="a.json") as temporary:
        (temporary / "a.json").write_text("of b and c")
        (temporary / "b.txt").write_text("old")
        (temporary / "c.txt").write_text("old")
    assert moved == ["cat.jpg"]  # a new folder appears whole
    (folder / "notes.txt").write_text("mine")
    with adding(folder, last="a.json", stale=["b.txt", "gone.txt"]) as temporary:
        (temporary / "a.json").write_text("of c and d")
        (temporary / "d.txt").write_text("new")
        assert names(folder) == [".part", "a.json", "b.txt", "c.txt", "notes.txt"]
    assert moved[1:] == ["d.txt", "a.json"]
    assert names(folder) == ["a.json", "c.txt", "d.txt", "notes.txt"]


def test_an_error_adds_nothing(tmp_path):
    (tmp_path / "b.txt").write_text("old")

    def fail_half_way() -> None:
        with adding(tmp_path, last="a.json", stale=["b.txt"]) as temporary:
            (temporary / "b.txt").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert names(tmp_path) == ["b.txt"]
    assert (tmp_path / "b.txt").read_text() == "old"


@pytest.mark.parametrize("name", ["file", "folder"])
def test_a_full_disk_names_what_was_written(tmp_path, name):
    (tmp_path / "folder").mkdir()
    writing = replacing if name == "file" else partial(adding, last="x")
    with (
        pytest.raises(OSError, match=f"No space left on device: .*{name}'"),
        writing(tmp_path / name),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as a write raises it
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == []


@pytest.mark.parametrize("replace", [replacing, replacing_shared])
@pytest.mark.parametrize("name", ["b" * 255, "画" * 85])
def test_a_name_may_be_as_long_as_any(tmp_path, replace, name):
    for text in ("one", "two"):
        with replace(tmp_path / name) as path:
            path.write_text(text)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "two"


def test_a_name_that_is_too_long_is_one_clear_error(tmp_path):
    path = tmp_path / ("b" * 256)
    with (
        pytest.raises(UnwritableName, match=r"b cannot be written \(File name too long\): rename"),
        clear_name_errors(path),
        replacing(path) as temporary,
    ):
        temporary.write_text("x")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(IsADirectoryError), clear_name_errors(path):
        tmp_path.read_bytes()
