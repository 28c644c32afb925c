"""A row ends where LLaVA's does: ids, labels and visual tokens agree after a cut."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from regiontok.data.cache import FeatureCache
from regiontok.data.collate import Collator
from regiontok.data.conversations import Conversations
from regiontok.data.cut import cut_row
from regiontok.data.labels import Labeller
from regiontok.data.lengths import measure
from regiontok.data.records import read
from regiontok.data.sampler import EpochOrder, record_pools
from regiontok.data.visual_tokens import VisualTokens
from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.splice import IGNORE
from regiontok.model.vlm import RegionVLM
from regiontok.runs.folder import RunFolder
from regiontok.settings.recipe import Data, TokenizerSettings, resolve
from regiontok.system.hardware import hardware
from regiontok.train.options import TrainOptions
from regiontok.train.plan import plan_run
from regiontok.train.run import train
from regiontok.train.stage_data import load_stage_data

VISUAL = TokenizerSettings(encoder="filters(size=56)", regions="merge(0.9)")
LABELLER = Labeller(mini_tokenizer(), "vicuna_v1")


def expanded(ids, image_tokens, placeholder) -> list[int]:
    """One entry a token of the row: the place of its id."""
    counts = iter(image_tokens)
    return [
        place
        for place, number in enumerate(ids)
        for _ in range(next(counts) if number == placeholder else 1)
    ]


@settings(max_examples=200, deadline=None)
@given(
    row=st.lists(st.one_of(st.just(None), st.integers(0, 5)), min_size=1, max_size=12),
    limit=st.integers(1, 30),
)
def test_what_is_left_is_the_beginning_of_the_expanded_row(row, limit):
    """None is a text id, a number is a picture of so many tokens."""
    ids = [9 if count is not None else 5 for count in row]
    image_tokens = [count for count in row if count is not None]
    length, left = cut_row(ids, image_tokens, placeholder=9, limit=limit)
    assert len(left) == ids[:length].count(9)
    whole = expanded(ids, image_tokens, 9)
    assert expanded(ids[:length], left, 9) == whole[:limit]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """One, two and no pictures, with long and short answers."""
    folder = tmp_path_factory.mktemp("records")
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 60, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")

    def row(name: str, images: list[str], question: str, answer: str):
        talk = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
        return {"id": name, "conversations": talk} | ({"image": images} if images else {})

    rows = [
        row("short", ["0.png"], "<image>\nWhat?", "red"),
        row("long answer", ["1.png"], "<image>\nWhat?", "red " * 30),
        row("two pictures", ["1.png", "2.png"], "<image> or <image>?", "both"),
        row("text", [], "Hi", "Hello " * 40),
    ]
    (folder / "data.json").write_text(json.dumps(rows), encoding="utf-8")
    return read([Data(records=str(folder / "data.json"))])


def measured(records, limit: int):
    return measure(records, LABELLER, VisualTokens(VISUAL), max_length=limit, overflow="cut")


@pytest.fixture(scope="module")
def model():
    return RegionVLM.from_parts(
        mini_language_model(width=24, layers=1, heads=2),
        VISUAL,
        image_token_id=LABELLER.placeholder,
    ).eval()


def limits_of(records) -> list[int]:
    """Limits in the answer, in the question, and in the first and second picture."""
    whole = measured(records, 10_000)
    system = len(LABELLER.prompt(records[0].turns[:1])) - len("<image>\nWhat? ASSISTANT:") + 7
    first, second = whole.image_tokens_of(2)
    middle = system + first // 2
    return [int(whole.lengths[0]), system + first + 3, system + first + second // 2, middle]


@pytest.mark.slow
def test_ids_labels_and_visual_tokens_agree_after_a_cut(records, model, tmp_path):
    """The cut row is the beginning of the uncut one, as LLaVA cuts embeddings and labels."""
    collate = Collator.of(LABELLER.tokenizer, LABELLER.placeholder)
    whole = Conversations(records, LABELLER)
    for limit in limits_of(records):
        lengths = measured(records, limit)
        assert lengths.cut.any()
        cache = FeatureCache(tmp_path / "kept", VISUAL)
        for dataset in (
            Conversations(records, LABELLER, measure=lengths),
            Conversations(records, LABELLER, measure=lengths, cache=cache),
        ):
            for index in range(len(records)):
                example = dataset[index]
                assert example.is_cut == lengths.cut[index]
                with torch.no_grad():
                    uncut = model.spliced(**collate([whole[index]]))
                    cut = model.spliced(**collate([example]))
                assert cut.embeds.shape[1] == lengths.lengths[index] <= limit
                assert torch.equal(cut.embeds, uncut.embeds[:, :limit])
                assert torch.equal(cut.labels, uncut.labels[:, :limit])
                assert torch.equal(cut.visual >= 0, (uncut.visual >= 0)[:, :limit])


def test_a_batch_of_cut_and_whole_rows_trains(records, model):
    limit = limits_of(records)[2]
    lengths = measured(records, limit)
    dataset = Conversations(records, LABELLER, measure=lengths)
    collate = Collator.of(LABELLER.tokenizer, LABELLER.placeholder)
    batch = collate([dataset[index] for index in range(4)])
    assert len(batch["limits"]) == len(batch["pictures"]) == 4
    assert [most is not None for most in batch["limits"]] == [False, False, False, True]
    output = model(**batch)
    assert output.logits.shape[1] == limit
    assert torch.isfinite(output.loss)
    order = EpochOrder(
        record_pools(records, lengths.keep), batch=1, lengths=lengths.lengths, pack_to=limit
    )
    assert {len(row) for step in range(order.steps) for row in order.rows(step)} == {1}
    packed = collate([(dataset[3], dataset[2])])
    assert torch.isfinite(model(**packed).loss)


def test_a_picture_behind_the_limit_is_not_opened(records):
    limit = limits_of(records)[3]
    example = Conversations(records, LABELLER, measure=measured(records, limit))[2]
    assert len(example.pictures) == len(example.limits) == 1
    assert example.limits[0] is not None


def test_cuts_are_said_loudly_and_counted(records, caplog):
    with caplog.at_level(logging.WARNING, logger="regiontok"):
        whole = measured(records, 10_000)
        assert not caplog.records
        assert not whole.cut.any()
        lengths = measured(records, int(whole.lengths[0]))
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("3 of 4 records (75.0 %) are longer than max_length=")
    assert "CUT" in message
    assert lengths.cut.tolist() == [False, True, True, True]
    assert lengths.keep.all()
    assert not lengths.counts
    with caplog.at_level(logging.WARNING, logger="regiontok"):
        measured(records, 5)
    assert "in 3 records all of them" in caplog.records[-1].getMessage()


def test_an_answer_that_is_lost_is_not_supervised(records):
    example = Conversations(records, LABELLER, measure=measured(records, 5))[0]
    assert len(example.input_ids) == 5
    assert set(example.labels) == {IGNORE}
    assert example.pictures == ()


@pytest.mark.slow
def test_a_stage_that_cuts_trains_and_logs_how_many(tmp_path):
    scenes = "miniworld(24, size=64, fewest=1, most=3, questions='colour,count')"
    stage = {
        "name": "align",
        "data": [{"records": scenes}],
        "batch": 6,
        "steps": 2,
        "precision": "fp32",
        "max_length": 108,
        "overflow": "cut",
        "group_by": "modality",
    }
    table = {
        "what": "test",
        "tokenizer": {"encoder": "filters(size=56)", "regions": "merge(k=8)"},
        "model": {"language_model": "mini(width=32, layers=1, heads=2)"},
        "stage": [stage],
    }
    recipe = resolve(table, name="toy")
    options = TrainOptions(device="cpu", held_out=4, answers=4)
    train(recipe, tmp_path / "run", options=options, recipe_text="as given")
    stage_data = load_stage_data(
        recipe,
        recipe.stage[0],
        tokenizer=mini_tokenizer(),
        placeholder=LABELLER.image_id,
        held_out=4,
    )
    assert {example.is_cut for example in stage_data.held_out()} == {False, True}
    entries = RunFolder(tmp_path / "run").entries()
    begin = next(entry for entry in entries if entry["kind"] == "stage")
    assert 0 < begin["cut"] < begin["samples"] == 20
    losses = [entry["loss"] for entry in entries if entry["kind"] == "step"]
    assert len(losses) == 2
    assert np.isfinite(losses).all()
    (plan,) = plan_run(recipe, options, hardware("a100"))
    assert 0 < plan.cut < 1
