"""An attempt at a piece: what is named, what ends the run, and the sign of life meanwhile."""

from __future__ import annotations

import errno
import os
import sys
from types import SimpleNamespace

import pytest

from regiontok.curate.engines.engine import PieceTask, attempt, use_one_thread
from regiontok.curate.tars import CuratedTar, Piece
from regiontok.shards.tar import ShardError
from regiontok.system.need import need


@pytest.fixture
def task(tmp_path):
    piece = Piece(CuratedTar("a.tar", 0, 4), 0, 0, 4)
    return PieceTask(piece, tmp_path / "pieces" / "a.filter.00000.beat")


def raises(error):
    def work(piece):
        raise error

    return work


def test_a_file_says_that_a_piece_is_under_way(task):
    seen = []
    assert attempt(lambda piece: seen.append(task.heartbeat.exists()), task) is None
    assert (seen, task.heartbeat.exists()) == ([True], False)


def test_errors_become_words(task):
    assert attempt(raises(ShardError("a.tar: cut off")), task) == "a.tar: cut off"
    assert attempt(raises(KeyError("boxes")), task) == "KeyError: 'boxes'"
    denied = PermissionError(errno.EACCES, "Permission denied", "a.tar")
    assert attempt(raises(denied), task) == (
        "PermissionError: [Errno 13] Permission denied: 'a.tar'"
    )
    assert not task.heartbeat.exists()


def test_what_all_pieces_would_meet_ends_the_run(task):
    with pytest.raises(OSError, match="No space left"):
        attempt(raises(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))), task)
    with pytest.raises(ImportError, match=r"pip install 'regiontok\[curate\]'"):
        attempt(lambda piece: need("no_such_reader", extra="curate"), task)


def test_a_worker_computes_in_one_thread_what_it_imports_sooner_or_later(monkeypatch):
    told = []
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(set_num_threads=told.append))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "2")
    use_one_thread()
    assert (told, os.environ["OMP_NUM_THREADS"]) == ([1], "1")
