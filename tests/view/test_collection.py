"""What lies behind paths of each kind, and what is told of broken ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.data.collect import NoImages, collect
from regiontok.jobs.chat.command import ChatOutput, converse
from regiontok.jobs.chat.session import Chat
from regiontok.jobs.tokenize.command import tokenize
from regiontok.jobs.tokenize.tokenizer_set import TokenizerSet
from regiontok.maskstore.writer import MaskWriter
from regiontok.model.conversation import open_conversation_model
from regiontok.settings.recipe import TokenizerSettings
from regiontok.system.arrays import unpacked
from regiontok.view.library import Library
from samples.answers import write_run as write_answers
from samples.mask_stores import STRIPES
from samples.viewer import ENCODER, collection_of, write_model, write_photo, write_run


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    return write_photo(tmp_path_factory.mktemp("photos") / "a.png")


def tokenized(photo, out, specs=("merge(k=4)", "windows(9)"), **settings):
    tokenizers = TokenizerSet(TokenizerSettings(**{"encoder": ENCODER, **settings}), list(specs))
    assert [outcome.error for outcome in tokenize(tokenizers, collect([str(photo)]), out)] == [None]
    return out


def test_each_kind_of_path_is_known(tmp_path, photo):
    frames = tmp_path / "video.gif"
    stills = [Image.fromarray(np.full((20, 30, 3), 40 * i, np.uint8)) for i in range(3)]
    stills[0].save(frames, save_all=True, append_images=stills[1:])
    answers = write_answers(tmp_path / "answers", "pope", lambda question: "yes")
    (tmp_path / "talk.json").write_text("[]")
    run, out = write_run(tmp_path / "run"), tokenized(photo, tmp_path / "out")
    library = Library([photo, frames, answers, tmp_path / "talk.json", run, out])
    kinds = ["photo", "clip", "answers", "talk", "run", "output"]
    assert [item.kind for item in library.items] == kinds
    assert [item.name for item in Library([photo.parent], clips=True).items] == [photo.parent.name]
    assert Library([photo.parent], clips=True).items[0].kind == "clip"


def test_links_that_lead_outside_are_left_out_and_counted(tmp_path, photo):
    write_photo(tmp_path / "shown" / "own.png", 1)
    (tmp_path / "shown" / "link.png").symlink_to(photo)
    notes = []
    library = Library([tmp_path / "shown"], note=notes.append)
    assert [item.name for item in library.items] == ["own.png"]
    assert notes == ["1 link leads outside the folders that were named, and is left out"]


def test_nothing_to_look_at_is_an_error(tmp_path):
    with pytest.raises(NoImages, match="no images in this folder"):
        Library([tmp_path])


def test_a_tokenized_photo_has_a_panel_a_spec(tmp_path, photo):
    out = tokenized(photo, tmp_path / "out")
    alone = collection_of([out])
    assert "outside the folders that were named" in alone.item(0)["missing"]
    collection = collection_of([out, photo.parent])
    item = collection.item(0)
    assert [label["regions"] for label in item["panels"]] == ["merge(k=4)", "windows(9)"]
    assert "missing" not in item
    assert collection.panel(0, 0)["fixed"]["k"] == 4
    assert collection.panel(0, 1)["counted"] == 9
    with pytest.raises(KeyError):
        collection.panel(0, 2)
    next(out.rglob("merge*.regions.json")).write_text("{}")
    with pytest.raises(ValueError, match=r"merge.*regions\.json cannot be read"):
        collection.panel(0, 0)
    next(out.rglob("report.json")).write_text("[")
    with pytest.raises(ValueError, match=r"report\.json cannot be read; tokenize it again"):
        collection.item(0)


def test_a_photo_tokenized_in_tiles_has_a_panel_a_view(tmp_path, photo):
    out = tokenized(
        photo, tmp_path / "out", ["merge(k=4)"], encoder="filters(size=126)", tiles="1x2"
    )
    collection = collection_of([out, photo.parent])
    labels = [(one["regions"], one["view"]) for one in collection.item(0)["panels"]]
    assert labels == [("merge(k=4)", "whole image"), ("merge(k=4)", "tiles")]
    whole, tiles = (collection.panel(0, number) for number in (0, 1))
    assert (whole["fixed"]["k"], tiles["fixed"]["k"]) == (4, 4)
    assert whole["grid"] != tiles["grid"]
    assert whole["counted"] is None  # the report counts both views together


def test_a_photo_that_was_changed_since_is_not_shown_under_its_old_regions(tmp_path):
    photo = write_photo(tmp_path / "photos" / "a.png", 1)
    out = tokenized(photo, tmp_path / "out")
    write_photo(photo, 2)
    collection = collection_of([out, photo.parent])
    assert "was changed since it was tokenized" in collection.item(0)["missing"]


def test_a_store_shows_its_masks_and_lends_them_to_photos(tmp_path, photo):
    picture = Picture.of(photo)
    dense = np.zeros((2, *picture.size), bool)
    dense[0, :30], dense[1, 10:20, 10:20] = True, True
    with MaskWriter(tmp_path / "store", STRIPES) as writer:
        writer.add(picture.key, PixelMasks.from_dense(dense))
    collection = collection_of([tmp_path / "store", photo])
    assert collection.item(0)["keys"] == [picture.key]
    masks = collection.stored(0, picture.key)
    labels = unpacked(masks["labels"])
    assert (labels[0, 0], labels[15, 15], labels[45, 0]) == (0, 1, -1)  # the smaller one on top
    with pytest.raises(KeyError):
        collection.stored(0, "0" * 32)


def test_the_curves_of_a_run_and_of_a_broken_one(tmp_path):
    collection = collection_of([write_run(tmp_path / "run"), write_run(tmp_path / "broken")])
    content = collection.item(0)
    assert (content["what"], content["steps"]) == ("Training", 39)
    assert [curve["title"] for curve in content["curves"]] == ["Loss", "Exact answers"]
    (tmp_path / "broken" / "log.jsonl").write_text('{"kind": "step"}\nno json\n')
    with pytest.raises(ValueError, match="broken: its log cannot be read"):
        collection.item(1)
    (tmp_path / "broken" / "log.jsonl").unlink()
    with pytest.raises(ValueError, match="broken: its log cannot be read"):
        collection.item(1)


def test_answers_are_marked_and_have_the_pictures_of_their_benchmark(tmp_path):
    path = write_answers(tmp_path / "answers", "pope", lambda question: "yes")
    collection = collection_of([path], data=(tmp_path / "pope-data",))
    content = collection.item(0)
    marks = {answer["expected"][0]: answer["right"] for answer in content["answers"]}
    assert marks == {"yes": 1.0, "no": 0.0}
    assert all(answer["pictured"] and answer["parts"] for answer in content["answers"])
    assert collection.answer_picture(0, 0).size[0] > 0
    with pytest.raises(KeyError):
        collection.answer_picture(0, 999)
    without = collection_of([path])
    assert not any(answer["pictured"] for answer in without.item(0)["answers"])
    with pytest.raises(KeyError):
        without.answer_picture(0, 0)


def test_what_an_answer_looked_at_comes_with_it(tmp_path):
    model = open_conversation_model(str(write_model(tmp_path / "model")))
    path = write_answers(tmp_path / "answers", "pope", lambda question: "it is", looking=model)
    collection = collection_of([path])
    assert all(answer["attended"] for answer in collection.item(0)["answers"])
    content = collection.answer_attention(0, 2)
    assert content["words"] == ["it", " is"]
    with pytest.raises(KeyError):
        collection.answer_attention(0, 99)
    lines = (path / "attention.jsonl").read_text().splitlines(keepends=True)
    (path / "attention.jsonl").write_text("".join(lines[:-1]))  # read anew, as a run may go on
    assert [answer["attended"] for answer in collection.item(0)["answers"]].count(False) == 1
    (path / "attention.jsonl").unlink()
    assert not any(answer["attended"] for answer in collection.item(0)["answers"])
    with pytest.raises(KeyError):
        collection.answer_attention(0, 2)


def test_a_broken_run_of_answers_is_told(tmp_path):
    path = write_answers(tmp_path / "answers", "pope", lambda question: "yes")
    (tmp_path / "secret.jsonl").write_text("secret\n")
    collection = collection_of([path])
    (path / "attention.jsonl").symlink_to(tmp_path / "secret.jsonl")
    with pytest.raises(ValueError, match="outside the folders that were named"):
        collection.item(0)
    (path / "attention.jsonl").unlink()
    (path / "answers.jsonl").write_text("no head\n")
    with pytest.raises(ValueError, match="is no answer file"):
        collection.item(0)
    (path / "answers.jsonl").unlink()
    with pytest.raises(ValueError, match=r"holds no answers\.jsonl"):
        collection.item(0)


def test_a_saved_conversation_and_a_broken_one(tmp_path):
    looked = {
        "image": "a.png",
        "visual": 0.5,
        "regions": [{"region": 1, "share": 0.2, "box": [0, 0, 9, 9]}],
    }
    turn = {"question": "Colour?", "answer": "red", "stopped": False, "tokens": {"answer": 4}}
    path = tmp_path / "talk.json"
    path.write_text(json.dumps([{**turn, "attention": [looked]}]))
    content = collection_of([path]).item(0)
    shown = {**turn, "attention": [looked], "looked": None, "photos": []}
    assert content["turns"] == [shown]
    path.write_text('[{"question": 1}]')
    with pytest.raises(ValueError, match="no conversation that `regiontok chat` saved"):
        collection_of([path]).item(0)


def test_a_saved_conversation_shows_its_words_on_a_photo_that_is_named_beside_it(tmp_path, photo):
    chat = Chat(open_conversation_model(str(write_model(tmp_path / "model"))), longest=6)
    chat.show(photo)
    output = ChatOutput(lambda text: None, lambda table: None, tmp_path)
    converse(chat, ["What is it?", f"/save {tmp_path / 'talk.json'}"], output, strict=True)
    (turn,) = collection_of([tmp_path / "talk.json", photo]).item(0)["turns"]
    assert turn["looked"]["words"]
    assert "".join(turn["looked"]["words"]).strip() == turn["answer"]
    assert turn["looked"]["pictures"][0]["views"][0]["fixed"]["k"] == 5
    assert turn["photos"] == [1]
    other = write_photo(tmp_path / "other" / photo.name, 7)  # another picture of that name
    (turn,) = collection_of([tmp_path / "talk.json", other]).item(0)["turns"]
    assert turn["photos"] == [None]


def test_a_clip_has_one_tree_over_all_frames(tmp_path):
    frames = tmp_path / "frames"
    for number in range(3):
        write_photo(frames / f"{number}.png", 1)
    library = Library([frames], clips=True)
    collection = collection_of([frames])
    collection.library = library
    item = collection.item(0)
    assert item["frames"] == 3
    panel = collection.panel(0, 0)
    assert panel["grid"] == [3, 9, 9]
    assert len(unpacked(panel["tree"]["start"])) == 243
    assert panel["norms"]["shape"] == [243]
    assert collection.image(0, 2)[:2] == b"\xff\xd8"
