"""Answers of tiny models to tiny benchmarks: batches, stops, resuming, refusals, several ranks."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch

from regiontok.conversation import BatchAnswer
from regiontok.evaluation.answers import Answer, AnswersError, read_answers
from regiontok.jobs.answer.plan import AnswerOptions, AnswerPlan
from regiontok.jobs.answer.ranks import Ranks
from regiontok.jobs.answer.run import answer
from regiontok.jobs.report.command import write_report
from regiontok.jobs.report.runs import score_run
from regiontok.jobs.report.table import report_table
from regiontok.model.conversation import TrainedConversationModel
from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.vlm import RegionVLM
from regiontok.released.conversation import ReleasedConversationModel
from regiontok.settings.recipe import TokenizerSettings
from samples.bench_folders import WRITERS, write_bench
from samples.released import tiny_llava


class Parrot:
    """A model that says "Yes", and remembers what it was asked."""

    def __init__(self, *, longest=10_000, stop_after=10_000):
        self.batches, self.longest, self.stop_after = [], longest, stop_after

    def answers(self, conversations, pictures, **options):
        texts = [messages[0]["content"][-1]["text"] for messages in conversations]
        if any(len(text) > self.longest for text in texts):
            raise ValueError("the conversation is longer than the model takes")
        if len(self.batches) == self.stop_after:
            raise KeyboardInterrupt
        self.batches.append(texts)
        return [
            BatchAnswer("Yes", tuple(7 for _ in row), tuple(((28, 28),) for _ in row))
            for row in pictures
        ]


@pytest.fixture
def pope(tmp_path):
    """The plan of a run on a tiny POPE of six questions, in batches of two."""
    folder = write_bench("pope", tmp_path / "pope")
    return AnswerPlan.of(AnswerOptions(model="parrot", bench="pope", data=folder, batch=2))


@pytest.fixture(scope="module")
def trained():
    """A `RegionVLM` with random weights."""
    torch.manual_seed(0)
    visual = TokenizerSettings(encoder="filters(size=56)", regions="merge(k=3)", whole=True)
    processor = RegionVLMProcessor(mini_tokenizer())
    language_model = mini_language_model(width=24, layers=1, heads=2)
    model = RegionVLM.from_parts(
        language_model, visual, image_token_id=processor.tokenizer.image_token_id
    )
    return TrainedConversationModel(model.eval(), processor)


@pytest.fixture(scope="module")
def released():
    """A released model with regions, with random weights."""
    model, processor = tiny_llava()
    return ReleasedConversationModel(RegionVLM.from_vlm(model, processor, regions="windows(4)"))


def test_every_answer_is_a_line_with_its_question(pope, tmp_path):
    counts = answer(pope, tmp_path / "run", model=Parrot())
    run = read_answers(tmp_path / "run")
    assert (counts.answered, counts.resumed, counts.failed) == (6, 0, {})
    assert [a.reply for a in run.answers] == ["Yes"] * 6
    assert {a.question.answer for a in run.answers} == {"yes", "no"}
    assert {a.visual_tokens for a in run.answers} == {(7,)}
    assert run.head["decoding"] == {"do_sample": False, "num_beams": 1, "max_new_tokens": 16}
    assert run.head["prompt"] == "study"
    assert run.answers[0].prompt.endswith("\nAnswer the question using a single word or phrase.")
    assert not (tmp_path / "run" / ".lease").exists()


def test_a_stopped_run_goes_on_and_redoes_a_line_that_was_cut(pope, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        answer(pope, out, model=Parrot(stop_after=2))
    path = out / "answers.jsonl"
    path.write_bytes(path.read_bytes()[:-30])  # killed while it wrote the fourth answer
    assert (len(read_answers(out).answers), read_answers(out).damaged) == (3, 1)
    with pytest.raises(AnswersError, match="go on with --resume"):
        answer(pope, out, model=Parrot())
    counts = answer(pope, out, resume=True, model=Parrot())
    assert (counts.answered, counts.resumed) == (3, 3)
    run = read_answers(out)
    assert (len(run.answers), run.damaged, run.repeated) == (6, 0, 0)
    assert answer(pope, out, resume=True, model=None).answered == 0  # no model is opened


def test_other_settings_are_refused(pope, tmp_path):
    answer(pope, tmp_path / "run", model=Parrot())
    other = AnswerPlan.of(replace(pope.options, prompt="bare"))
    with pytest.raises(AnswersError, match="prompt is 'study' there and 'bare' here"):
        answer(other, tmp_path / "run", resume=True, model=Parrot())


def test_processes_share_the_questions(pope, tmp_path):
    for rank in (1, 0):
        counts = answer(
            pope, tmp_path / "run", ranks=Ranks(rank, 2, rank), resume=True, model=Parrot()
        )
        assert counts.answered in (2, 4)
    assert (tmp_path / "run" / "answers.1.jsonl").is_file()
    run = read_answers(tmp_path / "run")
    assert (len(run.answers), run.repeated) == (6, 0)


def test_what_cannot_be_answered_is_said_and_tried_again(pope, tmp_path):
    (tmp_path / "pope" / "val2014" / "COCO_val2014_000000000001.jpg").write_bytes(b"no picture")
    counts = answer(pope, tmp_path / "run", model=Parrot())
    assert counts.answered == 0
    assert "not an image of a known format" in counts.failed["random/1"]
    assert len(read_answers(tmp_path / "run").failed) == 6
    write_bench("pope", tmp_path / "pope")
    assert answer(pope, tmp_path / "run", resume=True, model=Parrot()).answered == 6
    assert read_answers(tmp_path / "run").failed == []


def test_a_question_that_is_too_long_spoils_no_other(pope, tmp_path):
    longest = len(
        "Is there a cat in the image?\nAnswer the question using a single word or phrase."
    )
    questions = [
        replace(q, text=q.text + "?" * (q.id == "random/2")) for q in pope.loaded.questions
    ]
    plan = replace(pope, loaded=replace(pope.loaded, questions=tuple(questions)))
    counts = answer(plan, tmp_path / "run", model=Parrot(longest=longest))
    assert counts.answered == 5
    assert counts.failed == {"random/2": "the conversation is longer than the model takes"}


def test_blind_runs_show_nothing(pope, tmp_path):
    (tmp_path / "pope" / "val2014" / "COCO_val2014_000000000001.jpg").unlink()  # none is read
    plan = AnswerPlan.of(replace(pope.options, blind=True))
    answer(plan, tmp_path / "run", model=Parrot())
    run = read_answers(tmp_path / "run")
    assert {a.visual_tokens for a in run.answers} == {()}
    assert run.head["blind"] is True


@pytest.mark.parametrize("kind", ["trained", "released"])
def test_a_batch_says_what_each_says_alone(kind, request, tmp_path):
    model = request.getfixturevalue(kind)
    folder = write_bench("cvbench", tmp_path / "cvbench")
    plans = [
        AnswerPlan.of(
            AnswerOptions(model=kind, bench="cvbench", data=folder, batch=batch, longest=4)
        )
        for batch in (4, 1)
    ]
    runs = []
    for number, plan in enumerate(plans):
        answer(plan, tmp_path / str(number), model=model)
        runs.append({a.question.id: a for a in read_answers(tmp_path / str(number)).answers})
    assert {id: a.reply for id, a in runs[0].items()} == {id: a.reply for id, a in runs[1].items()}
    assert {a.visual_tokens for a in runs[0].values()} == {(4,)}  # three regions and the whole
    side = {"trained": 56, "released": 32}[kind]
    assert {a.resolutions for a in runs[0].values()} == {(((side, side),),)}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(WRITERS))
def test_every_bench_is_answered_by_a_model(name, trained, tmp_path):
    folder = write_bench(name, tmp_path / name)
    options = AnswerOptions(model="x", bench=name, data=folder, limit=2, longest=1, batch=2)
    counts = answer(AnswerPlan.of(options), tmp_path / "run", model=trained)
    assert counts.answered >= 1
    assert counts.failed == {}


REAL = {  # the question files below the folder of real data; of some, no photo is there
    "pope": "fixtures/pope_with_images.jsonl",
    "mmvet": "fixtures/mmvet_with_images.json",
    "sugarcrepe": "fixtures/sugarcrepe_with_images.jsonl",
    "aro": "fixtures/negclip_with_images.json",
    "mmbench": "fixtures/mmbench_samples.json",
    "mmbench, blind": "fixtures/mmbench_circular_40groups.json",
    "mmstar, blind": "fixtures/mmstar_50.json",
    "mmvp, blind": "mmvp/Questions.csv",
    "mme, blind": "mme/eval_tool/Your_Results/*.txt",
    "ocrbench": "ocrbench/OCRBench.json",
    "ocrbench, blind": "ocrbench/OCRBench.json",
}


@pytest.mark.slow
@pytest.mark.parametrize("case", sorted(REAL))
def test_real_records_go_from_question_file_to_score(case, trained, data, tmp_path):
    name, _, blind = case.partition(", ")
    files, report = tmp_path / "files", tmp_path / "report"
    place = files / "IIIT5K" / "test" / "918_1.png"  # OCRBench's first one, the only one here
    place.parent.mkdir(parents=True)
    shutil.copy(data / "ocrbench" / "images" / "ocrbench_0_centre.jpg", place)
    for path in sorted(data.glob(REAL[case])):
        shutil.copy(path, files)
    options = AnswerOptions(
        model="x",
        bench=name,
        data=files,
        images=(data,),
        blind=bool(blind),
        limit=1 if case == "ocrbench" else 3,
        longest=1,
    )
    counts = answer(AnswerPlan.of(options), tmp_path / "run", model=trained)
    assert counts.answered >= options.limit
    scored = score_run(tmp_path / "run", resamples=10)
    assert scored.counts["questions"] == counts.answered
    assert scored.cost.resolution == ("" if blind else "56 x 56")
    write_report(report_table([scored], anyway=True), report)
    assert f"| run | {name} |" in (report / "report.md").read_text()


def test_the_recipe_of_a_trained_model_is_noted(pope, tmp_path):
    (tmp_path / "resolved.toml").write_text('name = "table1_clip_patch"\n')
    plan = AnswerPlan.of(replace(pope.options, model=str(tmp_path / "2_tuning")))
    assert plan.head(Ranks())["recipe"] == "table1_clip_patch"


def test_a_line_comes_back(pope):
    question = pope.loaded.questions[0]
    line = Answer(question, "Yes", "Is?", (3, 4), (((28, 56),), ((28, 28), (56, 28))), 0.25).line()
    again = Answer.of_line(line)
    assert (again.reply, again.visual_tokens, again.seconds) == ("Yes", (3, 4), 0.25)
    assert again.resolutions == (((28, 56),), ((28, 28), (56, 28)))
    assert again.question.groups == question.groups
    assert "image" not in json.loads(line)["question"]


def test_a_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "answers.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(AnswersError, match="is no answer file"):
        read_answers(tmp_path)
    with pytest.raises(AnswersError, match=r"holds no answers\.jsonl"):
        read_answers(tmp_path / "nowhere")


def test_a_model_that_is_nowhere(pope, tmp_path):
    plan = AnswerPlan.of(replace(pope.options, model=str(tmp_path)))
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        answer(plan, tmp_path / "run")
