"""Pictures behind addresses are what the same bytes are in a file, and errors are short."""

from __future__ import annotations

import base64
import http.server
import io
import threading

import numpy as np
import pytest
from PIL import Image

from regiontok.core.addresses import bytes_at, bytes_of_base64, is_address
from regiontok.core.picture import Picture, PictureError
from regiontok.tokenizer.images import decode_image, decode_images


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


PHOTOS = {
    "transparent": png(Image.new("RGBA", (8, 6), (255, 0, 0, 0))),
    "16 bits": png(Image.fromarray(np.full((6, 8), 40000, np.uint16))),
    "colour": png(Image.new("RGB", (8, 6), (1, 2, 3))),
}


@pytest.fixture(scope="module")
def server():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            data = PHOTOS.get(self.path[1:].replace("%20", " "))
            self.send_response(200 if data else 404)
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *words):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("kind", PHOTOS)
def test_an_address_is_decoded_as_its_bytes(kind, server):
    data = PHOTOS[kind]
    addresses = [
        "data:image/png;base64," + base64.b64encode(data).decode(),
        "DATA:;base64," + base64.urlsafe_b64encode(data).decode().rstrip("="),
        f"{server}/{kind.replace(' ', '%20')}",
    ]
    for picture in decode_images(addresses):
        assert np.array_equal(picture.pixels, Picture.of(data).pixels)
        assert picture.key == Picture.of(data).key
        assert len(picture.name) <= 60


def test_what_cannot_be_fetched_or_decoded_is_one_short_error(server, monkeypatch):
    for address, message in [
        (f"{server}/absent.png", "404"),
        ("http://127.0.0.1:1/x.png", "cannot be fetched"),
        ("http://[", "cannot be fetched"),
        ("data:image/png;base64", "without a comma"),
        ("data:image/png;base64,=no=" + "!" * 5000, "base64 text cannot be read"),
        ("data:image/png;base64," + "A" * 5000, "not an image of a known format"),
        ("data:image/png;base64,", "empty"),
    ]:
        with pytest.raises(PictureError, match=message) as error:
            decode_image(address)
        assert len(str(error.value)) < 250
    monkeypatch.setattr("regiontok.core.addresses.MAX_BYTES", 20)
    with pytest.raises(PictureError, match="more than the 0 MiB"):
        decode_image(f"{server}/colour")


def test_base64_in_all_its_forms():
    assert bytes_of_base64("_-8") == bytes_of_base64("/+8=\n") == bytes_of_base64(b"/+8")
    assert bytes_at("data:,a%20b") == b"a b"
    assert not is_address("database.png")
    assert not is_address(b"data:,x")
    with pytest.raises(PictureError, match=r"has 8000 characters; a picture in base64"):
        decode_image("iVBO" * 2000)
