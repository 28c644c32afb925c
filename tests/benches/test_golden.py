"""The official reading of each bench against recorded outputs of the published scripts."""

from __future__ import annotations

import csv
import json
from collections import Counter

import pytest

from regiontok.benches import aro, cvbench, mmbench, mme, mmstar, mmvp, ocrbench, pope
from regiontok.evaluation.averages import ARO_ITEMS
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.loading import load_questions
from regiontok.evaluation.question import Question
from regiontok.evaluation.scoring import score_replies
from regiontok.settings import registry


@pytest.fixture
def golden(data):
    """The function that reads a recorded file."""
    return lambda name: json.loads((data / "golden" / f"{name}.json").read_text())


def scores_of(bench, questions, replies, **options):
    """The scores without intervals, by name."""
    score = score_replies(bench, questions, replies, resamples=0, **options)
    return {name: value.value for name, value in score.values.items()}


def test_pope_reads_as_its_script(golden):
    for case in golden("pope")["parse_cases"]:
        assert pope.official(case["text"]) == case["parsed"], case


def test_popes_f1(golden):
    small = golden("pope")["small"]
    questions = [
        Question(str(i), "?", (label,), groups={"part": "random"})
        for i, label in enumerate(small["labels"])
    ]
    scores = scores_of(pope.Pope(), questions, small["answers"])
    expected = small["expected"]
    assert scores["pope_f1_random"] == 100 * expected["F1 score"]
    assert scores["pope_accuracy"] == 100 * expected["Accuracy"]
    assert scores["pope_yes"] == 100 * expected["Yes ratio"]


def test_cv_bench_reads_as_og_llavas_code(golden):
    for case in golden("cvbench")["parse"]:
        assert cvbench.official(case["prediction"]) == case["og_llava"], case


def test_mmstar_reads_as_its_script(golden):
    for case in golden("mmstar")["cases"]:
        assert mmstar.official(case["prediction"], case["answer"]) == case["correct"], case


def test_mme_reads_as_its_script(golden):
    for case in golden("mme")["parse_cases"]:
        assert mme.official(case["text"]) == case["parsed"], case


def test_mme_to_the_last_digit_on_published_answers(golden, data):
    folder = data / "mme" / "eval_tool" / "LaVIN"
    loaded = load_questions(mme.Mme(), BenchFolder(folder), blind=True)
    replies = {
        f"{path.stem}/{number}": line.split("\t")[3]
        for path in folder.glob("*.txt")
        for number, line in enumerate(path.read_text().splitlines(keepends=True))
    }
    scores = scores_of(mme.Mme(), loaded.questions, [replies[q.id] for q in loaded.questions])
    for name, value in golden("mme")["full"]["eval_tool/LaVIN"].items():
        assert scores[f"mme_{name.lower()}"] == value, name


def test_mmbench_circular(golden):
    questions, replies, right = [], [], []
    for example in golden("mmbench_circular")["examples"]:
        right.append(example["circular_correct"])
        for row in example["rows"]:
            group = {"rotations": str(example["index"])}
            options = ("w", "x", "y", "z")
            questions.append(
                Question(str(row["index"]), "?", (row["answer"],), options=options, groups=group)
            )
            replies.append(row["prediction"])
    scores = scores_of(mmbench.Mmbench(), questions, replies)
    assert scores["mmbench_circular"] == 100 * sum(right) / len(right)
    firsts = [q.answer == r for q, r in zip(questions, replies, strict=True) if int(q.id) < 10**6]
    assert scores["mmbench"] == 100 * sum(firsts) / len(firsts)


def test_mmbench_reads_as_vlmevalkit(golden):
    recorded = golden("vlmevalkit_can_infer")
    options = list(recorded["choices"].values())
    for case in recorded["cases"]:
        expected = case["inferred"] if case["inferred"] not in (False, "Z") else ""
        assert mmbench.official(case["answer"], options) == expected, case


def test_mmvp_reads_as_og_llavas_code(golden):
    for case in golden("mmvp")["parse"]:
        assert mmvp.official(case["prediction"]) == case["og_llava"], case


def test_aro_reads_as_og_llavas_code(golden):
    for case in golden("aro_conme")["parse"]:
        assert aro.official(case["prediction"]) == case["letter"], case


def test_ocrbench_marks_as_its_script(golden):
    bench = ocrbench.Ocrbench()
    for case in golden("ocrbench")["cases"]:
        answers = case["answers"] if isinstance(case["answers"], list) else [case["answers"]]
        question = Question("1", "?", tuple(answers), metadata={"source": case["dataset_name"]})
        marked = bench.mark(question, case["predict"], "official")
        assert marked["right"] == case["official"], case


@pytest.mark.parametrize(("grader", "runs"), [("gpt-4-0613", 1), ("gpt-4", 1), ("gpt-4", 3)])
def test_mm_vet_as_published(data, grader, runs):
    folder = data / "mmvet"
    stem = folder / "results" / f"llava-v1.5-7b_{grader}"
    bench = registry.build("bench", "mmvet")
    questions = load_questions(bench, BenchFolder(folder), blind=True).questions
    recorded = json.loads(stem.with_name(f"{stem.name}-grade-{runs}runs.json").read_text())
    grades = {name: grade["score"] for name, grade in recorded.items()}
    scores = scores_of(bench, questions, ["?"] * len(questions), grades=grades)
    rows = csv.DictReader(stem.with_name(f"{stem.name}-cap-score-{runs}runs.csv").open())
    published = next(row for row in rows if row[""] == "llava-v1.5-7b")
    assert round(scores["mmvet"], 1) == float(published["total"])
    for name in ("rec", "ocr", "know", "gen", "spat", "math"):
        assert round(scores[f"mmvet_{name}"], 1) == float(published[name]), name


@pytest.mark.slow
def test_og_llavas_averages_are_weighted_by_items():
    from regiontok.settings.recipe import load_recipe
    from regiontok.settings.shipped import shipped_recipes

    recipes = {name: load_recipe(path) for name, path in shipped_recipes().items()}
    figures = recipes["og_llava/table1_8b_665k_fusion"].expect
    average = aro.weighted_by_items({part: figures[f"aro_{part}"] for part in ARO_ITEMS}, ARO_ITEMS)
    assert average == pytest.approx(
        recipes["og_llava/table3_8b_665k_fusion"].expect["aro"], abs=0.05
    )


@pytest.mark.slow
def test_sugarcrepes_parts_have_their_published_sizes(golden, data):
    questions = load_questions(
        registry.build("bench", "sugarcrepe"), BenchFolder(data / "sugarcrepe" / "data"), blind=True
    )
    parts = Counter(question.groups["part"] for question in questions.questions)
    assert parts == golden("sugarcrepe")["counts"]
