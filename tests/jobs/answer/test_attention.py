"""What the words of answers looked at: kept beside them, resumed as they are, and nothing lost."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from regiontok.conversation import BatchAnswer
from regiontok.evaluation.answers import AnswersError, read_answers
from regiontok.jobs.answer.attention_files import read_attention
from regiontok.jobs.answer.plan import AnswerOptions, AnswerPlan
from regiontok.jobs.answer.ranks import Ranks
from regiontok.jobs.answer.run import answer
from regiontok.model.answer_attention import answer_attention
from regiontok.model.conversation import TrainedConversationModel
from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.region_attention import region_attention
from regiontok.model.vlm import RegionVLM
from regiontok.released.conversation import ReleasedConversationModel
from regiontok.settings.recipe import TokenizerSettings
from samples.bench_folders import write_bench
from samples.released import tiny_llava

REPLY = "a red square"


class Saying(TrainedConversationModel):
    """A model of random weights that says always the same, and reads as it reads."""

    reply = REPLY

    def answers(self, conversations, pictures, **options):
        return [
            BatchAnswer(self.reply, tuple(4 for _ in row), tuple(((56, 56),) for _ in row))
            for row in pictures
        ]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    visual = TokenizerSettings(encoder="filters(size=56)", regions="merge(k=3)", whole=True)
    processor = RegionVLMProcessor(mini_tokenizer())
    language_model = mini_language_model(width=24, layers=2, heads=2)
    image_token_id = processor.tokenizer.image_token_id
    vlm = RegionVLM.from_parts(language_model, visual, image_token_id=image_token_id)
    return Saying(vlm.eval(), processor)


@pytest.fixture
def pope(tmp_path):
    """The plan of a run on a tiny POPE of six questions, in batches of two, with attention."""
    folder = write_bench("pope", tmp_path / "pope")
    return AnswerPlan.of(
        AnswerOptions(model="model", bench="pope", data=folder, batch=2, attention=True)
    )


def without(plan):
    return replace(plan, options=replace(plan.options, attention=False))


def test_each_answer_has_the_attention_of_its_words(pope, model, tmp_path):
    counts = answer(pope, tmp_path / "run", model=model)
    assert (counts.answered, counts.attended, counts.unattended) == (6, 6, {})
    kept = read_attention(tmp_path / "run")
    question = pope.loaded.questions[4]
    looked = kept.of(question.id)
    assert looked.words == ("a", " red", " square")
    assert looked.tokens == (1, 4, 7)  # a token a byte, the blank before it counted
    picture = question.images[0].read()
    prepared = model.prepare([pope.message(question)], [picture])
    rows = answer_attention(model, prepared, REPLY).rows
    (seen,) = looked.pictures
    (view,) = seen.views
    assert seen.key == picture.key
    assert view.frame == prepared.pictures[0].frames[0]
    assert torch.equal(view.regions.patch, prepared.pictures[0].regions[0].patch)
    assert torch.equal(view.regions.region, prepared.pictures[0].regions[0].region)
    for word, index in enumerate([[0], [1, 2, 3, 4], [5, 6, 7, 8, 9, 10, 11]]):
        expected = region_attention(rows[:, :, index], prepared.pictures[0].tokens, 3)
        assert view.shares[word] == pytest.approx(expected.regions.numpy(), rel=1e-3)  # float16
        assert seen.visual[word] == pytest.approx(expected.visual, abs=1e-6)
        assert seen.whole[word] == pytest.approx(expected.whole, abs=1e-6) != 0
    model.forget()


def test_it_changes_no_answer(pope, model, tmp_path):
    def lines(folder):
        written = (folder / "answers.jsonl").read_text().splitlines()[1:]
        return [json.loads(line) | {"seconds": 0} for line in written]

    answer(pope, tmp_path / "with", model=model)
    answer(without(pope), tmp_path / "without", model=model)
    assert lines(tmp_path / "with") == lines(tmp_path / "without")
    assert not (tmp_path / "without" / "attention.jsonl").exists()


def test_regions_of_a_picture_stand_there_once(pope, model, tmp_path):
    answer(pope, tmp_path / "run", model=model)
    lines = (tmp_path / "run" / "attention.jsonl").read_text().splitlines()
    pictures = {question.images[0].read().key for question in pope.loaded.questions}
    assert sum("views" in json.loads(line) for line in lines) == len(pictures) < 6


def test_a_run_without_it_gets_it_later_and_its_answers_stay(pope, model, tmp_path):
    answer(without(pope), tmp_path / "run", model=model)
    before = (tmp_path / "run" / "answers.jsonl").read_bytes()
    counts = answer(pope, tmp_path / "run", resume=True, model=model)
    assert (counts.answered, counts.resumed, counts.attended) == (0, 6, 6)
    assert (tmp_path / "run" / "answers.jsonl").read_bytes() == before
    # and no model is opened where nothing is left to do
    assert answer(pope, tmp_path / "run", resume=True, model=None).attended == 0


def test_a_run_that_was_killed_goes_on_and_ends_with_the_same_lines(pope, model, tmp_path):
    answer(pope, tmp_path / "run", model=model)
    path = tmp_path / "run" / "attention.jsonl"
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in (first, first + 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        there = [line for line in whole[:cut].split(b"\n")[:-1] if b'"words"' in line]
        counts = answer(pope, path.parent, resume=True, model=model)
        assert counts.attended == 6 - len(there)
        assert sorted(path.read_bytes().splitlines()) == sorted(whole.splitlines())


def test_answers_whose_regions_are_damaged_are_read_again(pope, model, tmp_path):
    answer(pope, tmp_path / "run", model=model)
    path = tmp_path / "run" / "attention.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    place = next(i for i, line in enumerate(lines) if "views" in json.loads(line))
    lines[place] = lines[place][:40] + "\n"
    path.write_text("".join(lines))
    kept = read_attention(tmp_path / "run")
    lost = [id for id in kept.answers if id not in kept]
    assert lost
    with pytest.raises(KeyError):
        kept.of(lost[0])
    assert answer(pope, tmp_path / "run", resume=True, model=model).attended == len(lost)


def test_processes_keep_their_shares(pope, model, tmp_path):
    for rank in (1, 0):
        answer(pope, tmp_path / "run", ranks=Ranks(rank, 2, rank), resume=True, model=model)
    assert (tmp_path / "run" / "attention.1.jsonl").is_file()
    kept = read_attention(tmp_path / "run")
    assert all(question.id in kept for question in pope.loaded.questions)


def test_a_released_model_is_read_as_well(pope, model, tmp_path):
    released = ReleasedConversationModel(RegionVLM.from_vlm(*tiny_llava(), regions="windows(4)"))
    answer(without(pope), tmp_path / "run", model=model)
    assert answer(pope, tmp_path / "run", resume=True, model=released).attended == 6
    looked = read_attention(tmp_path / "run").of("random/1")
    (view,) = looked.pictures[0].views
    assert "".join(looked.words) == REPLY
    assert view.shares.shape == (len(looked.words), 4)
    assert view.shares.sum(1) == pytest.approx(np.array(looked.pictures[0].visual), rel=1e-2)


def test_an_empty_reply_has_no_words(pope, model, tmp_path, monkeypatch):
    monkeypatch.setattr(Saying, "reply", "")
    assert answer(pope, tmp_path / "run", model=model).attended == 6
    assert read_attention(tmp_path / "run").of(pope.loaded.questions[0].id).words == ()


def test_a_picture_that_is_gone_is_said_and_tried_again(pope, model, tmp_path):
    answer(without(pope), tmp_path / "run", model=model)
    (tmp_path / "pope" / "val2014" / "COCO_val2014_000000000001.jpg").write_bytes(b"no picture")
    counts = answer(pope, tmp_path / "run", resume=True, model=model)
    assert "not an image of a known format" in counts.unattended["random/1"]
    write_bench("pope", tmp_path / "pope")
    missing = len(counts.unattended)
    assert answer(pope, tmp_path / "run", resume=True, model=model).attended == missing


def test_the_attention_of_other_answers_is_refused(pope, model, tmp_path):
    answer(pope, tmp_path / "run", model=model)
    (tmp_path / "run" / "answers.jsonl").unlink()
    other = AnswerPlan.of(replace(pope.options, prompt="bare"))
    with pytest.raises(AnswersError, match="attention of other answers: prompt is 'study' there"):
        answer(other, tmp_path / "run", model=model)
    (tmp_path / "run" / "attention.jsonl").write_text("[]\n")
    with pytest.raises(AnswersError, match="its first line must be a head of"):
        read_attention(tmp_path / "run")


def test_what_cannot_be_kept_is_refused_before_the_first_question(pope, model, tmp_path):
    class Unwatched(Saying):
        model = torch.nn.Linear(1, 1)

        def __init__(self):
            pass

    with pytest.raises(ValueError, match="no decoder of text to watch"):
        answer(pope, tmp_path / "run", model=Unwatched())
    assert read_answers(tmp_path / "run").answers == ()
    with pytest.raises(ValueError, match="--blind leaves the pictures out"):
        replace(pope.options, blind=True)


def test_shares_are_small_files(pope, model, tmp_path):
    answer(pope, tmp_path / "run", model=model)
    shares = read_attention(tmp_path / "run").of("random/1").pictures[0].views[0].shares
    assert (shares.dtype, shares.shape) == (np.float16, (3, 3))
