"""One process at a time writes into an output folder, and a killed one blocks nothing."""

from __future__ import annotations

import errno
import os
import signal
import socket
from pathlib import Path

import pytest

from regiontok.system.lease import LEASE, FolderInUse, folder_lease


def test_a_second_holder_is_refused_and_told_who_holds_the_lease(tmp_path):
    out = tmp_path / "deep" / "out"
    with folder_lease(out):
        assert out.is_dir()
        with pytest.raises(FolderInUse, match="wait until that has ended") as refusal:
            folder_lease(out).__enter__()
    assert f"process {os.getpid()} on {socket.gethostname()}" in str(refusal.value)


def test_a_lease_that_ended_leaves_the_files_and_nothing_of_its_own(tmp_path):
    out = tmp_path / "out"
    with folder_lease(out):
        (out / "tokens.txt").write_text("tokens")
    assert [path.name for path in out.iterdir()] == ["tokens.txt"]
    with folder_lease(out):
        pass
    assert (out / "tokens.txt").exists()


def test_a_folder_that_was_made_for_nothing_is_removed(tmp_path):
    out, old = tmp_path / "out", tmp_path / "old"
    old.mkdir()
    for folder in (out, old):
        with pytest.raises(RuntimeError), folder_lease(folder):
            raise RuntimeError
    assert not out.exists()
    assert list(old.iterdir()) == []


def test_only_rank_0_holds_the_lease_of_a_run(tmp_path):
    with folder_lease(tmp_path / "out"), folder_lease(tmp_path / "out", rank=1):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_the_lease_falls_with_a_killed_holder_although_its_worker_lives(tmp_path):
    ready, say_ready = os.pipe()
    holder = os.fork()
    if not holder:
        with folder_lease(tmp_path):
            worker = os.fork()
            if not worker:
                signal.pause()
            os.write(say_ready, b"%d" % worker)
            signal.pause()
    worker = int(os.read(ready, 20))
    try:
        with pytest.raises(FolderInUse, match=f"process {holder} "):
            folder_lease(tmp_path).__enter__()
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        assert (tmp_path / LEASE).exists()
        with folder_lease(tmp_path):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_file_system_without_locks_is_said_and_stops_nothing(tmp_path, monkeypatch):
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    warned = pytest.warns(UserWarning, match="cannot be locked.*no other process writes")
    with warned, folder_lease(tmp_path):
        (tmp_path / "tokens.txt").write_text("tokens")
    assert [path.name for path in tmp_path.iterdir()] == ["tokens.txt"]


def test_a_lease_file_that_its_holder_removed_meanwhile_is_not_believed(tmp_path, monkeypatch):
    import fcntl

    lock, removed = fcntl.flock, []

    def lock_late(file: object, how: int) -> None:
        if not removed:  # the last holder ends between this one's opening and its locking
            removed.append(True)
            Path(tmp_path, LEASE).unlink()
        lock(file, how)  # type: ignore[arg-type]

    monkeypatch.setattr("fcntl.flock", lock_late)
    with folder_lease(tmp_path):
        assert (tmp_path / LEASE).exists()
        monkeypatch.setattr("fcntl.flock", lock)
        with pytest.raises(FolderInUse):
            folder_lease(tmp_path).__enter__()
