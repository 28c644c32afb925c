"""What a vLLM server does with fewer visual tokens: requests a second, first token, KV cache.

    python bench/vllm_serving.py                                          # on the CPU
    python bench/vllm_serving.py --size 7b --dtype bfloat16 --rounds 5    # the real shapes, a GPU
    python bench/vllm_serving.py --model mini-clustering --tokens 144 48  # a model's own

It runs in an environment with vLLM and regiontok (`make test-vllm` makes one). A Llama of random
weights is served as `regiontok export --as-lm` serves it (`--enable-prompt-embeds`, no prefix
caching); times do not depend on the weights. With `--model` it is the language model of a model
that sees. So many clients ask at once, each one request a round:
60 rows of text, so many visual tokens, an answer of 16 tokens, streamed. Pictures are random rows:
encoder and regions are not in it, `bench/llm.py` has them. In each round all numbers of tokens run
in turn, so that a busy machine slows all alike.

    requests/s   clients by the time from the first request to the last answer's end
    first token  median over the clients of a round: from sending to the first token
    processor    seconds of processor time of the server's processes, a request
    KV           the most that was used of the cache at once, in tokens, as the server says

The table shows medians over rounds, and in brackets how many times better than the most tokens.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from urllib import error, request

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from regiontok.model.mini import mini_tokenizer
from regiontok.serve.client import encoded
from regiontok.serve.language_model import write_language_model

TEXT = 60
# width, layers, heads, width inside
SIZES = {"100m": (768, 10, 12, 3072), "7b": (4096, 32, 32, 11008)}


def build(size: str, dtype: str, folder: Path) -> LlamaForCausalLM:
    """A Llama of random weights and a tokenizer, saved."""
    width, layers, heads, inner = SIZES[size]
    config = LlamaConfig(
        vocab_size=260 if size == "100m" else 32000,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=2048,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    torch.set_default_dtype(getattr(torch, dtype))
    model = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    mini_tokenizer().save_pretrained(folder)
    return model


def written(name: str, dtype: str, folder: Path) -> PreTrainedModel:
    """The language model of a model that sees, saved as `regiontok export --as-lm` does."""
    write_language_model(name, folder, dtype=dtype)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)


@contextmanager
def server(folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """The address of a vLLM server, and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["--model", folder, "--enable-prompt-embeds", "--no-enable-prefix-caching"]
    words += ["--dtype", options.dtype, "--max-model-len", "1024", "--port", port]
    words += ["--enforce-eager"] if options.eager else []
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words]
    names = {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "2"}
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            list(map(str, command)), stdout=file, stderr=file, env={**os.environ, **names}
        )
    address = f"http://127.0.0.1:{port}"
    try:
        while not answers(f"{address}/health"):
            if process.poll() is not None:
                raise SystemExit(f"the server did not start:\n{log.read_text()[-3000:]}")
            time.sleep(1)
        yield address, process.pid
    finally:
        process.terminate()
        process.wait()


def answers(address: str) -> bool:
    """True if a server is there."""
    try:
        with request.urlopen(address, timeout=5):
            return True
    except (OSError, error.URLError):
        return False


def ask(address: str, model: str, rows: str, new: int) -> tuple[float, float]:
    """Seconds to the first token, and to the end."""
    body = {
        "model": model,
        "prompt_embeds": rows,
        "max_tokens": new,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
    }
    message = request.Request(
        f"{address}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    start, first = time.perf_counter(), 0.0
    with request.urlopen(message, timeout=3600) as reply:
        for line in reply:
            if line.startswith(b"data: {") and not first:
                first = time.perf_counter() - start
    return first, time.perf_counter() - start


class CacheUse:
    """Samples how many tokens of a server's KV cache are in use, while it is open."""

    def __init__(self, address: str) -> None:
        self.address, self.most = address, 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> CacheUse:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(0.2):
            with request.urlopen(f"{self.address}/metrics", timeout=60) as reply:
                text = reply.read().decode()
            used = re.search(r"^vllm:kv_cache_usage_perc\{.*\} (\S+)$", text, re.M)
            blocks = re.search(r'num_gpu_blocks="(\d+)"', text)
            size = re.search(r'[{,]block_size="(\d+)"', text)
            if used and blocks and size:
                tokens = float(used[1]) * int(blocks[1]) * int(size[1])
                self.most = max(self.most, tokens)


def processor_seconds(pid: int) -> float:
    """Processor time of a process and all below it (Linux; 0 elsewhere)."""
    total, ticks = 0.0, os.sysconf("SC_CLK_TCK")
    for process in [pid, *children(pid)]:
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def children(pid: int) -> list[int]:
    """The processes below a process."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        below = [int(each) for task in tasks for each in (task / "children").read_text().split()]
    except OSError:
        return []
    return [*below, *(each for child in below for each in children(child))]


def one_round(address: str, pid: int, model: str, prompts: list[str], new: int) -> dict[str, float]:
    """The figures of one round of a number of tokens."""
    with CacheUse(address) as cache, ThreadPoolExecutor(len(prompts)) as clients:
        before, start = processor_seconds(pid), time.perf_counter()
        times = list(clients.map(lambda rows: ask(address, model, rows, new), prompts))
        wall, spent = time.perf_counter() - start, processor_seconds(pid) - before
    return {
        "requests_s": len(prompts) / wall,
        "first_s": median(first for first, _ in times),
        "processor_s": spent / len(prompts),
        "kv_tokens": cache.most,
    }


def table(rows: dict[int, dict[str, float]]) -> str:
    """The table in Markdown."""
    most = rows[max(rows)]
    lines = [
        "| visual tokens | requests/s | first token, s | processor, s a request | KV, tokens |",
        "| --- | --- | --- | --- | --- |",
    ]
    for count, row in rows.items():
        ratios = {
            name: (row[name] / most[name] if name == "requests_s" else most[name] / row[name])
            if row[name] and most[name]
            else 0.0
            for name in row
        }
        cells = " | ".join(f"{row[name]:.3g} ({ratios[name]:.2f}x)" for name in row)
        lines.append(f"| {count} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=[*SIZES], default="100m")
    parser.add_argument("--model", default="", help="serve this one's language model instead")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--tokens", type=int, nargs="+", default=[576, 257, 144, 124, 72])
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--new", type=int, default=16, help="tokens of an answer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--eager",
        action=argparse.BooleanOptionalAction,
        default=not torch.cuda.is_available(),
        help="without compiling; default: where there is no GPU",
    )
    options = parser.parse_args()
    figures: dict[int, list[dict[str, float]]] = {
        count: [] for count in sorted(options.tokens, reverse=True)
    }
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "lm"
        if options.model:
            model = written(options.model, options.dtype, folder)
        else:
            model = build(options.size, options.dtype, folder)
        parameters, dtype = model.num_parameters(), model.dtype
        spread = float(model.get_input_embeddings().weight.float().std())
        width = model.config.hidden_size
        del model

        def prompts(count: int) -> list[str]:
            shape = (TEXT + count, width)
            return [
                encoded((torch.randn(shape) * spread).to(dtype)) for _ in range(options.clients)
            ]

        with server(folder, options) as (address, pid):
            ask(address, str(folder), prompts(min(figures))[0], 2)  # warms up
            for _ in range(options.rounds):
                for count, rounds in figures.items():
                    sent = prompts(count)
                    rounds.append(one_round(address, pid, str(folder), sent, options.new))
    rows: dict[int, dict[str, Any]] = {
        count: {name: median(each[name] for each in rounds) for name in rounds[0]}
        for count, rounds in figures.items()
    }
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    what = f"the language model of {options.model}" if options.model else "a random Llama"
    print(
        f"{what}, {parameters / 1e6:.3g}M parameters, {options.dtype}, {device}; "
        f"{options.clients} clients, {TEXT} rows of text, {options.new} new tokens; medians of "
        f"{options.rounds} rounds\n"
    )
    print(table(rows), end="\n\n")
    machine = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "gpu": device if device != "CPU" else None,
    }
    versions = {"torch": torch.__version__, "parameters": parameters}
    print(
        json.dumps({"bench": "vllm_serving", **vars(options), "rows": rows, **machine, **versions})
    )


if __name__ == "__main__":
    main()
