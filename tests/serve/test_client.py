"""The client of a server of rows, asked of a server that notes what it gets."""

from __future__ import annotations

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch

pytest.importorskip("transformers")

from regiontok.model.mini import mini_tokenizer
from regiontok.model.processor import RegionVLMProcessor
from regiontok.serve.client import ServedLanguageModel, ServerRefusal, with_rows
from regiontok.serve.language_model import write_language_model
from regiontok.serve.prompt_rows import PromptWriter, UnusablePrompt
from regiontok.serve.row_checks import UnusableRows
from regiontok.settings.recipe import TokenizerSettings
from samples.models import mini_vlm

ASKED = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("client")
    mini_vlm(TokenizerSettings(encoder="filters(size=56)")).save_pretrained(folder / "whole")
    RegionVLMProcessor(mini_tokenizer()).save_pretrained(folder / "whole")
    write_language_model(str(folder / "whole"), folder / "lm", dtype="float32")
    return PromptWriter(folder / "lm")


@pytest.fixture
def server():
    """A server whose answers are set, and whose requests are kept."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.asked.append((self.path, json.loads(body), self.headers))
            code, content = self.server.answer
            content = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(code)
            self.end_headers()
            self.wfile.write(
                content if isinstance(content, bytes) else json.dumps(content).encode()
            )

        def log_message(self, *_):
            pass

    http = HTTPServer(("127.0.0.1", 0), Handler)
    http.asked, http.answer = (
        [],
        (200, {"choices": [{"text": " red", "message": {"content": "r"}}]}),
    )
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield http
    http.shutdown()
    http.server_close()


def address(server) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def decoded(text: str) -> torch.Tensor:
    return torch.load(io.BytesIO(base64.b64decode(text)), weights_only=True)


def test_a_completion_sends_every_row(writer, server):
    image = torch.randn(5, writer.width)
    model = ServedLanguageModel(address(server), writer, model="m", key="secret")
    assert model.complete(ASKED, [image], new=7, logit_bias={5: 1}) == " red"
    path, body, headers = server.asked[0]
    assert (path, headers["Authorization"]) == ("/v1/completions", "Bearer secret")
    rows = decoded(body.pop("prompt_embeds"))
    assert torch.equal(rows, writer.every_row(writer.prompt(ASKED, [image])))
    assert body == {
        "model": "m",
        "max_tokens": 7,
        "temperature": 0.0,
        "logit_bias": {"3": -100.0, "5": 1},
    }


def test_a_chat_sends_tokens_as_parts(writer, server):
    image = torch.randn(5, writer.width).bfloat16()
    assert ServedLanguageModel(address(server), writer).chat(ASKED, [image]) == "r"
    path, body, _ = server.asked[0]
    content = body["messages"][0]["content"]
    assert path == "/v1/chat/completions"
    assert torch.equal(decoded(content[0]["data"]), image)
    assert [part["type"] for part in content] == ["prompt_embeds", "text"]


def test_refusals_are_one_clear_line(writer, server):
    model = ServedLanguageModel(address(server), writer)
    image = torch.ones(2, writer.width)
    for answer, message in (
        ((400, {"error": {"message": "too\nlong"}}), "completions answers 400: too long"),
        ((500, b""), "answers 500: no reason"),
        ((200, b"<html>"), "something else than a JSON object"),
        ((200, {"choices": []}), "answers without a choice"),
    ):
        server.answer = answer
        with pytest.raises(ServerRefusal, match=message):
            model.complete(ASKED, [image])
    with pytest.raises(ServerRefusal, match=r"no server answers at http://127\.0\.0\.1:9"):
        ServedLanguageModel("http://127.0.0.1:9", writer).complete(ASKED, [image])
    with pytest.raises(ValueError, match="begins with http"):
        ServedLanguageModel("file:///etc", writer)


def test_nothing_is_sent_that_a_server_would_misread(writer, server):
    model = ServedLanguageModel(address(server), writer)
    image = torch.ones(2, writer.width)
    for call in (model.complete, model.chat):
        with pytest.raises(UnusableRows, match="not finite"):
            call(ASKED, [image * torch.inf])
        with pytest.raises(UnusableRows, match="expected floating point"):
            call(ASKED, [image.int()])
        with pytest.raises(UnusableRows, match=r"expected \[k, 24\]"):
            call(ASKED, [image[:, 1:]])
        with pytest.raises(UnusablePrompt, match="the language model takes 2048"):
            call(ASKED, [image], new=2040)
    with pytest.raises(UnusablePrompt, match="by which the server marks rows"):
        with_rows([{"role": "user", "content": "<prompt_embeds>"}], [])
    with pytest.raises(UnusablePrompt, match="1 of 1 pictures have no part"):
        with_rows([{"role": "user", "content": "Hi"}], [image])
    with pytest.raises(UnusablePrompt, match="has no picture"):
        with_rows(ASKED, [])
    assert not server.asked
