"""What the answers of a run took: visual tokens of a picture, by resolution too, and seconds.

After: diagnostic study, section 3.1 "Efficiency" (row D17): the average number of visual tokens of
a picture, at each resolution.
Differs: the distribution stands beside the average. A model with a resolution for each picture has
them in classes of like resolution. Seconds are those of a question as it went through the model,
in its batch, and so are not told apart by resolution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from regiontok.core.sizes import shape_text
from regiontok.evaluation.answers import Answer

Views = tuple[tuple[int, int], ...]  # (height, width) of each view of a picture

_MOST_APART = 6  # so many resolutions stand each by itself; of more, classes are made
_CLASSES = 4  # of about as many pictures each


@dataclass(frozen=True)
class TokenCounts:
    """How many visual tokens pictures of like resolution have.

    Attributes:
        resolution: what the encoder saw of a picture, in pixels; "" if that is not known.
        pictures: number of pictures.
        tokens: mean number of visual tokens of a picture; NaN without pictures.
        quantiles: the least number, the quarters, the median between them, and the most; () without
            pictures.
    """

    resolution: str
    pictures: int
    tokens: float
    quantiles: tuple[float, ...]

    @classmethod
    def of(cls, resolution: str, counts: Sequence[int]) -> TokenCounts:
        """From the number of visual tokens of each picture."""
        quantiles = np.percentile(counts, [0, 25, 50, 75, 100]).tolist() if counts else []
        mean = float(np.mean(counts)) if counts else math.nan
        return cls(resolution, len(counts), mean, tuple(quantiles))

    @property
    def spread(self) -> str:
        """The least number, the median and the most, as text; "" without pictures."""
        if not self.quantiles:
            return ""
        return " / ".join(f"{self.quantiles[index]:.0f}" for index in (0, 2, 4))

    def report(self) -> dict[str, Any]:
        """The counts as JSON has them."""
        return {
            "resolution": self.resolution,
            "pictures": self.pictures,
            "visual_tokens": self.tokens,
            "visual_tokens_quantiles": list(self.quantiles),
        }


@dataclass(frozen=True)
class Cost:
    """What the answers of a run took.

    Attributes:
        all: the visual tokens of all pictures.
        by_resolution: those of the pictures of each resolution, or class of resolutions, from the
            lowest to the highest.
        seconds: mean seconds of a question, batched as they were; NaN without answers.
    """

    all: TokenCounts
    by_resolution: tuple[TokenCounts, ...]
    seconds: float

    @classmethod
    def of(cls, answers: Sequence[Answer]) -> Cost:
        """The cost of answers that have a reply."""
        counts: dict[Views, list[int]] = {}
        for answer in answers:
            seen = answer.resolutions or ((),) * len(answer.visual_tokens)
            for views, count in zip(seen, answer.visual_tokens, strict=True):
                counts.setdefault(views, []).append(count)
        resolutions = sorted(counts, key=pixels_of)
        seconds = [answer.seconds for answer in answers]
        return cls(
            all=_joined(resolutions, counts),
            by_resolution=tuple(_joined(group, counts) for group in _classes(resolutions, counts)),
            seconds=float(np.mean(seconds)) if seconds else math.nan,
        )

    @property
    def tokens(self) -> float:
        """Mean number of visual tokens of a picture; NaN without pictures."""
        return self.all.tokens

    @property
    def quantiles(self) -> tuple[float, ...]:
        """See `TokenCounts.quantiles`."""
        return self.all.quantiles

    @property
    def resolution(self) -> str:
        """See `TokenCounts.resolution`."""
        return self.all.resolution

    def report(self) -> dict[str, Any]:
        """The cost as JSON has it."""
        return {
            **self.all.report(),
            "by_resolution": [counts.report() for counts in self.by_resolution],
            "seconds_a_question": self.seconds,
        }


def pixels_of(views: Views) -> tuple[int, Views]:
    """By what resolutions are ordered: the pixels of all views together."""
    return sum(height * width for height, width in views), views


def resolution_text(views: Views) -> str:
    """What an encoder saw of a picture, in words: the height and width of its views in pixels.

    >>> resolution_text(((336, 336),)), resolution_text(((336, 336), (672, 448)))
    ('336 x 336', '336 x 336 + 672 x 448')
    >>> resolution_text(((448, 448),) * 5), resolution_text(())
    ('5 of 448 x 448', '')
    """
    alike = [(shape_text(size), len(list(group))) for size, group in groupby(views)]
    return " + ".join(text if count == 1 else f"{count} of {text}" for text, count in alike)


def _joined(resolutions: Sequence[Views], counts: dict[Views, list[int]]) -> TokenCounts:
    """The counts of some resolutions, in their order, as those of one class."""
    ends = dict.fromkeys([*resolutions[:1], *resolutions[-1:]])
    text = " to ".join(filter(None, map(resolution_text, ends)))
    return TokenCounts.of(text, [count for views in resolutions for count in counts[views]])


def _classes(resolutions: Sequence[Views], counts: dict[Views, list[int]]) -> list[list[Views]]:
    """Each resolution by itself; if there are many, neighbours together."""
    if len(resolutions) <= _MOST_APART:
        return [[views] for views in resolutions]
    total = sum(map(len, counts.values()))
    classes: list[list[Views]] = [[] for _ in range(_CLASSES)]
    before = 0
    for views in resolutions:
        middle = before + len(counts[views]) / 2
        classes[int(_CLASSES * middle / total)].append(views)
        before += len(counts[views])
    return [group for group in classes if group]
