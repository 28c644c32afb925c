"""The server in a process of its own: two browsers at once, dropped connections, loopback alone."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlparse

import pytest

from regiontok.view.serve import PortInUse, serve
from samples.viewer import collection_of, write_photo
from samples.viewer_server import start_server

PANEL = "/api/items/0/panels/0"


def get(server, path, body=None):
    """The status and the content of one request with the token, by a connection of its own."""
    token = parse_qs(urlparse(server.address).query)["token"][0]
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    method = "GET" if body is None else "POST"
    connection.request(method, path, body, headers={"x-regiontok-token": token})
    response = connection.getresponse()
    return response.status, response.read()


def drop(server, path, body=b"", wait=False):
    """Ask for something, and hang up before it comes, or behind its first bytes."""
    token = parse_qs(urlparse(server.address).query)["token"][0]
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as connection:
        lines = [
            f"{'POST' if body else 'GET'} {path} HTTP/1.1",
            f"Host: 127.0.0.1:{server.port}",
            f"x-regiontok-token: {token}",
            f"Content-Length: {len(body)}",
        ]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        if wait:
            connection.recv(64)


@pytest.mark.slow
def test_two_browsers_and_dropped_connections(server):
    for _ in range(5):
        drop(server, PANEL)
    with ThreadPoolExecutor(6) as browsers:
        paths = [PANEL, "/api/items/1/panels/1/at/9", "/api/items/0/image/0"] * 4
        answers = list(browsers.map(lambda path: get(server, path), paths))
    assert {status for status, _ in answers} == {200}
    assert answers[0] == answers[3] == answers[6]
    assert json.loads(answers[1][1])["fixed"]["k"] == 9


@pytest.mark.slow
def test_a_page_that_goes_away_in_an_answer_holds_up_no_other(server):
    def asked(talk):
        return json.dumps({"item": 0, "talk": talk, "question": "What is it?"}).encode()

    drop(server, "/api/talk", asked("closed"), wait=True)
    drop(server, "/api/talk", asked("closed at once"))
    status, lines = get(server, "/api/talk", asked("another"))
    assert status == 200
    assert json.loads(lines.splitlines()[-1])["words"]


@pytest.mark.slow
def test_no_other_interface_answers(server):
    own = socket.gethostbyname(socket.gethostname())
    if own.startswith("127."):
        pytest.skip("this machine has no other address")
    with pytest.raises(OSError, match=r"refused|unreachable|timed out"):
        socket.create_connection((own, server.port), timeout=5)


def test_a_browser_can_come_as_soon_as_the_address_is_said(tmp_path):
    def come(address):
        with socket.create_connection(("127.0.0.1", urlparse(address).port), timeout=10):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        serve(collection_of([write_photo(tmp_path / "a.png")]), port=0, ready=come)


def test_a_port_that_is_taken_is_one_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=f"port {port} cannot be had .* --port 0"):
            serve(collection_of([write_photo(tmp_path / "a.png")]), port=port)


@pytest.mark.slow
def test_ctrl_c_ends_the_command_at_once(tmp_path):
    server = start_server(str(write_photo(tmp_path / "a.png")))
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(20) in (0, 130)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nowhere.jpg"], "nowhere.jpg: no such file or folder"),
        (["a.png", "--regions", "merg(1)"], "merg"),
        (["a.png", "--html", "a.html", "--model", "m"], "--html writes a page without a server"),
    ],
)
@pytest.mark.slow
def test_a_mistake_is_one_line(tmp_path, words, line):
    write_photo(tmp_path / "a.png")
    command = [sys.executable, "-m", "regiontok", "view", *words, "--no-browser"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert line in done.stderr
    assert "Traceback" not in done.stderr
