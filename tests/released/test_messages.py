"""Pictures inside messages, under each of their keys, and what is no message."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from regiontok.core.picture import Picture, PictureError
from regiontok.released.messages import Request, as_text, conversations_of, with_pictures

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8))
PIXELS = np.asarray(PHOTO)


def png() -> bytes:
    file = io.BytesIO()
    PHOTO.save(file, "png")
    return file.getvalue()


def asked(part) -> list[dict]:
    return [{"role": "user", "content": [part, {"type": "text", "text": "What?"}]}]


@pytest.mark.parametrize("key", ["image", "path", "url", "base64", "image_url", "nested"])
def test_a_picture_under_each_key(key, tmp_path):
    (tmp_path / "photo.png").write_bytes(png())
    text = base64.b64encode(png()).decode()
    address = f"data:image/png;base64,{text}"
    part = {
        "image": {"type": "image", "image": PHOTO},
        "path": {"type": "image", "path": str(tmp_path / "photo.png")},
        "url": {"type": "image", "url": address},
        "base64": {"type": "image", "base64": text},
        "image_url": {"type": "image_url", "image_url": address},
        "nested": {"type": "image_url", "image_url": {"url": address}},
    }[key]
    (messages,), ((picture,),) = with_pictures([asked(part)], image_token="<image>")
    assert np.array_equal(picture.pixels, PIXELS)
    assert messages[0]["content"] == [{"type": "image"}, {"type": "text", "text": "What?"}]
    texts, (source,) = as_text(asked(part), "<image>")
    assert texts == [{"role": "user", "content": "<image>\nWhat?"}]
    assert source is not None


def test_images_beside_messages_fill_the_parts_that_name_none():
    bare = {"type": "image"}
    named = {"type": "image", "image": PHOTO}
    other = Picture.of(np.zeros((4, 6, 3), np.uint8))
    third = Picture.of(np.full((4, 6, 3), 9, np.uint8))
    conversations = [asked(bare) + asked(named), [{"role": "user", "content": "<image>?"}]]
    _, pictures = with_pictures(conversations, [other, third], image_token="<image>")
    assert [[picture.key for picture in row] for row in pictures] == [
        [other.key, Picture.of(PHOTO).key],
        [third.key],
    ]
    with pytest.raises(ValueError, match="an image part of message 0 names no picture: give it"):
        with_pictures([asked(bare)], image_token="<image>")
    with pytest.raises(ValueError, match="2 images stand beside the messages, and 1 of them have"):
        with_pictures([asked(bare)], [other, third], image_token="<image>")


def test_base64_that_is_none_is_a_short_error():
    part = {"type": "image", "base64": "no base64 at all!" * 1000}
    with pytest.raises(PictureError, match="base64 text cannot be read") as error:
        with_pictures([asked(part)], image_token="<image>")
    assert len(str(error.value)) < 200


def test_what_is_no_message_is_refused():
    for wrong in ("What?", {"role": "user", "content": "What?"}, [], ["What?"]):
        with pytest.raises(ValueError, match="messages are a list of"):
            conversations_of(wrong)
    good = {"role": "user", "content": "What?"}
    with pytest.raises(ValueError, match="message 1 is no"):
        conversations_of([good, {"content": "What?"}])
    for content in (None, 3, ["What?"]):
        with pytest.raises(ValueError, match="the content of message 0 is a text or a list of"):
            conversations_of([{"role": "user", "content": content}])
    with pytest.raises(ValueError, match="of type 'text' or 'image', got 'video'"):
        as_text(asked({"type": "video", "path": "clip.mp4"}), "<image>")


def test_prompts_or_messages_and_not_both():
    good = [{"role": "user", "content": "What?"}]
    assert Request.of(good, None, None).messages == good
    beside = Request.of("photo.jpg", good, None)
    assert (beside.images, beside.prompts, beside.messages) == ("photo.jpg", None, good)
    assert Request.of(None, "What?", None).prompts == ["What?"]
    for prompts, messages in ((None, None), ("What?", good)):
        with pytest.raises(ValueError, match="give prompts"):
            Request.of(None, prompts, messages)
