"""A Ray task for each piece: Ray places them, orders them, and tries those again that are killed.

After: Ray 2.60, tasks (https://docs.ray.io/en/latest/ray-core/tasks.html).
Differs: not by Ray Data, which tries a piece that kills its worker for ever, hangs where that is
bounded, and gives up after 30 minutes without a block. Of Ray's defaults, the token stays on; usage
reports, requests to a cloud's metadata service and files outside a folder of ours are off.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import site
import socket
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from regiontok.curate.engines.engine import (
    KILLS,
    THREADS,
    TRIES,
    PieceJob,
    PieceTask,
    Work,
    attempt,
    next_task,
    use_one_thread,
)
from regiontok.curate.sources import CurationError
from regiontok.system.errors import first_line
from regiontok.system.need import need

WINDOW = 1000  # pieces that Ray knows of: enough for 1,000 cores, and 10,000 took 150 MB
PREFIX = "rt-"  # of the folder of a cluster that is started here
STARTS = 3  # Ray waits 30 seconds for itself, which on a busy machine may be too short
ANSWER = 10.0  # seconds in which a cluster must answer
# Ray asks a cloud's metadata service what it runs on, unless this file in the home says it; also
# where usage reports are switched off.
HOME_FILE = ("ray_bootstrap_config.yaml", "provider: {type: local}\n")


@dataclass(frozen=True)
class RayTasks:
    """Pieces as tasks of a Ray cluster; see `ray_cluster`.

    Attributes:
        ray: the module, connected to the cluster.
    """

    ray: Any

    def run(self, jobs: Sequence[PieceJob]) -> Iterator[tuple[PieceTask, str | None]]:
        """Do pieces, see `Engine`."""
        remotes = [self._remote(job) for job in jobs]
        # once, for each lists all tars
        works = [self.ray.put(job.work) for job in jobs]
        running: dict[Any, PieceTask] = {}
        under_way: Counter[int] = Counter()
        try:
            while True:
                while len(running) < WINDOW and (task := next_task(jobs, under_way)) is not None:
                    running[remotes[task.job].remote(works[task.job], task)] = task
                    under_way[task.job] += 1
                if not running:
                    return
                finished, _ = self.ray.wait(list(running), num_returns=1)
                for reference in finished:
                    task = running.pop(reference)
                    under_way[task.job] -= 1
                    yield task, self._error_of(reference)
        finally:
            for reference in running:
                self.ray.cancel(reference, force=True)

    def _remote(self, job: PieceJob) -> Any:
        """The attempt at a job's pieces as a function of Ray.

        A piece with a GPU does not end its process, as Ray has it by default: a model is loaded
        once. Where the cluster has no GPU, pieces ask for none, or they would wait for ever.
        """
        has_gpus = self.ray.cluster_resources().get("GPU", 0) > 0
        return self.ray.remote(
            num_cpus=1,
            num_gpus=job.gpus if has_gpus else 0,
            max_retries=TRIES - 1,
            max_calls=0,
            retry_exceptions=False,
        )(_attempt)

    def _error_of(self, reference: Any) -> str | None:
        """Why a piece cannot be done; None if it is.

        Raises:
            CurationError: If a worker does not have what the work needs.
            Exception: What `attempt` raises; see there.
        """
        errors = self.ray.exceptions
        try:
            error: str | None = self.ray.get(reference)
        except errors.RayTaskError as wrapped:
            if isinstance(wrapped.cause, errors.RayError):  # a worker cannot import the work
                raise CurationError(f"Ray: {first_line(wrapped.cause)}") from None
            raise wrapped.cause from None
        except (errors.WorkerCrashedError, errors.OutOfMemoryError, errors.NodeDiedError) as died:
            return f"{KILLS} ({type(died).__name__})"
        except errors.RayError as other:
            return f"{type(other).__name__}: {first_line(other)}"
        return error


def _attempt(work: Work, task: PieceTask) -> str | None:
    use_one_thread()  # a process that Ray uses again may have been told otherwise
    return attempt(work, task)


@contextmanager
def ray_cluster(address: str = "", workers: int = 0) -> Iterator[RayTasks]:
    """Connect to a cluster, or start one on this machine that ends with the block.

    Args:
        address: of a running cluster, whose token Ray finds in RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH
            or the home; "" starts one.
        workers: cores of a cluster that is started; 0 takes all.

    Raises:
        MissingPackage: If Ray is not installed.
        CurationError: If the cluster cannot be reached or does not start.
    """
    # read when Ray is imported, and by the processes that it starts
    settings = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_task_oom_retries": str(TRIES - 1)}
    with _environment(settings):
        ray = need("ray", extra="ray")
        with _reached(ray, address) if address else _started(ray, workers):
            yield RayTasks(ray)


@contextmanager
def _reached(ray: Any, address: str) -> Iterator[None]:
    """A cluster that runs already."""
    _answering(address)
    _init(ray, address=address, runtime_env={"env_vars": dict(THREADS)})
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _started(ray: Any, workers: int) -> Iterator[None]:
    """A cluster on this machine, all of whose files lie in one folder that is removed."""
    _clear_dead()
    # short: Ray's sockets have their paths in it
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    name, text = HOME_FILE
    (folder / name).write_text(text)
    home = {"HOME": os.environ.get("HOME", str(folder))}
    own_home = {"HOME": str(folder), "PYTHONUSERBASE": site.getuserbase()}
    token = os.environ.get("RAY_AUTH_TOKEN") or _token()
    try:
        with _environment({"RAY_AUTH_TOKEN": token}):
            with _environment(own_home):
                _init(
                    ray,
                    tries=STARTS,
                    num_cpus=workers or None,
                    include_dashboard=False,
                    _temp_dir=str(folder),
                    runtime_env={"env_vars": THREADS | home},
                )
            try:
                yield
            finally:
                ray.shutdown()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@cache
def _token() -> str:
    """The token of the clusters that this process starts: Ray reads it once a process."""
    return secrets.token_hex(32)


def _clear_dead() -> None:
    """Remove the folders of clusters whose driver was killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}[0-9]*-*"):
        process = folder.name.removeprefix(PREFIX).split("-")[0]
        if process.isdigit() and (folder / HOME_FILE[0]).is_file() and not _runs(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _answering(address: str) -> None:
    """Refuse host:port where nobody answers: Ray itself waits for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in host:  # "auto", or a URL
        return
    try:
        socket.create_connection((host, int(port)), ANSWER).close()
    except OSError as error:
        raise CurationError(f"no Ray cluster answers at {address} ({error})") from None


def _init(ray: Any, *, tries: int = 1, **options: Any) -> None:
    """Connect, quietly, and with SIGTERM in the hands in which it was: Ray takes it."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        for left in reversed(range(tries)):
            try:
                ray.init(log_to_driver=False, logging_level="error", **options)
                return
            except Exception as error:  # Ray raises errors of many classes here
                ray.shutdown()
                if not left:
                    raise CurationError(f"Ray: {first_line(error)}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Variables of the environment, for this process and those that it starts, for a while."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
