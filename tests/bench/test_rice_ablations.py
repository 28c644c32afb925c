"""The bench of RICE's ablations: which runs it makes, how it judges, and what its tables say."""

from __future__ import annotations

import json

import pytest

from regiontok.rice.region_attention import RegionTransformer
from regiontok.rice.vit import ViT, ViTConfig
from samples import benches

bench = benches.load("rice_ablations")


@pytest.fixture
def few(monkeypatch):
    """Few scenes to judge by."""
    monkeypatch.setattr(bench, "JUDGED", 20)
    bench.held_out.cache_clear()
    yield
    bench.held_out.cache_clear()


def test_what_the_tables_share_is_one_run(tmp_path):
    firsts = [next(iter(table.values())) for table in bench.TABLES.values()]
    runs = {bench.run_of(tmp_path, bench.changes(*setting, 0, 600)) for setting in firsts}
    assert len(runs) == 1
    every = [setting for table in bench.TABLES.values() for setting in table.values()]
    runs = {bench.run_of(tmp_path, bench.changes(*setting, 0, 600)) for setting in every}
    assert len(runs) == len(every) - len(firsts) + 1


@pytest.mark.slow
def test_a_random_encoder_knows_colours_by_their_pixels_and_no_words(few):
    scores = bench.judged(RegionTransformer(ViT(ViTConfig.named("mini"), seed=0)))
    assert scores["colour_rows"] > 3 * scores["colour_chance"]
    assert scores["word_rows"] < 0.4
    assert all(0 <= value <= 1 for value in scores.values())


@pytest.mark.slow
def test_a_row_is_the_mean_and_the_deviation_of_what_is_done(few, tmp_path):
    for seed, right in enumerate((0.2, 0.4)):
        folder = bench.run_of(tmp_path, bench.changes(*bench.BASE, seed, 600))
        folder.mkdir()
        scores = {
            key: value
            for kind in bench.KINDS
            for key, value in (
                (f"{kind}_rows", right),
                (f"{kind}_patches", right),
                (f"{kind}_chance", 0.1),
            )
        }
        (folder / "judged.json").write_text(json.dumps(scores | {"loss": 3.0}))
    lines = bench.lines(tmp_path, 600, (0, 1, 2), ["N"])
    assert f"| N = 10 |{' 30.0 ± 14.1 |' * len(bench.COLUMNS)} 3.0 ± 0.0 | 2 |" in lines
    assert not any(line.startswith("| N = 5") for line in lines)
    assert any(line.startswith("| untrained | ") for line in lines)
