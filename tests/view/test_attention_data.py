"""What the page gets of an answer's words: each word's shares, then the mean over all tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regiontok.core.frame import Frame
from regiontok.core.regions import Regions
from regiontok.jobs.kept_attention import KeptAttention, KeptPicture, KeptView
from regiontok.system.arrays import unpacked
from regiontok.view.attention_data import attention_data


def test_the_whole_answer_is_the_mean_over_tokens_not_over_words():
    regions = Regions.from_labels(torch.tensor([[0, 0, 1]]))
    frame = Frame.stretch((10, 30), (1, 3), (1, 1))
    views = tuple(KeptView(frame, regions, np.array([[0.1, 0.2], [0.4, 0.0]])) for _ in range(3))
    picture = KeptPicture("key", (0.4, 0.5), (0.1, 0.1), (0.0, 0.0), views)
    data = attention_data(KeptAttention(("a", " square"), (1, 3), (picture,)))
    assert data["words"] == ["a", " square"]
    (seen,) = data["pictures"]
    assert unpacked(seen["visual"]).tolist() == pytest.approx([0.4, 0.5, 0.475])
    assert [view["name"] for view in seen["views"]] == ["whole image", "tile 1", "tile 2"]
    view = seen["views"][0]
    assert unpacked(view["shares"]) == pytest.approx(
        np.array([[0.1, 0.2], [0.4, 0.0], [0.325, 0.05]]), abs=1e-6
    )
    assert (view["grid"], view["fixed"]["k"]) == ([1, 3], 2)


def test_an_answer_without_words_has_nothing_to_show():
    assert attention_data(KeptAttention()) == {"words": [], "pictures": []}
