"""Stages beside each other: what waits for what, and in which order pieces are begun."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from regiontok.curate.run import run_steps
from regiontok.curate.stage_files import Stage, is_done, write_piece
from regiontok.curate.steps import PieceStep
from regiontok.curate.tars import Curation, open_curation
from regiontok.system.need import need
from samples.curation import three_tars


def stage(name):
    pa = need("pyarrow", extra="store")
    return Stage(name, 1, {}, "", pa.schema([("index", pa.int32()), ("reason", pa.string())]))


@dataclass(frozen=True)
class Writes:
    """Writes empty rows, and notes in a file which piece it was; it looks for what must be there.

    Of the tar "b" the stage "first" fails.
    """

    curation: Curation
    name: str
    behind: str = ""

    def __call__(self, piece):
        if self.behind:
            assert is_done(stage(self.behind), self.curation.out, piece.tar)
        if (self.name, piece.tar.name) == ("first", "b"):
            raise ValueError("no")
        with open(self.curation.out / "order", "a") as file:
            file.write(f"{self.name} {piece.tar.name}\n")
        rows = [{"index": number, "reason": ""} for number in range(piece.start, piece.stop)]
        write_piece(stage(self.name), self.curation.out, piece, rows, 0.0)


@pytest.fixture
def curation(tmp_path):
    return open_curation(tmp_path / "out", [str(three_tars(tmp_path / "tars"))], piece=2)


def steps(curation):
    return [
        PieceStep(stage("first"), curation, Writes(curation, "first")),
        PieceStep(stage("second"), curation, Writes(curation, "second", "first"), behind="first"),
        PieceStep(stage("beside"), curation, Writes(curation, "beside")),
    ]


def order(out: Path) -> list[str]:
    return (out / "order").read_text().splitlines()


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_stage_behind_another_begins_tar_by_tar_and_one_beside_does_not_wait(curation, workers):
    outcomes = list(run_steps(steps(curation), workers=workers))
    failed = [(outcome.stage, outcome.tar) for outcome in outcomes if outcome.error]
    assert failed == [("first", "b")] * 2
    assert {outcome.stage for outcome in outcomes if outcome.tar == "b"} == {"first", "beside"}
    a, b, c = curation.tars
    for name, tars in (("first", (a, c)), ("second", (a, c)), ("beside", (a, b, c))):
        assert all(is_done(stage(name), curation.out, tar) for tar in tars)
    assert len(order(curation.out)) == len(outcomes) - 2


def test_a_stopped_run_begins_what_waits_where_the_other_stage_is_done(curation):
    first = steps(curation)[:1]
    list(run_steps(first))
    (curation.out / "order").unlink()
    outcomes = list(run_steps(steps(curation)[:2]))
    assert [o.tar for o in outcomes if o.stage == "second"] == ["a", "a", "a", "c", "c"]
    assert order(curation.out) == ["second a"] * 3 + ["second c"] * 2
