"""The spec language: what is read, built and written again, and what is never run."""

from __future__ import annotations

import contextlib
import keyword
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regiontok.methods import RegionStep
from regiontok.settings import registry
from regiontok.settings.registry import (
    build,
    build_pipeline,
    check,
    names,
    register,
    render,
    render_pipeline,
)
from regiontok.settings.spec import Call, SpecError, parse


class Unchanged(RegionStep):
    """A step that does nothing."""

    def one(self, regions, grid):
        return regions


@dataclass(frozen=True)
class Blur(Unchanged):
    """A method of every type of parameter."""

    threshold: float | None = None
    k: int = 4
    mode: Literal["soft", "hard"] = "soft"
    window: tuple[int, int] = (3, 3)
    levels: tuple[float, ...] = ()
    label: str = ""
    whole: bool = False
    anything: Any = None
    device: str = field(default="cpu", metadata={"run": True})
    area: int = field(init=False, default=0)
    version: ClassVar[int] = 3

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}")
        object.__setattr__(self, "area", self.window[0] * self.window[1])


@dataclass(frozen=True)
class Sharpen(Unchanged):
    amount: float


@dataclass(frozen=True, kw_only=True)
class Named(Unchanged):
    size: int


class Plain(Unchanged):
    """No dataclass."""


@pytest.fixture(autouse=True)
def _own_methods(monkeypatch):
    monkeypatch.setattr(
        registry, "_REGISTERED", {kind: dict(table) for kind, table in registry._REGISTERED.items()}
    )
    register("step", "blur", f"{__name__}:Blur")
    register("step", "sharpen", f"{__name__}:Sharpen")
    register("step", "named", f"{__name__}:Named")
    register("step", "plain", f"{__name__}:Plain")


# --- reading


def test_parse():
    assert parse("merge(0.7) | sort('com', seed=42)") == (
        Call("merge", (0.7,)),
        Call("sort", ("com",), (("seed", 42),)),
    )
    assert parse(" blur ") == parse("blur()") == (Call("blur"),)
    assert parse("a(-1, [1, 2], [[1], (2, 3)], None, True, x='|')") == (
        Call("a", (-1, (1, 2), ((1,), (2, 3)), None, True), (("x", "|"),)),
    )
    assert [call.name for call in parse("a | b | c | d")] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("text", ["", "  ", "patches", " patches\n"])
def test_the_empty_pipeline(text):
    assert parse(text) == ()
    assert check("step", text) == ()
    assert build_pipeline("step", text) == ()
    assert render_pipeline(()) == ""


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True).filter(
    lambda name: name != "patches" and not keyword.iskeyword(name)
)
CALLS = st.builds(
    Call,
    NAMES,
    st.lists(VALUES, max_size=2).map(tuple),
    st.dictionaries(NAMES, VALUES, max_size=2).map(lambda table: tuple(table.items())),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(CALLS, min_size=1, max_size=4))
def test_calls_come_back_from_their_text(calls):
    assert parse(" | ".join(map(str, calls))) == tuple(calls)
    for call in calls:
        hash(call)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os').system('x')", "expected a name or name"),
        ("a.b(1)", "cannot read 'a.b"),
        ("a[0]", "expected a name or name"),
        ("3", "cannot read '3'"),
        ("lambda: 1", "expected a name or name"),
        ("[a for a in b]", "expected a name or name"),
        ("a + b", r"cannot read 'a \+ b'"),
        (
            "a(open('/etc/passwd'))",
            r"\"open\('/etc/passwd'\)\" in the spec .* is not a plain value",
        ),
        ("a(__import__('os'))", "is not a plain value"),
        ("a(2**9)", "not a plain value"),
        ("a(f'{1}')", "not a plain value"),
        ("a(com)", r"'com' in the spec 'a\(com\)' is not a plain value; quote it: 'com'"),
        ("a(x=com)", "quote it: 'com'"),
        ("a(*[1])", "not a plain value"),
        ("a(**{'x': 1})", r"cannot read '\*\*'"),
        ("a(x=1, x=2)", "'x' stands twice"),
        ("a(1", r"cannot read the spec 'a\(1'"),
        ("a |", "expected something like"),
        ("| a", "expected something like"),
        ("a || b", "expected something like"),
        ("a; b", "expected something like"),
        ("a = 1", "expected something like"),
        ("a\nb", "expected something like"),
        ("a(\0)", "null"),
        ("a(0777)", "cannot read the spec"),
        ("\udcff", "cannot read the spec"),
        ("f(" + "9" * 2900 * 2 + ")", "a spec has at most 3000 characters, this one 5803"),
    ],
)
def test_what_is_no_spec(text, message):
    with pytest.raises(SpecError, match=message):
        parse(text)


@pytest.mark.parametrize("wrong", [None, 5, b"blur", ["blur"], Blur()])
def test_what_is_no_text(wrong):
    with pytest.raises(SpecError, match="expected a spec as text, got"):
        parse(wrong)
    with pytest.raises(SpecError, match="expected a spec as text, got"):
        build("step", wrong)


@pytest.mark.parametrize(
    "text",
    [
        "f(" + "-" * 2000 + "x)",
        "f(" + "(" * 1400 + "1" + ")" * 1400 + ")",
        "f(" + "[" * 150 + "x" + "]" * 150 + ")",
        "a" + "()" * 1000,
        "a" + ".b" * 1000,
        "f(a" + "()" * 1000 + ")",
        "f(" + "not " * 700 + "x)",
        "f(" + "{1:" * 500 + "x" + "}" * 500 + ")",
        "a" * 10**7,
        "|".join("a" * 100_000),
        "f('" + "é" * 10**6 + "')",
    ],
)
def test_deep_and_long_texts_are_refused_in_few_words(text):
    with pytest.raises(SpecError) as caught:
        parse(text)
    assert len(str(caught.value)) < 10_000


@pytest.mark.slow
def test_a_long_pipeline_is_read_or_refused():
    assert len(parse("|".join("a" * 500))) == 500
    # How deep Python's parser goes differs from version to version.
    with contextlib.suppress(SpecError):
        assert len(parse("|".join("a" * 1500))) == 1500


# --- building


def test_build():
    assert build("step", "blur") == Blur()
    assert build("step", "blur(0.5, 9, mode='hard')") == Blur(0.5, 9, "hard")
    assert build("step", Call("blur", (), (("k", 2),))) == Blur(k=2)
    assert build("step", "blur(threshold=1, window=[5, 7], levels=[1, 2.5])") == Blur(
        1, window=(5, 7), levels=(1, 2.5)
    )
    assert build_pipeline("step", "blur | sharpen(2)") == (Blur(), Sharpen(2))
    for value in ("1", "'x'", "None", "(1, 'a')"):
        assert render(build("step", f"blur(anything={value})")) == (
            "blur" if value == "None" else f"blur(anything={value})"
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("blurr", r"unknown step 'blurr' \(did you mean 'blur'\?\); known: "),
        ("sharpne(1)", "did you mean 'sharpen'"),
        ("zzzzqqqq", "unknown step 'zzzzqqqq'; known: "),
        ("__import__('os')", "unknown step '__import__'"),
        ("patches | blur", "expected one step"),
        ("blur | blur", r"expected one step, got 'blur \| blur'"),
        ("", "expected one step, got ''"),
        (
            "blur(treshold=1)",
            r"step 'blur' has no parameter 'treshold' \(did you mean 'threshold'\?\); "
            "it has: threshold, k, mode",
        ),
        ("blur(area=1)", "has no parameter 'area'"),
        ("blur(version=1)", "has no parameter 'version'"),
        ("blur(self=1)", "has no parameter 'self'"),
        ("plain(x=1)", "it has: none"),
        ("blur(k='4')", "k must be int, not '4'"),
        ("blur(k=4.0)", "k must be int, not 4.0"),
        ("blur(k=True)", "k must be int, not True"),
        ("blur('x')", "threshold must be float or None, not 'x'"),
        ("blur(threshold=True)", "threshold must be float or None, not True"),
        ("blur(whole=1)", "whole must be bool, not 1"),
        ("blur(label=None)", "label must be str, not None"),
        (
            "blur(mode='sft')",
            r"mode must be one of 'soft', 'hard', not 'sft' \(did you mean 'soft'\?\)",
        ),
        ("blur(mode=1)", "mode must be one of 'soft', 'hard', not 1"),
        ("blur(window=3)", r"window must be tuple\[int, int\], not 3"),
        ("blur(window=(1, 2, 3))", r"window must be tuple\[int, int\], not \(1, 2, 3\)"),
        ("blur(window=(1, 2.5))", "window must be"),
        ("blur(levels=(1, 'a'))", "levels must be"),
        ("blur(k=0)", r"step blur\(k=0\): k must be at least 1, got 0"),
        ("blur(0.5, threshold=0.5)", "multiple values for argument 'threshold'"),
        ("sharpen", "missing a required argument: 'amount'; its parameters: sharpen.*amount"),
        ("sharpen(1, 2)", "too many positional arguments"),
    ],
)
def test_what_cannot_be_built(text, message):
    with pytest.raises(SpecError, match=message):
        build("step", text)


def test_check_refuses_unknown_names_without_importing():
    register("step", "absent", "no_such_package.steps:Absent")
    assert [call.name for call in check("step", "blur | absent(1)")] == ["blur", "absent"]
    with pytest.raises(SpecError, match="did you mean 'absent'"):
        check("step", "blur | absnt")
    with pytest.raises(SpecError, match="cannot be imported: No module named 'no_such_package'"):
        build("step", "absent(1)")


def test_kinds():
    for call in (
        lambda: names("stp"),
        lambda: check("stp", "blur"),
        lambda: register("stp", "a", "b:C"),
    ):
        with pytest.raises(
            SpecError,
            match=r"unknown kind of method 'stp' \(did you mean 'step'\?\); "
            "known: encoder, segmenter",
        ):
            call()
    with pytest.raises(SpecError, match=r"expected 'module:Class', got 'module\.Class'"):
        register("step", "mine", "module.Class")
    assert "blur" in names("step")
    assert "blur" not in names("pool")
    assert names("step") == sorted(names("step"))
    assert not any(name.startswith("_") for kind in registry.FOLDERS for name in names(kind))


# --- writing


def test_render():
    assert render(Blur()) == "blur"
    assert render(Blur(0.5, mode="hard")) == "blur(0.5, mode='hard')"
    assert render(Blur(k=5)) == "blur(k=5)"
    assert render(Sharpen(2.0)) == "sharpen(2.0)"
    assert render(Named(size=2)) == "named(size=2)"
    assert render_pipeline([Blur(), Sharpen(1)]) == "blur | sharpen(1)"
    with pytest.raises(TypeError, match="Plain is not a dataclass"):
        render(Plain())


def test_the_full_text_is_what_decides_the_result():
    full = render(Blur(device="cuda"), full=True)
    assert full == (
        "blur(threshold=None, k=4, mode='soft', window=(3, 3), levels=(), label='', "
        "whole=False, anything=None, version=3)"
    )
    assert full == render(Blur(device="cpu"), full=True)
    assert full != render(Blur(k=5), full=True)
    assert "device" in render(Blur(device="cuda"))
    assert render(Sharpen(1), full=True) == "sharpen(amount=1, version=1)"


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
BLURS = st.builds(
    Blur,
    threshold=st.none() | FLOATS,
    k=st.integers(1, 10**9),
    mode=st.sampled_from(["soft", "hard"]),
    window=st.tuples(st.integers(), st.integers()),
    levels=st.lists(FLOATS, max_size=3).map(tuple),
    label=st.text(max_size=10),
    whole=st.booleans(),
    anything=VALUES,
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(BLURS | st.builds(Sharpen, FLOATS) | st.builds(Named, size=st.integers()), max_size=3)
)
def test_methods_come_back_from_their_text(methods):
    text = render_pipeline(methods)
    assert build_pipeline("step", text) == tuple(methods)
    assert render_pipeline(build_pipeline("step", text)) == text


def test_every_method_of_the_house_has_a_line_of_its_own():
    for kind in registry.FOLDERS:
        for name in names(kind):
            if name not in registry._REGISTERED[kind]:
                assert registry.summary(kind, name), (kind, name)
    assert registry.summary("step", "blur") == (
        "The spec language: what is read, built and written again, and what is never run."
    )


def test_names_import_nothing_heavy():
    code = """
import sys
import regiontok
from regiontok.settings import registry
calls = registry.check("step", "merge(0.7) | sort('com')")
assert len(calls) == 2
for kind in registry.FOLDERS:
    for name in registry.names(kind):
        assert registry.summary(kind, name)
assert "merge" in registry.names("step")
import regiontok.settings.recipe
heavy = "torch numpy transformers skimage sklearn numba timm PIL pycocotools".split()
print(sorted(set(heavy) & set(sys.modules)))
"""
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == "[]"
