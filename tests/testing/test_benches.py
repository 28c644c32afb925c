"""The check of benches: it passes every bench of the house, and finds what is wrong with others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from regiontok.evaluation.bench import Bench
from regiontok.evaluation.question import Question
from regiontok.settings import registry
from regiontok.testing import check_bench
from regiontok.testing.methods import check_docstring
from samples.bench_folders import WRITERS, pictures, write_bench


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(WRITERS))
def test_every_bench_passes(name, tmp_path):
    check_bench(registry.build("bench", name), write_bench(name, tmp_path / name))
    check_docstring("bench", name)


@dataclass(frozen=True)
class Shapes(Bench):
    """A bench with two questions and one fault, which `fault` names."""

    fault: str = ""
    files: ClassVar[tuple[str, ...]] = ("shapes.json",)
    headline: ClassVar[str] = "shapes"

    def questions(self, folder):
        for row in folder.rows(folder.files(self.files)[0]):
            id = "1" if self.fault == "ids" else str(row["id"])
            yield Question(id, "Which?", (row["shape"],), (folder.picture(row, "image"),))

    def mark(self, question, reply, reading):
        if self.fault == "mark":
            return {"right": 100.0}
        return {} if self.fault == "unmarked" else {"right": float(reply == question.answer)}

    def score(self, sample):
        if self.fault == "headline":
            return {"other": sample.share("right")}
        if self.fault == "weights":
            return {"shapes": 100 * np.full(2, sample["right"].mean())}
        return super().score(sample)


@pytest.fixture
def folder(tmp_path):
    pictures(tmp_path, "1.png", "2.png")
    rows = [{"id": i, "image": f"{i}.png", "shape": "disc"} for i in (1, 2)]
    (tmp_path / "shapes.json").write_text(json.dumps(rows))
    return tmp_path


def test_a_bench_of_another_package_passes(folder):
    check_bench(Shapes(), folder)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("ids", "1: an earlier question has the same id"),
        ("mark", "'right' is 100.0 for '', and not from 0 to 1"),
        ("unmarked", "mark\\(\\) gives no 'right'"),
        ("headline", "score\\(\\) gives other, and no shapes"),
        ("weights", "where they have no weight: score\\(\\) must use sample.mean"),
    ],
)
def test_what_is_wrong_is_said(fault, message, folder):
    with pytest.raises(AssertionError, match=message):
        check_bench(Shapes(fault), folder)
