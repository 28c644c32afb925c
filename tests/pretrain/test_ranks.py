"""What the processes of a run tell each other."""

from __future__ import annotations

import multiprocessing
import os
import socket

import pytest
import torch

from regiontok.pretrain import ranks as ranks_module
from regiontok.pretrain.checkpoint import Checkpoints
from regiontok.pretrain.options import PretrainOptions
from regiontok.pretrain.ranks import Ranks, default_workers, join_ranks
from regiontok.runs.checkpoints import CheckpointFolder


def of_one(rank: int, folder, queue) -> None:
    """What a process of two hears from the first."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": (folder / "port").read_text()}
    with join_ranks("cpu", timeout=1.0) as ranks:
        heard = [ranks.from_first(lambda: f"{rank}, ünd so weiter")]

        def fail() -> str:
            raise ValueError(f"no shard in process {rank}")

        try:
            ranks.from_first(fail)
        except Exception as error:
            heard.append(f"{type(error).__name__}: {error}")
        # each process sees another folder: the first one's checkpoints are what counts
        checkpoints = Checkpoints(CheckpointFolder(folder / f"rank{rank}", "step"), ranks, {})
        try:
            checkpoints.load_last({})
        except Exception as error:
            heard.append(str(error))
    queue.put((rank, heard))


def test_all_processes_do_what_the_first_one_finds(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (tmp_path / "port").write_text(str(free.getsockname()[1]))
    (tmp_path / "rank0" / "step-7").mkdir(parents=True)
    (tmp_path / "rank1").mkdir()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=of_one, args=(rank, tmp_path, queue)) for rank in range(2)]
    for process in processes:
        process.start()
    heard = dict(queue.get(timeout=20) for _ in processes)
    for process in processes:
        process.join(10)
    assert heard[0][0] == heard[1][0] == "0, ünd so weiter"
    assert heard[0][1] == "ValueError: no shard in process 0"
    assert heard[1][1] == "FirstProcessFailed: no shard in process 0"
    assert "process 1 does not see the checkpoint of step 7" in heard[1][2]


def test_one_process_asks_itself():
    ranks = Ranks(0, 1, torch.device("cpu"))
    assert ranks.from_first(lambda: "it") == "it"


def test_readers_are_the_cores_of_a_rank_but_one_on_a_gpu(monkeypatch):
    monkeypatch.setattr(ranks_module.os, "sched_getaffinity", lambda process: set(range(16)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert default_workers(torch.device("cuda")) == 3
    assert default_workers(torch.device("cpu")) == 0
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert default_workers(torch.device("cuda")) == 1


def test_a_timeout_is_above_nothing():
    with pytest.raises(ValueError, match="timeout is a number of minutes above 0, not 0"):
        PretrainOptions(timeout=0)
