"""LLaVA's records are read as published, and what does not fit is set aside with its reason.

Generated scenes come in the same form.
"""

from __future__ import annotations

import json
import pickle
import unicodedata
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from regiontok.core.picture import PictureError
from regiontok.data.generated import QUESTIONS, Miniworld
from regiontok.data.record import Record, RecordError
from regiontok.data.records import open_picture, read, set_aside_notes, split
from regiontok.miniworld.scenes import make_scene
from regiontok.settings.recipe import Data


def talk(*texts: str) -> list[dict[str, str]]:
    return [
        {"from": "gpt" if turn % 2 else "human", "value": text} for turn, text in enumerate(texts)
    ]


GOOD = [
    {"id": "a", "image": "one.png", "conversations": talk("<image>\nWhat?", "red", "And?", "blue")},
    {"id": 7, "image": ["one.png", "two.png"], "conversations": talk("<image> or <image>?", "two")},
    {
        "id": "text",
        "conversations": [{"from": "system", "value": "Be brief."}, *talk("Hi", "Hello")],
    },
    {"id": "last", "image": "two.png", "conversations": talk("What is it?\n<image>", "green")},
]
BAD = [
    (
        {"id": "n", "image": "one.png", "conversations": talk("What?", "red")},
        "0 <image> in the conversation, but 1 images",
    ),
    (
        {"id": "m", "conversations": talk("<image><image>?", "red")},
        "2 <image> in the conversation, but 0 images",
    ),
    (
        {"id": "o", "conversations": talk("Hi", "Hello", "Bye")},
        "speakers do not alternate from user to assistant",
    ),
    ({"id": "p", "conversations": talk("Hi", " ")}, "an empty message of assistant"),
    ({"id": "q", "conversations": [{"from": "robot", "value": "x"}]}, "unknown speaker"),
    (
        {"id": "r", "image": "three.png", "conversations": talk("<image>", "x")},
        "image file is missing",
    ),
    (
        {"id": "s", "image": "../one.png", "conversations": talk("<image>", "x")},
        "image path leaves its folder",
    ),
    ({"id": "t", "conversations": talk("Hi", "an <image>")}, "<image> in a message of assistant"),
    (
        {"id": "u", "image": 3, "conversations": talk("<image>", "x")},
        "image is neither a path nor a list of paths",
    ),
    ({"id": "v"}, "not an object with a list of conversations"),
    ({"id": "w", "conversations": [{"value": 3}]}, "a message without from and value"),
    ([1, 2], "not an object with a list of conversations"),
    (
        {"id": "A", "video": "clip.mp4", "conversations": talk("<video>\nWhat?", "a dog")},
        "it has video, which is not trained on: name frames of it under images",
    ),
    (
        {"id": "B", "videos": ["a.mp4"], "conversations": talk("<image>\nWhat?", "a dog")},
        "it has video, which is not trained on",
    ),
    (
        {"id": "C", "audio": "a.wav", "conversations": talk("<audio>\nWhat?", "a word")},
        "it has audio, which is not trained on: write down what is said",
    ),
    (
        {"id": "D", "conversations": talk("<video> What?", "a dog")},
        "it begins with <video>, which is not trained on",
    ),
    (
        {"id": "D2", "conversations": talk("What happens here?\n<video>", "a dog")},
        "it holds <video>, which is not trained on",
    ),
    (
        {"id": "D3", "conversations": talk("Hear:\n<audio>\nWhat is it?", "a dog")},
        "it holds <audio>, which is not trained on",
    ),
    (
        {"id": "D4", "video_path": "v/1", "conversations": talk("What?", "a dog")},
        "it has video, which is not trained on",
    ),
    (
        {"id": "D5", "conversations": talk("Picture 1: <img>a/b.jpg</img>\nWhat?", "a dog")},
        "a message names its <img> in the text",
    ),
    (
        {
            "id": "D6",
            "media": {"x": [{"u": "http://a/b.PNG?w"}]},
            "conversations": talk("?", "a"),
        },
        "'media' names a file that is not read",
    ),
    (
        {"id": "D7", "photo": "data:image/png;base64,AA", "conversations": talk("?", "a")},
        "'photo' names a file that is not read",
    ),
    (
        {"id": "E", "img": "one.png", "conversations": talk("What?", "red")},
        "'img' names a file that is not read: images stand under image",
    ),
    (
        {"id": "F", "clips": ["x.MOV"], "conversations": talk("What?", "red")},
        "'clips' names a file that is not read",
    ),
    (
        {"id": "G", "image": "one.png", "images": ["one.png"], "conversations": talk("Hi", "x")},
        "both image and images: name all of them under one",
    ),
    (
        {"id": "H", "conversations": [{"from": "human", "value": "Hi", "images": ["one.png"]}]},
        "a message names images of its own",
    ),
    ({"id": "I", "conversations": talk("look \ud83d", "a dog")}, "half a character"),
    ({"id": "J", "conversations": talk("look", "a \udc00 dog")}, "half a character"),
    (
        {"id": "K", "image": "\ud83d.png", "conversations": talk("<image>", "x")},
        "image path is no file name",
    ),
]


@pytest.fixture
def folder(tmp_path):
    for name in ("one.png", "two.png"):
        Image.new("RGB", (8, 6), "red").save(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("lines", [False, True])
def test_published_files_are_read_and_what_does_not_fit_is_counted(folder, lines):
    rows = [*GOOD, *(row for row, _ in BAD)]
    path = folder / "data.json"
    path.write_text(
        "\n".join(map(json.dumps, rows)) + "\n\n" if lines else json.dumps(rows), encoding="utf-8"
    )
    records = read([Data(records=str(path))])
    assert [record.id for record in records] == ["a", "7", "text", "last"]
    assert records[1].images == (str(folder / "one.png"), str(folder / "two.png"))
    assert [turn.role for turn in records[2].turns] == ["system", "user", "assistant"]
    assert len(records) + len(records.set_aside) == len(rows)
    for (_, reason), refusal in zip(BAD, records.set_aside, strict=True):
        assert refusal.reason.startswith(reason)
    assert [refusal.number for refusal in records.set_aside] == list(range(4, 4 + len(BAD)))
    assert records.counts["not an object with a list of conversations"] == 2


def test_words_about_media_are_words():
    page = "Why is this wrong?\n<video>\n<source src=x>\n</video>"
    for question in (page, "What does the <video> tag do?", "Is a.png a picture?"):
        assert Record.of({"conversations": talk(question, "x")}).turns[0].text == question


def test_one_picture_stands_in_front_several_stay_where_they_are(folder):
    (folder / "data.json").write_text(json.dumps(GOOD), encoding="utf-8")
    records = read([Data(records=str(folder / "data.json"))])
    assert records[3].turns[0].text == "<image>\nWhat is it?"
    assert records[1].turns[0].text == "<image> or <image>?"


def test_images_may_stand_under_images(folder):
    row = {"images": ["one.png", "two.png"], "conversations": talk("<image> or <image>?", "two")}
    record = Record.of(row, folder=folder)
    assert record.images == (str(folder / "one.png"), str(folder / "two.png"))
    assert Record.of({"images": [], "conversations": talk("Hi", "x")}).images == ()


def test_what_is_set_aside_is_told_by_reason_with_the_first_record_of_each(folder):
    video, half = (
        next(row for row, _ in BAD if isinstance(row, dict) and row["id"] == name) for name in "AI"
    )
    (folder / "data.json").write_text(json.dumps([GOOD[0], half, video, video]), encoding="utf-8")
    records = read([Data(records=str(folder / "data.json"))])
    first, second = set_aside_notes(records.set_aside)
    assert first.startswith(f"2 records of {folder / 'data.json'} set aside: it has video, ")
    assert first.endswith("the first is 'A' (number 2)")
    assert second.endswith("the first is 'I' (number 1)")
    assert set_aside_notes(records.set_aside, most=1)[1] == (
        "1 more records are set aside for 1 other reasons"
    )
    (folder / "data.json").write_text(json.dumps([video]), encoding="utf-8")
    with pytest.raises(ValueError, match=r"no record that can be trained on: 1 record .*'A'"):
        read([Data(records=str(folder / "data.json"))])


def test_a_line_that_is_no_json_is_set_aside(folder):
    text = "\n".join([json.dumps(GOOD[2]), '{"id": ', json.dumps(GOOD[2])])
    (folder / "data.jsonl").write_text(text, encoding="utf-8")
    records = read([Data(records=str(folder / "data.jsonl"))])
    assert len(records) == 2
    assert [(refusal.number, refusal.reason) for refusal in records.set_aside] == [
        (1, "a line that is no JSON")
    ]


def test_sources_lie_one_after_the_other_and_survive_pickling(folder):
    (folder / "data.json").write_text(json.dumps(GOOD), encoding="utf-8")
    sources = [
        Data(records=str(folder / "data.json"), weight=0.5),
        Data(records="miniworld(3, size=64)"),
    ]
    records = pickle.loads(pickle.dumps(read(sources)))
    assert [(source.start, source.stop, source.weight) for source in records.sources] == [
        (0, 4, 0.5),
        (4, 7, 1.0),
    ]
    assert records.source_of(4).name == "miniworld(3, size=64)"
    assert records[4] == records[-3] == Record.of(Miniworld(3, size=64)[0])
    assert len(list(records)) == 7
    with pytest.raises(IndexError):
        records[7]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{]", "not a readable JSON file"),
        ('[{"id": 1}]', "no record that can be trained on.*conversations"),
        ("", "it is empty"),
    ],
)
def test_files_that_hold_nothing_are_refused(tmp_path, text, message):
    (tmp_path / "data.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read([Data(records=str(tmp_path / "data.json"))])


def test_sources_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no such file of records, and no generated source"):
        read([Data(records=str(tmp_path / "none.json"))])
    with pytest.raises(ValueError, match="no such folder of images"):
        read([Data(records=str(tmp_path / "none.json"), images=str(tmp_path / "none"))])
    with pytest.raises(ValueError, match="must be positive, not 0"):
        read([Data(records="miniworld(2)", weight=0.0)])
    with pytest.raises(ValueError, match="no source of records"):
        read([])


def test_split_holds_out_and_loses_nothing():
    records = read([Data(records="miniworld(20, size=64)")])
    train, held = split(records, 5, seed=3)
    assert sorted([*train, *held]) == list(range(20))
    assert np.array_equal(held, split(records, 5, seed=3)[1])
    assert len(held) == 5
    with pytest.raises(ValueError, match="20 of 20 records cannot be held out"):
        split(records, 20)


def test_scenes_answer_their_questions():
    """Every answer is checked against the scene's own truth."""
    kinds: Counter[str] = Counter()
    for row in Miniworld(40, start=100, size=64):
        scene = make_scene(int(row["id"].split("-")[1]), size=64, objects=(2, 6))
        assert np.array_equal(open_picture(row["image"]).pixels, scene.pixels)
        texts = [message["value"].removeprefix("<image>\n") for message in row["conversations"]]
        for question, answer in zip(texts[::2], texts[1::2], strict=True):
            words = question.rstrip("?").split()
            if question == "How many objects are there?":
                assert answer == str(len(scene.objects))
            elif question.startswith("What colour"):
                assert [item.colour for item in scene.objects if item.shape == words[-1]] == [
                    answer
                ]
            elif question.startswith("What shape"):
                assert [item.shape for item in scene.objects if item.colour == words[-2]] == [
                    answer
                ]
            else:
                there = (words[-2], words[-1]) in [
                    (item.colour, item.shape) for item in scene.objects
                ]
                assert answer == ("yes" if there else "no")
            kinds[answer] += answer in ("yes", "no")
    assert min(kinds["yes"], kinds["no"]) > 8


def test_a_kind_of_question_may_be_chosen_and_mistakes_are_named():
    row = Miniworld.of("miniworld(2, size=64, fewest=1, most=1, questions='colour')")[1]
    assert len(row["conversations"]) == 2
    assert row["conversations"][0]["value"].startswith("<image>\nWhat colour is the ")
    assert QUESTIONS == ("colour", "shape", "count", "presence")
    for text, message in {
        "miniworld": "missing a required argument: 'n'",
        "miniworld(2, sise=64)": "no parameter 'sise'.*did you mean 'size'",
        "miniworld('2')": "n must be int, not '2'",
        "miniworld(2, questions='color')": "unknown question 'color'",
        "miniworld(0)": "expected 1 to",
    }.items():
        with pytest.raises(ValueError, match=message):
            Miniworld.of(text)


def test_a_picture_that_is_none_is_a_picture_error(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(PictureError, match="not an image"):
        open_picture(str(tmp_path / "x.png"))
    with pytest.raises(RecordError, match="not an object"):
        Record.of(3)


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_an_accent_is_the_same_composed_and_decomposed(tmp_path, forms):
    listed, on_disk = (unicodedata.normalize(form, "été/café.png") for form in forms)
    (tmp_path / on_disk).parent.mkdir()
    (tmp_path / on_disk).write_bytes(b"")
    row = {"image": listed, "conversations": talk("<image>\nWhat?", "ok")}
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    records = read([Data(records=str(tmp_path / "rows.json"))])
    assert records[0].images == (str(tmp_path / on_disk),)
    assert not records.counts
