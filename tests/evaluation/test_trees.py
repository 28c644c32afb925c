"""Tables, charts and documents against recorded outputs of OCRBench v2's own script."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

from regiontok.evaluation import trees
from regiontok.system.need import MissingPackage

RECORDED = Path(__file__).parents[1] / "samples" / "official" / "ocrbench_v2_trees.json"
READINGS = {
    "html": trees.html_likeness,
    "markdown": trees.markdown_likeness,
    "chart": trees.chart_likeness,
    "document": trees.document_likeness,
}


@pytest.mark.parametrize("kind", READINGS)
def test_every_recorded_reply_is_worth_what_the_published_script_says(kind):
    for case in json.loads(RECORDED.read_text("utf-8"))[kind]:
        worth = READINGS[kind](case["reply"], case["answer"])
        assert worth == pytest.approx(case["worth"], abs=1e-12), case


@pytest.mark.parametrize("reply", ["<table>" + "<div>" * 5000, "<table>\0\ud800", "<table><!-- x"])
def test_replies_that_are_hardly_html_end_no_run(reply):
    assert trees.html_likeness(reply, "<table><tr><td>a</td></tr></table>") < 1


@pytest.mark.parametrize("reply", ["{" * 5000, "{1: " * 5000 + "}", "{[]: 1}"])
def test_replies_that_are_hardly_charts_are_worth_nothing(reply):
    assert trees.chart_likeness(reply, "{'a': 1}") == 0


def test_right_charts_are_read_in_json_too_and_others_have_no_number():
    assert trees.chart_likeness("{'a': None}", '{"a": "None"}') == 1
    assert trees.chart_likeness("{'None': True}", '{"None": true}') == 1
    assert math.isnan(trees.chart_likeness("{'a': 1}", "a: 1"))


@pytest.mark.slow
def test_documents_of_titles_within_titles_end_no_run():
    reply = "\n".join(f" {n + 1}\n# {n}" for n in range(1500))
    assert trees.document_likeness(reply, "# a") < 1


def test_without_its_packages_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "apted", None)
    with pytest.raises(MissingPackage, match=r"regiontok\[ocr\]"):
        trees.document_likeness("a", "b")
