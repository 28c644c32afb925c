"""A share of samples without masks: which ones, what they become, and that lengths hold."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from regiontok.data.collate import Collator, Example
from regiontok.data.conversations import Conversations
from regiontok.data.labels import Labeller
from regiontok.data.mask_free import LargestVisualTokens, MaskFree
from regiontok.data.records import read
from regiontok.data.sampler import EpochOrder, record_pools
from regiontok.model.mini import mini_tokenizer
from regiontok.runs.folder import RunFolder
from regiontok.settings.recipe import Data, TokenizerSettings, resolve
from regiontok.train.build import build_model, image_token_id
from regiontok.train.options import TrainOptions
from regiontok.train.run import train
from regiontok.train.stage_data import load_stage_data
from samples.rows import flat

SCENES = "miniworld(24, size=64, fewest=1, most=1, questions='colour')"
TOKENIZER = mini_tokenizer()
PLACEHOLDER = image_token_id(TOKENIZER)


def mixed(share: float, seed: int = 1) -> MaskFree:
    records = read([Data(records=SCENES)])
    return MaskFree(
        Conversations(records, Labeller(TOKENIZER, "", placeholder=PLACEHOLDER)), share, seed=seed
    )


def order(data: MaskFree, **options) -> EpochOrder:
    return EpochOrder(record_pools(data.records), batch=6, seed=2, epochs=3.0, **options)


def test_the_draws_are_a_function_of_seed_epoch_and_record():
    data = mixed(0.5)
    draws = data.drawn(0, range(24))
    assert draws.tolist() == pickle.loads(pickle.dumps(mixed(0.5))).drawn(0, range(24)).tolist()
    # whatever else is in the batch
    assert draws[5:9].tolist() == data.drawn(0, [5, 6, 7, 8]).tolist()
    assert draws.tolist() != data.drawn(1, range(24)).tolist()
    assert draws.tolist() != mixed(0.5, seed=2).drawn(0, range(24)).tolist()
    assert abs(float(mixed(0.3).drawn(0, range(2000)).mean()) - 0.3) < 0.04


@pytest.mark.parametrize(("share", "expected"), [(0.0, False), (1.0, True)])
def test_none_and_all(share, expected):
    assert set(mixed(share).drawn(3, range(24)).tolist()) == {expected}


@pytest.mark.parametrize("options", [{}, {"lengths": np.full(24, 50), "pack_to": 100}])
def test_rows_are_those_of_the_order_with_some_moved(options):
    data = mixed(0.5)
    sample_order = order(data, **options)
    for step in (0, 1, 5):
        rows, plain = data.rows(sample_order, step), sample_order.rows(step)
        assert [index % 24 for index in flat(rows)] == flat(plain)
        assert [index >= 24 for index in flat(rows)] == data.drawn(
            sample_order.epoch_and_step(step)[0], flat(plain)
        ).tolist()
        assert [type(row) for row in rows] == [type(row) for row in plain]


def test_a_moved_index_is_the_same_sample_without_masks():
    data = mixed(0.5)
    with_masks, without = data[3], data[3 + 24]
    assert isinstance(with_masks, Example)
    assert isinstance(without, Example)
    assert (with_masks.regions, without.regions) == (None, "")
    assert without.input_ids == with_masks.input_ids
    pair = data[(3, 27)]
    assert isinstance(pair, tuple)
    assert [sample.regions for sample in pair] == [None, ""]
    assert len(data) == 48


def test_a_batch_says_the_regions_of_each_picture_only_where_some_differ():
    data, collate = mixed(0.5), Collator.of(TOKENIZER, PLACEHOLDER)
    assert "regions" not in collate([data[0], data[1]])
    text = Example([1, 5, 6], [-100, 5, 6], regions="")  # no picture, so nothing to say of it
    assert collate([data[0], text, data[25]])["regions"] == [None, ""]


def test_a_share_outside_0_and_1_is_refused():
    with pytest.raises(
        ValueError, match=r"mask_free is a share of the samples in \[0, 1\], not 1.5"
    ):
        mixed(1.5)


STAGE = {
    "name": "align",
    "data": [{"records": SCENES}],
    "batch": 6,
    "epochs": 1.0,
    "precision": "fp32",
    "max_length": 512,
}


def recipe(**changes):
    table = {
        "what": "test",
        "tokenizer": {
            "encoder": "filters(size=56)",
            "segmenter": "felzenszwalb",
            "regions": "segments(0.07)",
            "pool": "select",
        },
        "model": {"language_model": "mini(width=32, layers=1, heads=2)"},
        "stage": [{**STAGE, **changes}],
    }
    return resolve(table, name="toy")


def fed(share: float):
    run_recipe = recipe(mask_free=share)
    return load_stage_data(
        run_recipe, run_recipe.stage[0], tokenizer=TOKENIZER, placeholder=PLACEHOLDER
    )


@pytest.mark.slow
def test_a_length_is_the_larger_of_both_ways():
    bare, with_masks, both = (fed(share).measure.visual for share in (1.0, 0.0, 0.25))
    assert np.array_equal(bare, both)
    assert np.array_equal(both, np.maximum(with_masks, 16))
    assert (with_masks != 16).any()


@pytest.mark.slow
def test_a_connector_may_make_several_tokens_of_each():
    settings = TokenizerSettings(encoder="filters(size=112)", regions="windows(4)")
    images = ["miniworld(number=0)", "miniworld(number=1)"]
    (single,), (double,) = (
        set(LargestVisualTokens.of(settings, connector=connector)(images))
        for connector in ("linear", "words('small large, red green')")
    )
    assert double == 2 * single


def test_a_stage_trains_on_both_kinds_and_names_its_records(tmp_path):
    stage_data = fed(0.5)
    row = next(row for row in flat(stage_data.rows_of_step(0)) if row >= 24)
    assert stage_data.row_name(row) == stage_data.row_name(row - 24)
    run_recipe = recipe(mask_free=0.5, steps=2)
    train(run_recipe, tmp_path / "run", options=TrainOptions(device="cpu"), recipe_text="as given")
    losses = [
        entry["loss"] for entry in RunFolder(tmp_path / "run").entries() if entry["kind"] == "step"
    ]
    assert len(losses) == 2
    assert np.isfinite(losses).all()


@pytest.mark.slow
def test_packed_rows_of_both_kinds_keep_to_their_length(tmp_path):
    packed_recipe = recipe(mask_free=0.5, pack=True, max_length=260, batch=2)
    stage_data = load_stage_data(
        packed_recipe,
        packed_recipe.stage[0],
        tokenizer=TOKENIZER,
        placeholder=PLACEHOLDER,
        cache=str(tmp_path / "features"),
    )
    model = build_model(packed_recipe).model
    rows = stage_data.rows_of_step(0)
    assert any(index >= 24 for index in flat(rows))
    batch = stage_data.collate([stage_data.dataset[row] for row in rows])
    spliced = model.spliced(
        batch["input_ids"], batch["attention_mask"], batch["pictures"], regions=batch["regions"]
    )
    assert int(spliced.lengths.max()) <= 260
    bare = [number for number, text in enumerate(batch["regions"]) if text == ""]
    assert bare
    assert {
        model.see([batch["pictures"][number]], regions="").counts.item() for number in bare
    } == {16}
    assert torch.isfinite(model(**batch).loss)
