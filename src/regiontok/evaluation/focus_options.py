"""The choices of the focus metric, which the paper leaves open in part (row D16).

After: diagnostic study, section 4, and its supplement: "for each regular visual token, if the
patch/region it represents has over a certain threshold of the area overlapping with the mask
annotation, this token would be considered as a target token. Then, the focus metric is defined by
the averaged total attention score of the answer tokens attending to target visual tokens."
Differs: the paper does not give the threshold; ours is 0.07, the one that it gives for masks on the
grid (appendix E.1). What else it leaves open is the literal reading, and each choice can be made
otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from regiontok.system.choices import check_choice, nearest

Rows = Literal["own", "predicting"]
AnswerText = Literal["own", "gold"]
Capture = Literal["forced", "decoded"]
Keys = Literal["all", "visual"]
Ratio = Literal["rows", "means"]
WithoutTarget = Literal["zero", "skip"]
Support = Literal["patch", "content", "pixels"]
Annotation = Literal["question", "image"]
Average = Literal["samples", "rows"]

_WORDS: dict[str, Any] = {
    "rows": Rows,
    "answer": AnswerText,
    "capture": Capture,
    "keys": Keys,
    "ratio": Ratio,
    "without_target": WithoutTarget,
    "support": Support,
    "annotation": Annotation,
    "average": Average,
}
# settings of the numbers that are made of kept attention: they may change without a model
OF_SCORES = ("threshold", "without_target", "rest", "average")


@dataclass(frozen=True)
class FocusOptions:
    """How focus is measured; the defaults are the paper's words taken literally.

    Attributes:
        rows: which queries count: the answer tokens' "own" rows, or those "predicting" them, each
            one place before its token.
        end: whether the row of the token that ends an answer counts; with "predicting", the row
            that predicts it.
        answer: the model's "own" answer, or the "gold" one of the data.
        capture: "forced" reads the prompt with its whole answer in one call; "decoded" keeps the
            rows of decoding, for own answers alone.
        keys: what a row sums to one over: "all" keys, or the "visual" ones alone.
        ratio: with visual keys, where the division stands: in each of the "rows" (by head and
            layer), or in their "means", where a head that does not look at the picture has no say.
        threshold: a token whose support is covered by MORE than this share is a target.
        without_target: a sample without any target counts as "zero", or all methods "skip" it.
        support: what the share is of: of the token's patches, padding included ("patch"), of what
            is image in them ("content"), or of the pixels of the region's own mask ("pixels"; a
            region that comes from no mask has its content).
        rest: whether regions that come from no mask are regular tokens where others come from one.
        annotation: the masks that the "question" is about, or all of the "image".
        average: "samples" averages rows, heads and layers in each sample, then samples alike;
            "rows" gives a sample the weight of its rows.
        layers, heads: those that count, from 0 on, negative ones from the end; empty for all.

    Raises:
        ValueError: If a word is unknown, the threshold lies outside [0, 1), or choices exclude each
            other.
    """

    rows: Rows = "own"
    end: bool = False
    answer: AnswerText = "own"
    capture: Capture = "forced"
    keys: Keys = "all"
    ratio: Ratio = "rows"
    threshold: float = 0.07
    without_target: WithoutTarget = "zero"
    support: Support = "patch"
    rest: bool = True
    annotation: Annotation = "question"
    average: Average = "samples"
    layers: tuple[int, ...] = ()
    heads: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        values = asdict(self)
        for name, words in _WORDS.items():
            check_choice(name, values[name], get_args(words))
        if not 0 <= self.threshold < 1:
            raise ValueError(f"threshold is a share in [0, 1), got {self.threshold}")
        if self.capture == "decoded" and self.answer == "gold":
            raise ValueError(
                "a gold answer is not decoded: take capture=forced, or answer=own with decoded"
            )
        if self.capture == "decoded" and self.end and self.rows == "own":
            raise ValueError(
                "decoding never reads the token that ends an answer, so it has no row of its own: "
                "take capture=forced, or end=false"
            )

    def settings(self) -> dict[str, Any]:
        """All choices, as they are stored with a result."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    def captured(self) -> dict[str, Any]:
        """The choices that decide which attention is kept, without those of the scores alone."""
        settings = self.settings()
        return {name: settings[name] for name in settings if name not in OF_SCORES}

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> FocusOptions:
        """The options that `settings` gave.

        Raises:
            ValueError: If one is unknown.
        """
        known = [field.name for field in fields(cls)]
        for name in settings:
            if name not in known:
                raise ValueError(
                    f"focus has no setting {name!r}{nearest(name, known)}; known: "
                    f"{', '.join(known)}"
                )
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in settings.items()
        }
        return cls(**values)

    @classmethod
    def parsed(cls, changes: Iterable[str]) -> FocusOptions:
        """The defaults with changes as a command line has them.

        Args:
            changes: texts such as "threshold=0.5" or "layers=10,11".

        Raises:
            ValueError: If one is no such text, or names no setting or value.

        >>> FocusOptions.parsed(["keys=visual", "layers=0,-1", "end=true"]).layers
        (0, -1)
        """
        settings: dict[str, Any] = {}
        defaults = asdict(cls())
        for change in changes:
            name, equals, text = change.partition("=")
            if not equals:
                raise ValueError(f"expected SETTING=VALUE, got {change!r}")
            settings[name.strip()] = _value(name.strip(), text.strip(), defaults)
        return cls.of(settings)


def whole_numbers(text: str) -> tuple[int, ...]:
    """The numbers of a list on a command line.

    Raises:
        ValueError: If it holds anything else.

    >>> whole_numbers("0, 5,-1"), whole_numbers("")
    ((0, 5, -1), ())
    """
    try:
        return tuple(int(number) for number in text.split(",") if number.strip())
    except ValueError:
        raise ValueError(f"expected whole numbers, as in 0,5,-1; got {text!r}") from None


def _value(name: str, text: str, defaults: Mapping[str, Any]) -> Any:
    """The value that a text means, of the type of the setting's default."""
    default = defaults.get(name)
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, float):
            return float(text)
        if isinstance(default, tuple):
            return whole_numbers(text)
    except (ValueError, KeyError):
        kinds = {bool: "true or false", float: "a number", tuple: "whole numbers, as in 0,5,-1"}
        raise ValueError(f"{name} is {kinds[type(default)]}, got {text!r}") from None
    return text
