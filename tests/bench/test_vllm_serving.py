"""bench/vllm_serving.py against a server that answers as vLLM does; vLLM itself is not run here."""

from __future__ import annotations

import importlib.util
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("transformers")

METRICS = """\
# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:cache_config_info{block_size="32",cache_dtype="auto",num_gpu_blocks="40"} 1.0
"""


class Answering(BaseHTTPRequestHandler):
    """Streams two pieces of text, and says how full its cache is."""

    asked: list[dict] = []  # noqa: RUF012 - of all requests

    def do_GET(self):
        self._send(METRICS)

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        self.asked.append(json.loads(self.rfile.read(length)))
        self._send('data: {"choices": []}\n\ndata: {"choices": []}\n\ndata: [DONE]\n\n')

    def _send(self, text):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *words):
        """Say nothing."""


@pytest.fixture
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def bench():
    place = Path(__file__).parents[2] / "bench" / "vllm_serving.py"
    spec = importlib.util.spec_from_file_location("vllm_serving", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_round_asks_once_for_each_prompt_and_reads_the_cache(bench, address):
    Answering.asked.clear()
    assert bench.answers(f"{address}/health")
    assert not bench.answers("http://127.0.0.1:1/health")
    with bench.CacheUse(address) as cache:
        while not cache.most:
            time.sleep(0.05)
    assert cache.most == 0.25 * 40 * 32
    row = bench.one_round(address, os.getpid(), "m", ["a", "b", "c"], 16)
    assert sorted(each["prompt_embeds"] for each in Answering.asked) == ["a", "b", "c"]
    assert all(each["max_tokens"] == 16 and each["stream"] for each in Answering.asked)
    assert row["requests_s"] > 0
    assert 0 < row["first_s"] < 60


def test_the_table_compares_with_the_most_tokens(bench):
    base = {"requests_s": 2.0, "first_s": 4.0, "processor_s": 1.0, "kv_tokens": 1000.0}
    fewer = {"requests_s": 5.0, "first_s": 1.0, "processor_s": 0.5, "kv_tokens": 0.0}
    lines = bench.table({576: base, 124: fewer}).splitlines()
    assert lines[2] == "| 576 | 2 (1.00x) | 4 (1.00x) | 1 (1.00x) | 1e+03 (1.00x) |"
    assert lines[3] == "| 124 | 5 (2.50x) | 1 (4.00x) | 0.5 (2.00x) | 0 (0.00x) |"
