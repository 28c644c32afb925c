"""Live conversations: pieces come first, then the words with what each looked at."""

from __future__ import annotations

import json

import pytest
from starlette.testclient import TestClient

from regiontok.jobs.chat.by_token import token_texts
from regiontok.system.arrays import unpacked
from regiontok.view.server import application
from regiontok.view.talking import Talking
from samples.viewer import collection_of, write_model, write_photo


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("talk")
    collection = collection_of([write_photo(folder / "a.png")])
    talking = Talking.open(collection, str(write_model(folder / "model")))
    talking.longest = 6
    app = application(collection, token="t", port=80, talking=talking)
    return TestClient(app, base_url="http://localhost", headers={"x-regiontok-token": "t"})


def asked(client, **content):
    body = {"item": 0, "talk": "one", "question": "What is it?", **content}
    response = client.post("/api/talk", json=body)
    return response, [json.loads(line) for line in response.text.splitlines()]


def test_an_answer_says_what_each_word_looked_at(client):
    assert client.get("/api/about").json()["talk"] is True
    _, lines = asked(client)
    *pieces, last = lines
    assert "".join(line["piece"] for line in pieces).strip() == "".join(last["words"]).strip()
    (picture,) = last["pictures"]
    (view,) = picture["views"]
    shares = unpacked(view["shares"])
    assert shares.shape == (len(last["words"]) + 1, 5)
    assert view["fixed"]["k"] == 5
    assert 0 < shares[-1].sum() <= unpacked(picture["visual"])[-1] + 1e-6 < 1
    _, again = asked(client)  # the conversation goes on
    assert again[-1]["words"]


@pytest.mark.parametrize(
    ("content", "status", "line"),
    [
        ({"item": 7}, 404, "no such photo"),
        ({"item": "0"}, 422, "item is a number"),
        ({"question": " "}, 422, "1 to 4000 characters"),
        ({"question": "x" * 4001}, 422, "1 to 4000 characters"),
        ({"question": "x" * 70_000}, 422, "too long"),
    ],
)
def test_a_wrong_question_is_one_line(client, content, status, line):
    response, lines = asked(client, **content)
    assert response.status_code == status
    assert line in lines[0]["error"]


def test_the_texts_of_tokens_are_the_answer_even_where_a_character_has_several():
    class Bytes:
        def decode(self, ids, skip_special_tokens):
            return bytes(one for one in ids if one < 256).decode(errors="replace")

    ids = [*"ré!".encode(), 300]
    assert token_texts(Bytes(), ids) == ["r", "", "é", "!", ""]
