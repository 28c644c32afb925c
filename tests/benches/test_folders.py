"""Every bench from its published form to a score, on tiny folders and on real records."""

from __future__ import annotations

import math

import pytest

from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.loading import load_questions
from regiontok.evaluation.question import Question
from regiontok.evaluation.scoring import score_replies
from regiontok.evaluation.tables import BenchDataError, rows_of
from regiontok.settings import registry
from samples.bench_folders import WRITERS, write_bench, write_lines, write_parquet
from samples.pictures import noise

NAMES = sorted(registry.names("bench"))


def questions_of(spec, folder, **options):
    bench = registry.build("bench", spec)
    return bench, load_questions(bench, BenchFolder(folder), **options)


def scores_of(bench, questions, replies, reading="official", **options):
    score = score_replies(
        bench, questions, replies, reading=reading, resamples=20, seed=1, **options
    )
    return {name: value.value for name, value in score.values.items()}, score


def test_every_bench_is_tried():
    assert set(WRITERS) == set(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_right_replies_have_the_highest_score_and_wrong_ones_none(name, tmp_path):
    bench, loaded = questions_of(name, write_bench(name, tmp_path / name))
    questions = loaded.questions
    assert loaded.set_aside == ()
    assert all(question.images[0].read().size[0] for question in questions)
    for reading in ("official", "robust"):
        for replies, grade, share in (
            ([question.answer for question in questions], 1.0, 1.0),
            (["zzz"] * len(questions), 0.0, 0.0),
        ):
            grades = {question.id: [grade] for question in questions} if bench.judged else None
            scores, score = scores_of(bench, questions, replies, reading, grades=grades)
            if name == "ocrbench_v2":  # its tables have no score here, and so it has no total
                assert math.isnan(scores["ocrbench_v2"])
                continue
            value, counted = scores[bench.headline], {"ocrbench": 2.0}.get(name)
            if name == "pope" and not share:
                assert (value == 0) is (reading == "robust")  # "zzz" is officially yes
                continue
            assert value == pytest.approx(share * (counted or bench.highest))
            interval = score.values[bench.headline]
            assert not (interval.low > value)
            assert not (interval.high < value)


@pytest.mark.parametrize("name", NAMES)
def test_prompts_and_records(name, tmp_path):
    bench, loaded = questions_of(name, write_bench(name, tmp_path / name))
    for question in loaded.questions:
        again = Question.of_record(question.id, question.record())
        for prompt in bench.prompts:
            asked = bench.prompt(question, prompt)
            assert asked.strip() == asked
            assert asked == bench.prompt(again, prompt)
        if not bench.judged:
            marks = [repr(bench.mark(one, "B", "robust")) for one in (again, question)]
            assert marks[0] == marks[1]


@pytest.mark.parametrize("name", NAMES)
def test_columns_of_another_version_are_named(name, tmp_path):
    bench = registry.build("bench", name)
    suffixes = [pattern for pattern in bench.files if "json" in pattern]
    if not suffixes or name in ("mme", "chartqa"):
        pytest.skip("this bench has no JSON form with columns")
    path = tmp_path / suffixes[0].replace("*", "x").replace("?", "_")
    write_lines(path, [{"something": 1}, {"something": 2}])
    with pytest.raises((BenchDataError, KeyError), match=r"column|has the columns"):
        questions_of(name, tmp_path)


def test_duplicates_and_missing_pictures_are_set_aside_and_counted(tmp_path):
    folder = write_bench("cvbench", tmp_path)
    lines = (folder / "test.jsonl").read_text()
    (folder / "test.jsonl").write_text(lines + lines.splitlines()[0] + "\n")
    (folder / "img" / "2.png").unlink()
    _, loaded = questions_of("cvbench", folder)
    assert loaded.counts == {"picture": 1, "duplicate": 1}
    assert len(loaded.questions) == 3
    _, blind = questions_of("cvbench", folder, blind=True)
    assert blind.counts == {"duplicate": 1}


def test_a_file_in_two_forms_is_read_once(tmp_path):
    folder = write_bench("cvbench", tmp_path)
    row = {"idx": 0, "type": "2D", "task": "Count", "question": "How many?", "answer": "(A)"}
    write_parquet(folder / "test_2d.parquet", [{**row, "choices": ["1", "2"], "source": "COCO"}])
    (folder / "test.jsonl").rename(folder / "test_2d.jsonl")
    _, loaded = questions_of("cvbench", folder)
    assert [question.options for question in loaded.questions] == [("1", "2")]
    assert loaded.set_aside == ()


def test_mmes_released_folders_have_a_file_a_picture(tmp_path):
    places = {"existence": ("", ""), "artwork": ("images/", "questions_answers_YN/")}
    for subtask, (pictures, texts) in places.items():
        for name in ("b", "a"):
            for folder in (pictures, texts):
                (tmp_path / subtask / folder).mkdir(parents=True, exist_ok=True)
            noise(4, 4).pil.save(tmp_path / subtask / f"{pictures}{name}.png")
            text = f"Is it {name}?\tYes\nIs it no {name}?\tNo\n"
            (tmp_path / subtask / f"{texts}{name}.txt").write_text(text)
    _, loaded = questions_of("mme", tmp_path)
    assert [(q.id, q.text, q.answer, q.groups["picture"]) for q in loaded.questions[:3]] == [
        ("existence/0", "Is it a?", "yes", "existence/a"),
        ("existence/1", "Is it no a?", "no", "existence/a"),
        ("existence/2", "Is it b?", "yes", "existence/b"),
    ]
    assert (len(loaded.questions), loaded.set_aside) == (8, ())


def test_mmes_pairs_in_parquet_go_by_the_picture(tmp_path):
    rows = [
        {"question_id": name, "question": "Red?", "answer": answer, "category": "color"}
        for name, answer in (("a", "Yes"), ("b", "Yes"), ("a", "No"), ("b", "No"))
    ]
    write_parquet(tmp_path / "mme.parquet", rows)
    _, loaded = questions_of("mme", tmp_path)
    pairs = [question.groups["picture"] for question in loaded.questions]
    assert pairs == ["color/a", "color/b", "color/a", "color/b"]


def test_a_limit_keeps_what_is_judged_together(tmp_path):
    _, loaded = questions_of("mme", write_bench("mme", tmp_path), limit=3)
    assert len(loaded.questions) == 4


def test_a_folder_without_the_files_says_which(tmp_path):
    with pytest.raises(BenchDataError, match=r"holds none of coco_pope_random\.json"):
        questions_of("pope", tmp_path)


def test_a_right_caption_at_one_place_rewards_those_who_never_look(tmp_path):
    folder = write_bench("aro", tmp_path)
    for order, constant in (("published", 100.0), ("rotated", 40.0)):
        bench, loaded = questions_of(f"aro(order={order!r})", folder)
        _, score = scores_of(bench, loaded.questions, [""] * len(loaded.questions))
        assert score.constants["B"] == pytest.approx(constant, abs=12)
        assert score.counts["empty"] == len(loaded.questions)


def test_aros_pictures_are_cut_and_its_parts_have_macro_means(tmp_path):
    bench, loaded = questions_of("aro", write_bench("aro", tmp_path))
    relation = loaded.questions[0]
    assert relation.groups["kind"] == "eating"
    assert relation.images[0].read().size == (12, 10)
    scores, _ = scores_of(bench, loaded.questions, ["B"] * len(loaded.questions))
    assert scores["aro_relation_macro"] == scores["aro_attribution_macro"] == 100


def test_nothing_read_is_never_nothing_expected(tmp_path):
    """The official reading of CV-Bench takes nothing for (F); the robust one does not."""
    bench = registry.build("bench", "cvbench")
    question = Question("1", "?", ("F",), options=("a", "b", "c", "d", "e", "f"))
    assert bench.mark(question, "no idea", "official")["right"] == 1
    assert bench.mark(question, "no idea", "robust")["right"] == 0
    assert bench.mark(question, "**F**", "robust")["right"] == 1


def test_mmbenchs_own_rotations(tmp_path):
    folder = write_bench("mmbench", tmp_path)
    _, loaded = questions_of("mmbench(circular=True)", folder)
    by_id = {int(question.id): question for question in loaded.questions}
    assert sorted(by_id) == [3, 1_000_003]  # the file has its own rotations
    lines = (folder / "mmbench_dev.tsv").read_text().splitlines()
    (folder / "mmbench_dev.tsv").write_text("\n".join(lines[:2]) + "\n")
    bench, loaded = questions_of("mmbench(circular=True)", folder)
    by_id = {int(question.id): question for question in loaded.questions}
    assert sorted(by_id) == [3, 1_000_003, 2_000_003]
    assert by_id[1_000_003].options == ("blue", "red", "green")
    assert [by_id[index].answer for index in sorted(by_id)] == ["B", "C", "A"]
    replies = [question.answer for question in loaded.questions]
    scores, _ = scores_of(bench, loaded.questions, [*replies[:-1], "D"])
    assert (scores["mmbench"], scores["mmbench_circular"]) == (100, 0)


def test_mmvps_pairs_and_corrected_labels(tmp_path):
    bench, loaded = questions_of("mmvp", write_bench("mmvp", tmp_path))
    scores, _ = scores_of(bench, loaded.questions, ["a", "a"], "robust")
    assert (scores["mmvp"], scores["mmvp_pairs"]) == (50, 0)
    with pytest.raises(ValueError, match="labels must be 'original' or 'corrected'"):
        registry.build("bench", "mmvp(labels='mended')")


def test_replies_without_grades_are_counted_and_left_out(tmp_path):
    bench, loaded = questions_of("mmvet", write_bench("mmvet", tmp_path))
    first = loaded.questions[0].id
    scores, score = scores_of(bench, loaded.questions, ["x", "x"], grades={first: [0.5]})
    assert scores["mmvet"] == 50
    assert math.isnan(scores["mmvet_rec"])
    assert score.counts["unjudged"] == 1


REAL = {
    "pope": ("pope", 6000),
    "ocrbench": ("ocrbench", 1000),
    "mme": ("mme/eval_tool/Your_Results", 2370),
    "mmvet": ("mmvet", 218),
    "mmvp": ("mmvp", 300),
    "aro": ("aro", 7000),
    "sugarcrepe": ("sugarcrepe/data", 7511),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(REAL))
def test_real_question_files(name, data):
    folder, count = REAL[name]
    bench, loaded = questions_of(name, data / folder, blind=True)
    questions = loaded.questions
    assert len(questions) + len(loaded.set_aside) >= count
    grades = {question.id: [1.0] for question in questions} if bench.judged else None
    scores, _ = scores_of(
        bench, questions, [question.answer for question in questions], grades=grades
    )
    headline = scores["aro_negative_captions"] if name == "aro" else scores[bench.headline]
    assert headline == bench.highest


def test_real_records_with_pictures(data):
    """A record of POPE whose photo is here."""
    row = rows_of(data / "fixtures" / "pope_with_images.jsonl")[0]
    assert BenchFolder(data).picture(row, "local_image", "image").read().size[0] > 100
