"""Where each word of an answer looks: a row a model, a column a word."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from regiontok.jobs.chat.comparison import AskedQuestion, ComparedModel
from regiontok.jobs.chat.words import WordOptions, compare_words, word_attention, words_figure
from regiontok.model.conversation import TrainedConversationModel
from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import TokenizerSettings
from samples.command_line import regiontok
from samples.pictures import noise

pytest.importorskip("matplotlib")
ASKED = AskedQuestion(noise(40, 60), "What is it?", "a red square")
GOLD = WordOptions(gold=True)


def untrained():
    torch.manual_seed(0)
    processor = RegionVLMProcessor(mini_tokenizer())
    visual = TokenizerSettings(encoder="filters(size=56)", regions="merge(k=4)", whole=True)
    return RegionVLM.from_parts(
        mini_language_model(width=24, layers=2, heads=2),
        visual,
        image_token_id=processor.image_token_id,
    ).eval(), processor


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words") / "model"
    for part in untrained():
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model():
    return TrainedConversationModel(*untrained())


def test_words_have_their_own_tokens_rows(model):
    looked = word_attention(model, ASKED, GOLD)
    assert [word for word, _ in looked.words] == ["a", "red", "square"]
    lengths = (1, 4, 7)  # a byte a token, and the blank before a word
    mean = sum(
        length * view.regions for length, (_, view) in zip(lengths, looked.words, strict=True)
    ) / sum(lengths)
    torch.testing.assert_close(mean, looked.whole.regions)
    assert looked.whole.whole > 0


def test_chosen_layers_and_heads_average_to_all(model):
    whole = word_attention(model, ASKED, GOLD).whole.regions
    parts = [
        word_attention(model, ASKED, WordOptions(gold=True, layers=(layer,), heads=(head,)))
        for layer in range(2)
        for head in range(2)
    ]
    mean = torch.stack([part.whole.regions for part in parts]).mean(0)
    torch.testing.assert_close(mean, whole)
    with pytest.raises(ValueError, match="2 heads; there is no head 2"):
        word_attention(model, ASKED, WordOptions(heads=(2,)))


def test_the_figure_has_a_row_a_model(folder):
    models = [ComparedModel.of(f"{name}={folder}") for name in ("One", "CLIP/Two")]
    comparison = compare_words(models, [ASKED], GOLD)
    drawn = words_figure(comparison, WordOptions(gold=True, most=2, layers=(-1,)))
    assert drawn.heads == ["photo", "answer", "word 1", "word 2"]
    assert drawn.titles == ["One", "CLIP/Two"]
    assert [panel.caption for panel in drawn.rows[0]] == [
        "What is it?",
        "a red square",
        "a",
        "red",
    ]
    assert "layers -1 and all heads" in drawn.note


@pytest.mark.slow
def test_the_command_draws_words(folder, tmp_path):
    noise(40, 60).pil.save(tmp_path / "a.png")
    words = ("compare", f"One={folder}", "--images", tmp_path / "a.png", "--ask", "What?")
    out = tmp_path / "words.png"
    ended = regiontok(*words, "--words", "--expected", "two cats", "--gold", "--out", out)
    assert ended.exit_code == 0, ended.output
    (answer,) = ended.report["questions"][0]["answers"]
    assert [word["word"] for word in answer["words"]] == ["two", "cats"]
    assert Image.open(out).size[0] > 200
    for more, message in (
        (("--gold",), "are for --words"),
        (("--words", "--gold"), "say the answer whose words are read"),
        (("--words", "--layers", "x"), "expected whole numbers"),
    ):
        refused = regiontok(*words, *more, "--out", tmp_path / "no.png")
        assert refused.exit_code == 2
        assert message in refused.stderr
