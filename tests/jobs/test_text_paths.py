"""Jobs are called from Python with paths as text, too."""

from __future__ import annotations

import pytest

from regiontok.data.collect import collect
from regiontok.jobs.diagnose.diagnosis import Options
from regiontok.jobs.frontier.comparison import SourceComparison
from regiontok.jobs.frontier.frontier import frontier
from regiontok.jobs.masks.build import build_store, plan_store
from regiontok.jobs.masks.image_sources import image_sources
from regiontok.jobs.masks.store_state import store_info
from regiontok.jobs.show import show_output
from regiontok.jobs.tokenize.command import tokenize
from regiontok.jobs.tokenize.tokenizer_set import TokenizerSet
from regiontok.settings.recipe import TokenizerSettings
from samples.pictures import saved_scene


@pytest.fixture
def photo(tmp_path) -> str:
    saved_scene(tmp_path / "a.png", 0, (64, 96))
    return str(tmp_path / "a.png")


def test_tokenize_and_show(photo, tmp_path):
    tokenizers = TokenizerSet(TokenizerSettings(encoder="filters(size=56)"), ["windows(4)"])
    (outcome,) = tokenize(tokenizers, collect([photo]), str(tmp_path / "out"))
    assert outcome.error is None
    ((entry, regions),) = show_output(str(tmp_path / "out" / outcome.source.name))
    assert entry["regions"] == len(regions) == 4


def test_masks(photo, tmp_path):
    pytest.importorskip("pyarrow")
    store, sources = str(tmp_path / "store"), image_sources([photo])
    assert plan_store("slic(4)", sources, store)["stored"] == 0
    assert [outcome.error for outcome in build_store("slic(4)", sources, store)] == [None]
    assert store_info(store)["images"] == plan_store("slic(4)", sources, store)["stored"] == 1


def test_frontier_and_diagnose(photo, tmp_path):
    comparison = SourceComparison("filters(size=56)", budgets=[4], only=["merge"])
    with pytest.raises(ValueError, match=r"a\.png"):
        frontier(comparison, collect([photo]), humans=str(tmp_path / "humans"))
    options = Options(out=str(tmp_path / "diagnosis"), humans=str(tmp_path))
    assert (options.out.name, options.humans) == ("diagnosis", tmp_path)
