"""What the words of an answer looked at, as the page gets it: of a kept answer or a live one."""

from __future__ import annotations

from typing import Any

import numpy as np

from regiontok.jobs.kept_attention import KeptAttention, KeptPicture
from regiontok.system.arrays import packed
from regiontok.view.panels import view_data, view_names
from regiontok.view.tree_data import fixed_data


def attention_data(kept: KeptAttention) -> dict[str, Any]:
    """The words of an answer, and for each picture its regions with their shares.

    A view has "shares" `[w + 1 k]`: a row a word, and the whole answer behind them, the mean over
    all tokens. So have the shares of a picture ("visual"), and of its whole-image and CLS tokens.
    """
    return {
        "words": list(kept.words),
        "pictures": [_picture_data(picture, kept.tokens) for picture in kept.pictures],
    }


def _picture_data(picture: KeptPicture, tokens: tuple[int, ...]) -> dict[str, Any]:
    weights = np.array(tokens, np.float64) / max(1, sum(tokens))

    def with_mean(shares: Any) -> np.ndarray:
        words = np.asarray(shares, np.float64)
        return np.concatenate([words, (weights @ words)[None]])

    return {
        "picture": picture.key,
        **{
            name: packed(with_mean(getattr(picture, name)), "float32")
            for name in ("visual", "whole", "cls")
        },
        "views": [
            {
                "name": name,
                **view_data(view.frame, view.regions.grid),
                "fixed": fixed_data(view.regions),
                "shares": packed(with_mean(view.shares), "float32"),
            }
            for view, name in zip(picture.views, view_names(len(picture.views)), strict=True)
        ],
    }
