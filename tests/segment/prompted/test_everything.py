"""A mask decoder whose numbers are NaN is an error: no threshold would see them."""

from __future__ import annotations

import pytest
import torch

from regiontok.core.masks import NotANumber
from regiontok.segment.prompted.everything import check_numbers


def test_numbers_that_are_none_are_refused():
    logits, scores = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3)
    check_numbers(logits, scores)
    check_numbers(logits - torch.inf, scores)  # beyond float16: no mask, as it should be
    for spoilt in ((logits / 0, scores), (logits, scores / 0)):
        with pytest.raises(NotANumber, match="its mask decoder gives NaN"):
            check_numbers(*spoilt)
