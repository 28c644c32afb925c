"""Splicing: placeholders become their images' tokens, in one place."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regiontok.core.tokens import Tokens
from regiontok.model.splice import IGNORE, splice

IMAGE = 99


def visual(*counts: int, width: int = 2) -> Tokens:
    """Tokens whose value is their own number, from 1000."""
    total = sum(counts)
    image = torch.repeat_interleave(
        torch.arange(len(counts)), torch.tensor(counts, dtype=torch.int64)
    )
    none = torch.zeros(total, dtype=torch.int64)
    values = (1000 + torch.arange(total, dtype=torch.float32))[:, None].expand(total, width)
    return Tokens(values, image, none, none, none, none, len(counts))


class Numbers(torch.nn.Module):
    """An embedding that gives an id back: what came from where can be read off."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        assert bool((ids < IMAGE).all()), (
            "a placeholder outside the vocabulary must never be embedded"
        )
        return ids.float()[..., None].expand(*ids.shape, 2)


def rows(spliced) -> list[list[int]]:
    return spliced.embeds[..., 0].long().tolist()


def test_two_rows_by_eye():
    ids = torch.tensor([[1, IMAGE, 2], [IMAGE, IMAGE, 3]])
    out = splice(ids, None, visual(2, 1, 3), placeholder=IMAGE, embed=Numbers())
    assert rows(out) == [[1, 1000, 1001, 2, 0], [1002, 1003, 1004, 1005, 3]]
    assert out.mask.long().tolist() == [[1, 1, 1, 1, 0], [1] * 5]
    assert out.visual.tolist() == [[-1, 0, 1, -1, -1], [2, 3, 4, 5, -1]]
    assert out.text.tolist() == [[0, -1, -1, 2, -1], [-1, -1, -1, -1, 2]]
    assert out.positions.tolist() == [[0, 1, 2, 3, 0], [0, 1, 2, 3, 4]]


def test_left_padding_in_and_out():
    ids = torch.tensor([[0, 0, 7, IMAGE], [4, IMAGE, 5, 6]])
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    out = splice(ids, mask, visual(1, 2), placeholder=IMAGE, embed=Numbers(), side="left")
    assert rows(out) == [[0, 0, 0, 7, 1000], [4, 1001, 1002, 5, 6]]
    assert out.positions.tolist() == [[0, 0, 0, 0, 1], [0, 1, 2, 3, 4]]


def test_labels_follow_and_visual_tokens_are_ignored():
    ids = torch.tensor([[1, IMAGE, 2, 3]])
    out = splice(
        ids,
        None,
        visual(2),
        placeholder=IMAGE,
        embed=Numbers(),
        labels=torch.tensor([[IGNORE, IGNORE, 2, 3]]),
    )
    assert out.labels.tolist() == [[IGNORE, IGNORE, IGNORE, 2, 3]]


def test_an_image_without_tokens_vanishes():
    out = splice(torch.tensor([[1, IMAGE, 2]]), None, visual(0), placeholder=IMAGE, embed=Numbers())
    assert rows(out) == [[1, 2]]


def test_text_only():
    out = splice(torch.tensor([[1, 2, 3]]), None, None, placeholder=IMAGE, embed=Numbers())
    assert rows(out) == [[1, 2, 3]]
    assert out.visual.eq(-1).all()


@pytest.mark.parametrize("images", [0, 1, 3])
def test_counts_of_placeholders_and_images_are_both_named(images):
    ids = torch.tensor([[1, IMAGE, IMAGE]])
    with pytest.raises(
        ValueError, match=rf"2 image placeholders \(by row: \[2\]\), but {images} images"
    ):
        splice(
            ids, None, visual(*[1] * images) if images else None, placeholder=IMAGE, embed=Numbers()
        )


def test_a_placeholder_in_the_padding_counts_for_nothing():
    out = splice(
        torch.tensor([[1, IMAGE]]), torch.tensor([[1, 0]]), None, placeholder=IMAGE, embed=Numbers()
    )
    assert rows(out) == [[1]]


def test_packed_rows_start_anew():
    ids = torch.tensor([[1, IMAGE, 2, 3, 4]])
    segments = torch.tensor([[0, 0, 0, 1, 1]])
    out = splice(ids, None, visual(2), placeholder=IMAGE, embed=Numbers(), segments=segments)
    assert out.segments.tolist() == [[0, 0, 0, 0, 1, 1]]
    assert out.positions.tolist() == [[0, 1, 2, 3, 0, 1]]


def test_gradients_reach_both_sides():
    embed = torch.nn.Embedding(10, 2)
    tokens = visual(2)
    values = tokens.values.clone().requires_grad_()
    splice(
        torch.tensor([[1, IMAGE]]), None, tokens.but(values), placeholder=IMAGE, embed=embed
    ).embeds.sum().backward()
    assert values.grad.eq(1).all()
    assert embed.weight.grad[1].eq(1).all()
    assert embed.weight.grad[0].eq(0).all()  # placeholders are looked up as id 0, and replaced


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.lists(st.one_of(st.integers(1, 9), st.integers(100, 104)), max_size=6),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
)
def test_equals_a_plain_loop(written, left):
    """Numbers from 100 stand for an image with so many tokens less 100."""
    longest = max(map(len, written))
    if not longest:
        return
    ids = torch.zeros(len(written), longest, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    counts = [word - 100 for row in written for word in row if word >= 100]
    wanted, done = [], 0
    for place, row in enumerate(written):
        ids[place, : len(row)] = torch.tensor(
            [IMAGE if word >= 100 else word for word in row], dtype=torch.int64
        )
        mask[place, : len(row)] = 1
        line: list[int] = []
        for word in row:
            if word < 100:
                line.append(word)
            else:
                line += range(1000 + done, 1000 + done + word - 100)
                done += word - 100
        wanted.append(line)
    most = max(map(len, wanted))
    side = "left" if left else "right"
    out = splice(
        ids,
        mask,
        visual(*counts) if counts else None,
        placeholder=IMAGE,
        embed=Numbers(),
        side=side,
    )
    padded = [
        [0] * (most - len(line)) + line if left else line + [0] * (most - len(line))
        for line in wanted
    ]
    assert rows(out) == padded if most else True
    assert out.lengths.tolist() == [len(line) for line in wanted]
