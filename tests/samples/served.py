"""vLLM in an environment of its own, as the tests start it."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib import error, request

PYTHON = Path(os.environ.get("REGIONTOK_VLLM_ENV", "nowhere")) / "bin" / "python"
# of the two, pip's torchvision wants a torch for CUDA
HAS_TORCHVISION = any(PYTHON.parent.parent.glob("lib/python*/site-packages/torchvision"))
NO_VLLM = "REGIONTOK_VLLM_ENV names no environment (make test-vllm makes one)"
START_SECONDS = 900  # on a busy machine an engine needs minutes
# prompts are read in pieces of 64 tokens, and blocks of 32 are kept for other prompts
ENGINE = {
    "dtype": "float32",
    "enforce_eager": True,
    "max_model_len": 512,
    "max_num_batched_tokens": 64,
    "max_num_seqs": 16,
    "block_size": 32,
    "enable_prefix_caching": True,
    "seed": 0,
}


def environment() -> dict[str, str]:
    """What keeps vLLM small, quiet and off the network."""
    names = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    return names | {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        # one thread, bound to no core: the models are tiny, and other tests run beside them
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CACHE_ROOT": str(PYTHON.parent.parent / "cache"),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }


def run_script(script: str, folder: Path, *words: Any) -> str:
    """What a script prints that runs in vLLM's environment.

    Raises:
        AssertionError: With the end of its output, if it fails.
    """
    place = folder / "script.py"
    place.write_text(script)
    run = subprocess.run(
        [str(PYTHON), str(place), *map(str, words)],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert run.returncode == 0, (run.stdout + run.stderr)[-4000:]
    return run.stdout


def engine_words() -> list[str]:
    """The options of a server that make its engine that of the tests."""
    words = []
    for name, value in ENGINE.items():
        words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return words


@contextmanager
def running_server(model: Path, folder: Path, words: Sequence[Any] = ()) -> Iterator[str]:
    """The address of a vLLM server of a model; its log is shown if it does not start."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", model]
    command += [*engine_words(), "--enable-prompt-tokens-details", *words]
    command += ["--host", "127.0.0.1", "--port", port]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            list(map(str, command)),
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(),
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/health", process, folder / "log")
        yield address
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(START_SECONDS):
        try:
            with request.urlopen(address, timeout=5):
                return
        except (OSError, error.URLError):
            assert process.poll() is None, log.read_text()[-20000:]
            time.sleep(1)
    raise AssertionError(f"the server did not start:\n{log.read_text()[-20000:]}")
