"""Arguments of a call, held against the annotations of the class that they are for."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from regiontok.settings.binding import bind, from_text
from regiontok.settings.spec import Call, SpecError


@dataclass(frozen=True)
class Scenery:
    """A class that is no method, as generated sources of data are."""

    n: int
    size: int = 96
    words: bool = False
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"expected at least one scene, got n={self.n}")


def test_a_text_becomes_an_instance():
    assert from_text(Scenery, "scenery(8, size=64)", "source") == Scenery(8, size=64)
    assert from_text(Scenery, "another_name(n=8, words=True, scale=2)", "source") == Scenery(
        8, words=True, scale=2
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scenery(8) | scenery(9)", "expected one name with its arguments, got 'scenery"),
        ("", "expected one name with its arguments, got ''"),
        ("scenery(", "cannot read the spec"),
        ("scenery", "source scenery: missing a required argument: 'n'"),
        ("scenery(8, sise=64)", r"source 'scenery' has no parameter 'sise' \(did you mean 'size'"),
        ("scenery(8, size='x')", "source 'scenery': size must be int, not 'x'"),
        ("scenery(8, words=1)", "words must be bool, not 1"),
        ("scenery(8, 9, True, 1.0, 5)", "too many positional arguments"),
        ("scenery(0)", "expected at least one scene, got n=0"),
    ],
)
def test_a_text_that_does_not_fit_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        from_text(Scenery, text, "source")


def test_bind_gives_the_arguments_by_name():
    assert bind(Scenery, Call("scenery", (8,), (("size", 64),)), "source") == {"n": 8, "size": 64}
    with pytest.raises(SpecError, match="multiple values for argument 'n'"):
        bind(Scenery, Call("scenery", (8,), (("n", 9),)), "source")
