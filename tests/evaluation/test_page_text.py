"""Whole pages of text against recorded outputs of OCRBench v2's own script.

A tiny WordNet stands for the whole, which nltk has no wheel of: it knows the synonyms that the
recorded replies have.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from regiontok.evaluation import page_text
from regiontok.system.errors import RegiontokWarning
from regiontok.system.need import need

RECORDED = Path(__file__).parents[1] / "samples" / "official" / "ocrbench_v2_texts.json"


class Synset:
    """A set of words that mean the same."""

    def __init__(self, *names):
        self.names = names

    def lemmas(self):
        return [Lemma(name) for name in self.names]


class Lemma:
    """One of its words."""

    def __init__(self, name):
        self._name = name

    def name(self):
        return self._name


SYNSETS = (
    Synset("big", "large"),
    Synset("car", "automobile"),
    Synset("fast", "quick"),
    Synset("leap", "jump"),
)


@pytest.fixture
def small_wordnet(monkeypatch):
    """METEOR with a WordNet of three synsets."""
    nltk_meteor = need("nltk.translate.meteor_score", extra="ocr")
    whole = nltk_meteor.meteor_score

    class Small:
        def synsets(self, word):
            return [synset for synset in SYNSETS if word in synset.names]

    def meteor(references, hypothesis):
        return whole(references, hypothesis, wordnet=Small())

    monkeypatch.setattr(nltk_meteor, "meteor_score", meteor)
    monkeypatch.setattr(page_text, "_has_wordnet", lambda: True)


@pytest.mark.parametrize(
    "is_chinese", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["english", "chinese"]
)
def test_every_recorded_reply_is_worth_what_the_published_script_says(small_wordnet, is_chinese):
    cases = json.loads(RECORDED.read_text("utf-8"))
    for case in cases:
        if (not (case["reply"] + case["answer"]).isascii()) is not is_chinese:
            continue
        worth = page_text.page_likeness(case["reply"], case["answer"])
        assert worth == pytest.approx(case["worth"], abs=1e-12), case


def test_without_wordnet_there_is_no_number_and_the_command_that_gets_it_is_named(monkeypatch):
    nltk_data = pytest.importorskip("nltk.data")
    corpus = pytest.importorskip("nltk.corpus")
    from nltk.corpus.reader.wordnet import WordNetCorpusReader
    from nltk.corpus.util import LazyCorpusLoader

    monkeypatch.setattr(nltk_data, "path", [])
    monkeypatch.setattr(corpus, "wordnet", LazyCorpusLoader("wordnet", WordNetCorpusReader, None))
    page_text._has_wordnet.cache_clear()
    with pytest.warns(RegiontokWarning, match=r"python -m nltk\.downloader wordnet"):
        assert math.isnan(page_text.page_likeness("a", "a"))
    page_text._has_wordnet.cache_clear()
