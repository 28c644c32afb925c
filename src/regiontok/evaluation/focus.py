"""Focus: how much of an answer's attention goes to the object that a question is about.

A `FocusSample` keeps the attention of one answer on every visual token, and how much of each token
the annotation covers; scores are always made of samples again, so that another threshold needs no
model.

After: diagnostic study, section 4 and its supplement (row D16).
Differs: what the paper leaves open is a setting of `FocusOptions`. Beside focus stand chance (the
share of target tokens among the regular ones, which is what attention gets that is spread evenly
over them), lift (focus over chance), and the same of the attention on regular tokens alone
("within"), which does not depend on how much goes to text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from regiontok.core.sizes import ShownBySizes
from regiontok.core.tokens import CLS, WHOLE, Tokens
from regiontok.evaluation.focus_options import FocusOptions
from regiontok.evaluation.focus_targets import TokenOverlaps

if TYPE_CHECKING:
    from jaxtyping import Float

DIGITS = 9  # behind the point, of the numbers of a JSON line


@dataclass(frozen=True, kw_only=True, repr=False)
class FocusSample(ShownBySizes):
    """The attention of one answer, and the annotation that it is held to.

    Attributes:
        id: the question's.
        image: name of the picture.
        question: the question.
        answer: the text whose tokens' attention this is.
        rows: how many rows were averaged.
        attention: of each regular token, its share of the attention (mean over rows, heads and
            layers).
        overlap: of each regular token, the share of its support that the annotation covers.
        rest: of each regular token, whether its region comes from no mask where others do.
        whole, cls: shares of the whole-image token and of the CLS tokens.
        other: share of the remaining visual tokens: delimiters, newlines.
        text: share of everything that is not visual; 0 with the visual keys alone.
    """

    id: str
    image: str
    question: str
    answer: str
    rows: int
    attention: tuple[float, ...]
    overlap: tuple[float, ...]
    rest: tuple[bool, ...]
    whole: float = 0.0
    cls: float = 0.0
    other: float = 0.0
    text: float = 0.0

    def line(self) -> dict[str, Any]:
        """The sample as its JSON line has it."""
        return {
            name: [round(number, DIGITS) if isinstance(number, float) else number for number in v]
            if isinstance(v, tuple)
            else v
            for name, v in asdict(self).items()
        }

    @classmethod
    def of_line(cls, line: Mapping[str, Any]) -> FocusSample:
        """The sample of a JSON line; other entries of the line are left out.

        Raises:
            KeyError: If an entry is missing.
        """
        names = ("id", "image", "question", "answer", "rows", "whole", "cls", "other", "text")
        entries: dict[str, Any] = {name: line[name] for name in names}
        return cls(
            **entries,
            attention=tuple(line["attention"]),
            overlap=tuple(line["overlap"]),
            rest=tuple(line["rest"]),
        )


@dataclass(frozen=True, kw_only=True)
class FocusScore:
    """Focus of one sample, or its mean over samples; all shares are in [0, 1].

    Attributes:
        focus: share of the attention that goes to target tokens.
        chance: target tokens among the regular ones.
        regular: share of the attention that goes to regular tokens.
        targets: number of target tokens.
        tokens: number of regular tokens.
    """

    focus: float
    chance: float
    regular: float
    targets: float
    tokens: float

    @property
    def lift(self) -> float:
        """Focus over chance; NaN if there is no chance at all."""
        return self.focus / self.chance if self.chance else float("nan")

    @property
    def within(self) -> float:
        """Share of the attention on regular tokens that goes to targets; NaN if there is none."""
        return self.focus / self.regular if self.regular else float("nan")


def focus_sample(
    rows: Float[Tensor, "layers heads r t"],
    tokens: Tokens,
    overlaps: TokenOverlaps,
    options: FocusOptions,
    **about: Any,
) -> FocusSample:
    """The sample of one answer.

    Args:
        rows: its attention rows at the columns of the picture's tokens, normalised over all keys.
        tokens: the tokens of the picture, in the same order.
        overlaps: what the annotation covers of each of them.
        options: the choices.
        **about: `id`, `image`, `question` and `answer` of the sample.

    Raises:
        ValueError: If there is no row, another number of columns than tokens, or no such layer or
            head.
    """
    if rows.ndim != 4 or rows.shape[-1] != len(tokens) or not rows.shape[2]:
        raise ValueError(
            f"expected rows [layers heads r {len(tokens)}], a column a visual token, got "
            f"{list(rows.shape)}"
        )
    mean = _mean_row(chosen_rows(rows.double().cpu(), options.layers, options.heads), options)
    kind, regular = tokens.kind.cpu(), overlaps.regular
    other = ~regular & (kind != WHOLE) & (kind != CLS)
    return FocusSample(
        rows=rows.shape[2],
        attention=tuple(mean[regular].tolist()),
        overlap=tuple(overlaps.share[regular].tolist()),
        rest=tuple(overlaps.rest[regular].tolist()),
        whole=float(mean[kind == WHOLE].sum()),
        cls=float(mean[kind == CLS].sum()),
        other=float(mean[other].sum()),
        text=max(0.0, 1 - float(mean.sum())),
        **about,
    )


def _mean_row(rows: Float[Tensor, "layers heads r t"], options: FocusOptions) -> Tensor:
    """The mean over rows, then heads, then layers, over the keys that count."""
    if options.keys == "all":
        return rows.mean(2).mean(1).mean(0)
    if options.ratio == "rows":
        rows = rows / rows.sum(-1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny)
    mean = rows.mean(2).mean(1).mean(0)
    total = float(mean.sum())
    return mean / total if options.ratio == "means" and total else mean


def chosen_rows(
    rows: Float[Tensor, "layers heads r t"], layers: Sequence[int] = (), heads: Sequence[int] = ()
) -> Float[Tensor, "chosen_layers chosen_heads r t"]:
    """The rows of some layers and heads, counted from 0 on or from the end; all, if none is named.

    Raises:
        ValueError: If the language model has no such layer or head.

    >>> chosen_rows(torch.zeros(4, 2, 1, 3), layers=(-1, 0), heads=(1,)).shape
    torch.Size([2, 1, 1, 3])
    """
    for axis, (noun, indices) in enumerate((("layer", layers), ("head", heads))):
        count = rows.shape[axis]
        for index in indices:
            if not -count <= index < count:
                raise ValueError(
                    f"the language model has {count} {noun}s; there is no {noun} {index}"
                )
        if indices:
            rows = rows.index_select(axis, torch.tensor(indices, device=rows.device) % count)
    return rows


def score(sample: FocusSample, options: FocusOptions) -> FocusScore:
    """Focus of one sample.

    >>> sample = FocusSample(id="1", image="a.jpg", question="?", answer="yes", rows=1,
    ...     attention=(0.5, 0.1, 0.1, 0.1), overlap=(1.0, 0.0, 0.05, 0.0), rest=(False,) * 4)
    >>> result = score(sample, FocusOptions())
    >>> result.focus, result.chance, result.lift
    (0.5, 0.25, 2.0)
    """
    regular = np.ones(len(sample.rest), bool) if options.rest else ~np.array(sample.rest, bool)
    attention = np.array(sample.attention, np.float64)[regular]
    is_target = np.array(sample.overlap, np.float64)[regular] > options.threshold
    return FocusScore(
        focus=float(attention[is_target].sum()),
        chance=float(is_target.mean()) if len(is_target) else 0.0,
        regular=float(attention.sum()),
        targets=float(is_target.sum()),
        tokens=float(len(is_target)),
    )


def mean_score(scores: Sequence[FocusScore], weights: Sequence[float]) -> FocusScore:
    """The mean of scores, of which each has a weight.

    Raises:
        ValueError: If there is no score.
    """
    if not scores:
        raise ValueError("there is no sample to average focus over")
    return FocusScore(
        **{
            name: float(np.average([asdict(each)[name] for each in scores], weights=weights))
            for name in ("focus", "chance", "regular", "targets", "tokens")
        }
    )
