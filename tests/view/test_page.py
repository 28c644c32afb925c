"""The page in one file: whole, without the network, and safe from what names hold."""

from __future__ import annotations

import json
import re
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from regiontok.model.conversation import open_conversation_model
from regiontok.view.page import bundled, static_files, whole_page
from samples.answers import write_run as write_answers
from samples.viewer import collection_of, write_model, write_photo

HOSTILE = "</script><script>alert(1)</script>.png"


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("photos")
    (folder / "a b").mkdir()
    write_photo(folder / "a b" / HOSTILE.replace("/", "\N{FRACTION SLASH}"))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no photo")
    collection = collection_of([folder], regions=("merge(0.9)", "tome({k})"))
    return whole_page(collection, title="<b>figure</b>")


def answers_of(page: str) -> dict:
    text = re.search(
        r'<script type="application/json" id="answers">(.*?)</script>', page, re.DOTALL
    )
    assert text is not None
    return json.loads(text[1])


def test_it_refers_to_nothing_outside(page):
    assert re.findall(r"https?://|src=[\"']/|href=[\"']/|@import|//cdn", page) == []
    assert "default-src 'none'" in page
    assert "import {" not in page


def test_it_holds_what_the_server_would_answer(page):
    answers = answers_of(page)
    assert "broken.jpg" in answers["items/0"]["error"]
    assert answers["items/1/panels/0"]["tree"]["threshold"] == 0.9
    assert answers["items/1/image/0"].startswith("data:image/jpeg;base64,")
    assert answers["items/1/panels/1/at/16"]["fixed"]["k"] == 16
    assert "error" in answers["items/1/panels/1/at/256"]  # there are 64 patches


def test_answers_stand_in_it_with_their_attention_and_each_picture_once(tmp_path):
    model = open_conversation_model(str(write_model(tmp_path / "model")))
    path = write_answers(tmp_path / "answers", "pope", lambda question: "it is", looking=model)
    collection = collection_of([path], data=(tmp_path / "pope-data",))
    answers = answers_of(whole_page(collection, title="answers"))
    pictures = [answers[f"items/0/answers/{place}/image/0"] for place in range(6)]
    assert pictures[0].startswith("data:image/jpeg;base64,")
    assert pictures[1:] == [{"same": "items/0/answers/0/image/0"}] * 5
    assert answers["items/0/answers/5/attention"]["words"] == ["it", " is"]


def test_a_hostile_name_ends_no_script_and_makes_no_element(page):
    assert page.count("<script") == 2
    assert page.count("</script>") == 2
    assert "&lt;b&gt;figure" in page


def test_modules_share_one_space_of_names():
    declared = Counter(
        name
        for source in static_files().values()
        for name in re.findall(
            r"^(?:export )?(?:async )?(?:function|class|const|let) (\w+)", source.decode(), re.M
        )
    )
    assert [name for name, count in declared.items() if count > 1] == []


def test_every_module_is_in_the_bundle():
    sources = {name: data.decode() for name, data in static_files().items()}
    script = bundled(sources)
    for name, source in sources.items():
        if name.endswith(".js"):
            first = re.search(r"^export (?:async )?(?:function|class|const) (\w+)", source, re.M)
            assert first is None or first[1] in script, name
    assert re.findall(r"^(import|export)\b", script, re.M) == []


@pytest.mark.slow
def test_the_wheel_holds_the_page(tmp_path):
    from hatchling.builders.wheel import WheelBuilder

    root = Path(__file__).parents[2]
    wheel = next(WheelBuilder(str(root)).build(directory=str(tmp_path)))
    names = zipfile.ZipFile(wheel).namelist()
    for name in (*static_files(), "shell.html"):
        assert f"regiontok/view/static/{name}" in names
