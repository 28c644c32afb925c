"""From records to batches: lengths, stand-ins for bad pictures, workers, packing."""

from __future__ import annotations

import json
import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from regiontok.core.grid import PatchGrid
from regiontok.core.picture import PictureError
from regiontok.data.cache import FeatureCache
from regiontok.data.collate import Collator, Example
from regiontok.data.conversations import Conversations, read_replaced
from regiontok.data.labels import Labeller
from regiontok.data.lengths import measure
from regiontok.data.records import read
from regiontok.data.sampler import EpochOrder, record_pools
from regiontok.data.visual_tokens import VisualTokens
from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.splice import IGNORE
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import Data, TokenizerSettings
from regiontok.tokenizer.region_tokenizer import RegionTokenizer

FIXED = TokenizerSettings(encoder="filters(size=112)", regions="merge(k=4) | sort('com')")
FREE = TokenizerSettings(encoder="filters(size=112)", regions="merge(0.9)")


@pytest.fixture
def folder(tmp_path):
    """Eight records with a picture and one without; the picture of record 3 is damaged."""
    rows = []
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 60, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        talk = [
            {"from": "human", "value": "<image>\nWhat?"},
            {"from": "gpt", "value": "red " * (1 + number % 3)},
        ]
        rows.append({"id": str(number), "image": f"{number}.png", "conversations": talk})
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:200])
    rows.append(
        {
            "id": "text",
            "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}],
        }
    )
    (tmp_path / "data.json").write_text(json.dumps(rows), encoding="utf-8")
    return tmp_path


@pytest.fixture
def records(folder):
    return read([Data(records=str(folder / "data.json"))])


LABELLER = Labeller(mini_tokenizer())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "fixed"),
    [
        (FIXED, 4),
        (TokenizerSettings(encoder="filters(size=112)", regions="windows(6)", whole=True), 7),
        (TokenizerSettings(encoder="filters(size=112)", regions="merge(0.9)"), None),
        (TokenizerSettings(encoder="filters(size=112)", regions="windows(6)", pool="select"), None),
        (TokenizerSettings(encoder="filters(size=56)", regions="merge(k=3)", tiles="2x2"), None),
    ],
)
def test_counts_are_those_of_the_tokenizer(settings, fixed, folder, tmp_path):
    visual = VisualTokens(settings, tmp_path / "kept")
    assert visual.fixed == fixed
    images = [str(folder / f"{number}.png") for number in (0, 1, 2)]
    assert visual(images) == RegionTokenizer(**settings.model_dump())(images).counts.tolist()


def test_measured_counts_are_kept_on_disk_and_follow_the_file(folder, tmp_path, monkeypatch):
    images = [str(folder / f"{number}.png") for number in (0, 3, 1)]
    visual = VisualTokens(FREE, tmp_path / "kept")
    counts = visual(images)
    assert str(counts[1]).startswith("picture: damaged or truncated")
    visual.save()
    again = VisualTokens(FREE, tmp_path / "kept")
    monkeypatch.setattr(again.tokenizer, "run", None)  # nothing is run for what is known
    assert again([images[0], images[2]]) == [counts[0], counts[2]]
    Image.new("RGB", (30, 30)).save(images[0])
    with pytest.raises(TypeError, match="not callable"):
        again([images[0]])


def test_every_record_is_measured_or_set_aside_with_its_reason(records):
    measured = measure(records, LABELLER, VisualTokens(FREE), max_length=2048)
    assert list(measured.reasons) == [3]
    assert measured.keep.tolist() == [True] * 3 + [False] + [True] * 5
    visual = RegionTokenizer(**FREE.model_dump())
    for index, record in enumerate(records):
        if index != 3:
            ids, _ = LABELLER(record.turns)
            visual_tokens = int(visual(list(record.images)).counts.sum()) if record.images else 0
            assert measured.lengths[index] == len(ids) - len(record.images) + visual_tokens


def test_text_is_measured_once_for_the_same_records_and_tokenizer(records, tmp_path):
    visual = VisualTokens(FIXED, tmp_path / "kept")
    first = measure(records, LABELLER, visual, max_length=2048)
    (path,) = (tmp_path / "kept").glob("text-*.json")
    again = measure(records, LABELLER, visual, max_length=2048)
    assert np.array_equal(first.text, again.text)
    known = json.loads(path.read_text())
    path.write_text(json.dumps({**known, "text": [1] * len(records)}))
    # it is read, not made
    assert measure(records, LABELLER, visual, max_length=2048).text.tolist() == [1] * len(records)
    path.write_text(path.read_text()[:-9])
    assert np.array_equal(measure(records, LABELLER, visual, max_length=2048).text, first.text)
    other = Labeller(mini_tokenizer(), "vicuna_v1")
    assert measure(records, other, visual, max_length=2048).text.min() > first.text.max()


def test_what_is_too_long_is_an_error_or_is_set_aside_and_counted(records):
    visual = VisualTokens(FIXED)
    longest = int(measure(records, LABELLER, visual, max_length=2048).lengths.max())
    with pytest.raises(
        ValueError,
        match=rf"are longer than max_length={longest - 1}; the longest, 2, has {longest - 4} "
        r"text and 4",
    ):
        measure(records, LABELLER, visual, max_length=longest - 1)
    measured = measure(records, LABELLER, visual, max_length=longest - 1, overflow="skip")
    assert measured.counts == Counter(
        {f"longer than max_length={longest - 1}": int((~measured.keep).sum())}
    )
    with pytest.raises(ValueError, match="no record is left to train on"):
        measure(records, LABELLER, visual, max_length=3, overflow="skip")


def test_a_bad_picture_gives_its_place_to_the_next_that_is_no_longer(records, folder):
    # fixed: nothing was decoded
    measured = measure(records, LABELLER, VisualTokens(FIXED), max_length=2048)
    dataset = Conversations(
        records, LABELLER, measure=measured, replaced_file=folder / "aside.jsonl"
    )
    example = dataset[3]
    assert example.input_ids == dataset[6].input_ids  # 4 and 5 are longer than 3
    assert example.pictures[0].key == dataset[6].pictures[0].key
    assert list(read_replaced(folder / "aside.jsonl")) == [3]
    assert "damaged" in read_replaced(folder / "aside.jsonl")[3]
    assert read_replaced(folder / "none.jsonl") == {}
    with pytest.raises(PictureError, match=r"3\.png"):
        Conversations(records, LABELLER, strict=True)[3]
    for number in range(8):
        (folder / f"{number}.png").unlink()
    assert dataset[0].pictures == ()  # the text-only record
    (folder / "data.json").write_text(
        json.dumps([{"id": "x", "image": "data.json", "conversations": _TALK}]), encoding="utf-8"
    )
    with pytest.raises(ValueError, match="no other of its source can stand in"):
        Conversations(read([Data(records=str(folder / "data.json"))]), LABELLER)[0]


_TALK = [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "red"}]


def same(a: dict, b: dict) -> bool:
    assert sorted(a) == sorted(b)
    assert all(torch.equal(a[name], b[name]) for name in a if name != "pictures")
    assert [picture.key for picture in a["pictures"]] == [picture.key for picture in b["pictures"]]
    return True


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
def test_workers_do_not_change_a_batch(records, packed):
    measured = measure(records, LABELLER, VisualTokens(FIXED), max_length=2048)
    options = {"pack_to": 150} if packed else {"group_by": "length"}
    order = EpochOrder(
        record_pools(records, measured.keep),
        batch=3,
        seed=1,
        lengths=measured.lengths,
        epochs=2,
        **options,
    )
    dataset = Conversations(records, LABELLER, measure=measured)
    collate = Collator.of(LABELLER.tokenizer, LABELLER.placeholder)
    dataset = pickle.loads(pickle.dumps(dataset))  # as workers that are spawned get it
    runs = [
        list(DataLoader(dataset, batch_sampler=order, collate_fn=collate, num_workers=n))
        for n in (0, 2)
    ]
    assert len(runs[0]) == len(order)
    assert all(same(a, b) for a, b in zip(*runs, strict=True))
    assert ("segments" in runs[0][0]) == packed


def test_rows_are_padded_on_the_right_and_segments_count_samples():
    first, second = Example([5, 9, 6], [IGNORE, IGNORE, 6]), Example([7, 8], [7, 8])
    picture = Conversations(read([Data(records="miniworld(1, size=64)")]), LABELLER)[0].pictures[0]
    first = Example(first.input_ids, first.labels, (picture,))
    batch = Collator(placeholder=9, pad=0)([(first, second), (second,)])
    assert batch["input_ids"].tolist() == [[5, 9, 6, 7, 8], [7, 8, 0, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    assert batch["segments"].tolist() == [[0, 0, 0, 1, 1], [0, 0, -1, -1, -1]]
    assert batch["labels"].tolist() == [
        [IGNORE, IGNORE, 6, IGNORE, 8],
        [IGNORE, 8, IGNORE, IGNORE, IGNORE],
    ]
    assert batch["pictures"] == [picture]
    with pytest.raises(ValueError, match=r"1 placeholders \(id 9\) and 0 pictures"):
        Collator(placeholder=9)([Example([9], [IGNORE])])
    with pytest.raises(ValueError, match="as many labels as ids: 1 for 2"):
        Collator(placeholder=9)([Example([1, 2], [IGNORE])])
    assert Collator.of(mini_tokenizer(), 3) == Collator(placeholder=3, pad=0)


def test_a_packed_row_of_the_model_is_its_samples_alone_and_lengths_are_true(records, tmp_path):
    """The logits of a sample do not change with its neighbours.

    The model's rows are as long as was measured.
    """
    model = RegionVLM.from_parts(
        mini_language_model(width=32, layers=2, heads=2), FREE, image_token_id=LABELLER.placeholder
    ).eval()
    measured = measure(records, LABELLER, VisualTokens(FREE), max_length=2048)
    dataset = Conversations(
        records, LABELLER, measure=measured, cache=FeatureCache(tmp_path / "kept", FREE)
    )
    collate = Collator.of(LABELLER.tokenizer, LABELLER.placeholder)
    batch = collate([dataset[(0, 8, 1)], dataset[(2,)]])
    assert all(isinstance(picture, PatchGrid) for picture in batch["pictures"])
    with torch.no_grad():
        rows = model(**batch).logits
        start = 0
        for index in (0, 8, 1):
            alone = model(**collate([dataset[index]])).logits[0]
            assert len(alone) == measured.lengths[index]
            torch.testing.assert_close(
                rows[0, start : start + len(alone)], alone, atol=2e-5, rtol=0
            )
            start += len(alone)
    assert rows.shape[1] == start == measured.lengths[[0, 8, 1]].sum()
