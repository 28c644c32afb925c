"""Independent questions that share one reading of a picture: as if each were asked alone."""

from __future__ import annotations

import pytest
import torch

from regiontok.data.blocks import SHARED, independent_questions
from regiontok.data.collate import Collator, Example
from regiontok.data.labels import Labeller
from regiontok.data.records import read
from regiontok.model.mini import mini_tokenizer
from regiontok.model.packed import check_blocks
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import Data, TokenizerSettings
from samples.models import mini_vlm, ready_to_answer, tiny_sizes
from samples.pictures import colour_blocks

VISUAL = TokenizerSettings(encoder="filters(size=112)", regions="windows(4)", norm="rms")
PICTURES = [colour_blocks(seed, (40, 60)) for seed in range(2)]
COLLATE = Collator(placeholder=3)


def examples(independent: bool) -> list[list[Example]]:
    """The questions about two pictures: a row a picture, or a row a question."""
    labeller = Labeller(mini_tokenizer(), placeholder=3, independent=True)
    alone = Labeller(mini_tokenizer(), placeholder=3)
    records = read([Data(records="world(2, size=128, kinds='colour,left_right,size')")])
    by_picture = []
    for record, picture in zip(records, PICTURES, strict=True):
        if independent:
            ids, labels, blocks = labeller.row(record.turns)
            by_picture.append([Example(ids, labels, (picture,), blocks=tuple(blocks))])
        else:
            rows = [alone(turns) for turns in independent_questions(record.turns)]
            by_picture.append([Example(*row, (picture,)) for row in rows])
    return by_picture


@pytest.fixture(scope="module")
def model() -> RegionVLM:
    return ready_to_answer(mini_vlm(VISUAL)).eval()


def test_logits_and_loss_of_blocks_are_those_of_separate_rows(model):
    """Packed together with another picture's row, too."""
    rows = [row for (row,) in examples(independent=True)]
    separate = examples(independent=False)
    assert len(separate[0]) >= 3
    batch = COLLATE([tuple(rows)])
    output = model(**batch)
    spliced = model.spliced(
        batch["input_ids"],
        batch["attention_mask"],
        batch["pictures"],
        segments=batch["segments"],
        blocks=batch["blocks"],
    )
    total, count = 0.0, 0
    for segment, questions in enumerate(separate):
        for block, example in enumerate(questions):
            alone = model(**COLLATE([example]))
            is_seen = (spliced.blocks[0] == SHARED) | (spliced.blocks[0] == block)
            places = ((spliced.segments[0] == segment) & is_seen).nonzero()[:, 0]
            assert spliced.positions[0, places].tolist() == list(range(len(places)))
            shared = output.logits[0, places]
            assert torch.allclose(shared, alone.logits[0], rtol=0, atol=2e-5)
            number = sum(label >= 0 for label in example.labels[1:])
            total, count = total + float(alone.loss.detach()) * number, count + number
    assert float(output.loss.detach()) == pytest.approx(total / count, abs=1e-5)


def test_gradients_of_blocks_are_those_of_separate_rows(model):
    def gradients(batch) -> dict[str, torch.Tensor]:
        model.zero_grad()
        model(**batch).loss.backward()
        return {
            name: value.grad.clone()
            for name, value in model.named_parameters()
            if value.grad is not None
        }

    together = gradients(COLLATE([row for (row,) in examples(independent=True)]))
    apart = gradients(COLLATE([row for rows in examples(independent=False) for row in rows]))
    assert together.keys() == apart.keys()
    for name, value in together.items():
        assert torch.allclose(value, apart[name], rtol=1e-3, atol=1e-5), name


def test_what_blocks_cannot_be_is_said(model):
    ids = torch.tensor([[1, 40, 41, 42]])
    blocks = torch.tensor([[-1, 0, 1, 1]])
    with pytest.raises(ValueError, match="blocks are parts of samples: give segments, too"):
        model(ids, blocks=blocks)
    segmented = mini_vlm(VISUAL, positions="segment")
    with pytest.raises(ValueError, match="positions='segment' know no blocks"):
        segmented(ids, segments=torch.zeros_like(ids), blocks=blocks)
    with pytest.raises(ValueError, match="positions = 'segment' know no blocks"):
        check_blocks(segmented, 100)


def test_a_window_must_reach_over_whole_rows():
    hub = pytest.importorskip("transformers")
    sizes = tiny_sizes(vocab_size=260)
    windowed = hub.MistralForCausalLM(hub.MistralConfig(**sizes, head_dim=8, sliding_window=64))
    model = RegionVLM.from_parts(windowed, VISUAL, image_token_id=3)
    check_blocks(model, 64)
    with pytest.raises(ValueError, match="sees 64 tokens back, and rows may have 65"):
        check_blocks(model, 65)
