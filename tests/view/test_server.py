"""The viewer's server: who may ask, what is answered, and how mistakes are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from regiontok.view.guard import HEADERS
from regiontok.view.server import application
from samples.viewer import collection_of, write_photo

TOKEN, PORT = "a-token", 8765
HOME = f"http://127.0.0.1:{PORT}"


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_photo(folder / "a.png", 1)
    write_photo(folder / "b" / "<img src=x onerror=alert(1)>.png", 2)
    return folder


@pytest.fixture(scope="module")
def app(photos):
    return application(collection_of([photos]), token=TOKEN, port=PORT)


@pytest.fixture
def client(app):
    """A browser that has opened the address with the token."""
    client = TestClient(app, base_url=HOME)
    client.get(f"/?token={TOKEN}")
    return client


def test_without_the_token_nothing_is_answered(app):
    client = TestClient(app, base_url=HOME)
    for path in ("/", "/static/app.js", "/api/about", "/api/items/0", "/?token=another"):
        response = client.get(path)
        assert response.status_code == 403
        assert "open the whole address" in response.text
    assert client.get("/api/about", headers={"x-regiontok-token": TOKEN}).status_code == 200


def test_the_token_goes_from_the_address_into_a_cookie(app):
    client = TestClient(app, base_url=HOME, follow_redirects=False)
    response = client.get(f"/?token={TOKEN}")
    assert (response.status_code, response.headers["location"]) == (303, "/")
    cookie = response.headers["set-cookie"]
    assert f"regiontok-{PORT}={TOKEN}" in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "regiontok" in client.get("/").text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1:80", ""])
def test_another_host_is_refused_even_with_the_token(client, host):
    response = client.get("/api/about", headers={"host": host})
    assert response.status_code == 403
    assert "127.0.0.1 and localhost alone" in response.text


def test_pages_of_other_sites_are_refused_and_our_own_are_not(client):
    assert client.get("/api/about", headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get("/api/about", headers={"origin": "null"}).status_code == 403
    assert client.get("/api/about", headers={"origin": HOME}).status_code == 200


def test_every_answer_has_the_security_headers(client):
    for path in ("/", "/static/app.js", "/api/about", "/api/items/0/thumbnail", "/nothing"):
        headers = client.get(path).headers
        assert {name: headers[name] for name in HEADERS} == HEADERS
    assert "default-src 'self'" in HEADERS["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/items/99", "/api/items/0/panels/9", "/api/items/-1", "/api/items/0/image/7",
        "/static/shell.html", "/static/..%2f..%2fserver.py", "/static/%2e%2e/server.py",
        "/api/items/..%2f..%2fetc%2fpasswd", "/api/items/0/masks/abc", "/api/talk",
    ],
)  # fmt: skip
def test_what_is_not_there_is_not_found(client, path):
    response = client.get(path)
    assert response.status_code == 404
    assert "root:" not in response.text


def test_pictures_and_panels_come_by_number(client):
    items = client.get("/api/about").json()["items"]
    assert [kind for kind, _ in items] == ["photo", "photo"]
    assert items[1][1] == "b/<img src=x onerror=alert(1)>.png"  # the page sets it as text
    image = client.get("/api/items/0/image/0")
    assert image.headers["content-type"] == "image/jpeg"
    assert image.content[:2] == b"\xff\xd8"
    panel = client.get("/api/items/0/panels/0").json()
    features = client.get("/api/items/0/panels/0/features").content
    patches = np.prod(panel["grid"])
    assert len(features) == 2 * patches * panel["width"]
    assert client.get("/api/items/0/panels/0/logits").status_code == 422  # filters names nothing


def test_a_vanished_photo_is_one_line_and_the_server_lives_on(tmp_path):
    path, other = write_photo(tmp_path / "gone.png"), write_photo(tmp_path / "stays.png", 3)
    app = application(collection_of([path, other]), token=TOKEN, port=PORT)
    client = TestClient(app, base_url=HOME, headers={"x-regiontok-token": TOKEN})
    path.unlink()
    response = client.get("/api/items/0")
    assert response.status_code == 422
    assert "gone.png" in response.json()["error"]
    assert "\n" not in response.json()["error"]
    assert client.get("/api/items/0/thumbnail").status_code == 422
    assert client.get("/api/items/1").status_code == 200


def test_a_link_that_is_put_in_the_place_of_a_photo_does_not_lead_outside(tmp_path):
    secret = write_photo(tmp_path / "secret.png")
    photo = write_photo(tmp_path / "shown" / "a.png", 1)
    app = application(collection_of([tmp_path / "shown"]), token=TOKEN, port=PORT)
    client = TestClient(app, base_url=HOME, headers={"x-regiontok-token": TOKEN})
    photo.unlink()
    photo.symlink_to(secret)
    response = client.get("/api/items/0/image/0")
    assert response.status_code == 422
    assert "outside the folders that were named" in response.json()["error"]


def test_questions_are_refused_where_no_model_was_named(client):
    assert client.post("/api/talk", json={}).status_code == 404
