"""Small curations whose images are chosen already: what the stages behind the filter begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from regiontok.curate.duplicates import write_keep_list
from regiontok.curate.plan import FilterPlan
from regiontok.curate.run import Work, run_pieces
from regiontok.curate.stage_files import Stage, read_rows
from regiontok.curate.tars import Curation
from samples.curation import filtered

EVERYTHING = FilterPlan(shorter_edge=1, duplicates=-1)
NO_DUPLICATES = FilterPlan(shorter_edge=40, duplicates=-1)


def kept(tars: Path, out: Path, plan: FilterPlan = NO_DUPLICATES) -> tuple[Curation, str]:
    """A curation after its filter, and the hash of its keep-list."""
    curation, stage, _ = filtered(tars, out, plan)
    return curation, write_keep_list(curation, stage, plan).hash


def staged(stage: Stage, curation: Curation, work: Work, **options: Any) -> dict[str, Any]:
    """Run a stage; its rows by tar and number, as in "a/0"."""
    outcomes = list(run_pieces(stage, curation, work, **options))
    assert [outcome.error for outcome in outcomes if outcome.error] == []
    return {
        f"{tar.name}/{row['index']}": row
        for tar in curation.tars
        for row in read_rows(stage, curation.out, tar).to_pylist()
    }
