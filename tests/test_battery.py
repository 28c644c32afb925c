"""One battery over every registered method: what each must do, whatever else it does.

The checks are those of `regiontok.testing`; each of them is a test of its own here.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from regiontok.settings import registry, spec
from regiontok.testing.assertions import run_check
from regiontok.testing.connectors import CONNECTOR_CHECKS
from regiontok.testing.contracts import check_contract
from regiontok.testing.encoders import ENCODER_CHECKS
from regiontok.testing.methods import CHECKS, check_docstring, check_spec
from regiontok.testing.places import PLACE_CHECKS
from regiontok.testing.pools import POOL_CHECKS, PoolCase
from regiontok.testing.segmenters import SEGMENTER_CHECKS
from regiontok.testing.steps import STEP_CHECKS, StepCase
from regiontok.testing.transforms import TRANSFORM_CHECKS

DISJOINT = {"overlap": "resolve='smallest'"}
PICTURES = {"clip": r"\(h, w\)"}
ARTIFACT = str(Path(__file__).parent / "transform" / "four_channels.safetensors")

# Examples of steps: the spec, whether it keeps a partition, and what it refuses in which words.
STEPS: list[tuple[str, bool, dict[str, str]]] = [
    ("windows(1)", True, {}),
    ("windows(5)", True, {"one patch": "cannot cut 1 patches into 5 windows"}),
    (
        "windows(6, shape='grid')",
        True,
        {"one patch": "cannot cut 1 patches into 6 windows", **PICTURES},
    ),
    (
        "windows(7, shape='photo')",
        True,
        {"one patch": "cannot cut 1 patches into 7 windows", **PICTURES},
    ),
    ("random(3, seed=1)", False, {"one patch": "cannot keep 3 of 1 patches"}),
    ("stride(4)", False, {"one patch": "cannot keep 4 of 1 patches", **PICTURES}),
    ("tome(4)", True, {"one patch": "cannot merge 1 patches into 4 tokens"}),
    ("tome(4, r=2)", True, {"one patch": "cannot merge 1 patches into 4 tokens"}),
    ("prumerge", False, {}),
    ("prumerge(4, neighbours=2)", False, {"one patch": "cannot make 4 regions of 1 patches"}),
    (
        "prumerge(4, neighbours=2, by='salience')",
        False,
        {"one patch": "cannot make 4 regions of 1 patches"},
    ),
    ("visionzip(5)", True, {"one patch": "cannot make 5 regions of 1 patches"}),
    (
        "visionzip(5, by='salience')",
        True,
        {"one patch": "cannot make 5 regions of 1 patches"},
    ),
    ("visionzip(5, contextual=3)", True, {"one patch": "cannot make 5 regions of 1 patches"}),
    ("above(5, 'tome(5)')", True, {}),
    ("above(5, 'stride(5)')", False, PICTURES),
    ("above(3, 'merge(k=3)')", True, {}),
    ("segments", False, PICTURES),
    ("segments(0.5, mapping='flat1d', unit='pixels', compare='>=')", False, PICTURES),
    ("segments(0.3, resolve='smallest', vanished='best')", False, PICTURES),
    ("merge(0.7)", True, DISJOINT),
    ("merge(k=3)", True, {"one patch": "k=3 .* has 1,", "no regions": "k=3 .* has 0,", **DISJOINT}),
    ("split(min_patches=4)", True, {}),
    ("split(eps=1.2, min_samples=2, min_patches=4, noise='singletons')", True, {}),
    ("split(min_patches=4, noise='nearest')", True, {}),
    ("split(min_patches=4, by='sklearn')", True, {}),
    ("cover", True, {}),
    ("cover('singletons')", True, {}),
    ("cover('nearest')", True, {}),
    ("cover('clusters', threshold=0.7)", True, {}),
    ("sort", True, {}),
    ("sort('raster')", True, {}),
    ("sort('random', seed=3)", True, {}),
    ("sort('area')", True, {}),
    ("sort('score')", True, {}),
    ("drop(below=2)", False, {}),
    ("drop(duplicates=True)", False, {}),
    ("budget(5)", False, {}),
    ("budget(5, policy='round_robin')", False, {}),
    ("budget(5, policy='merge_rest')", False, {}),
    ("budget(2, policy='merge_rest', of='regions')", True, {}),
]
SPECS = {
    "step": [text for text, _, _ in STEPS],
    "pool": ["mean", "select", "attend(heads=2)", "attend(heads=4, residual=True)"],
    "place": [
        "delimiter",
        "delimiter('begin')",
        "delimiter(learned=False)",
        "delimiter(token='<eom>')",
        "posenc('sin1d')",
        "posenc('learn1d', masks=9)",
        "posenc('sin2d')",
        "posenc('learn2d', grid=(3, 5))",
        "average",
        "centre",
        "centre('learn2d', grid=(3, 5))",
    ],
    "transform": [
        "rms",
        "rms(eps=0.01)",
        "standardise",
        "standardise(floor=0.0)",
        "globalfilter",
        "globalfilter(0.2, radius=1)",
        "globalfilter(regions='masks')",
        "fill_outliers(deviations=0.5, ratio=1.1)",
        f"denoise({ARTIFACT!r})",
        "disturb(smooth=2)",
        "disturb(noise=0.5)",
        "disturb(artifacts=0.1)",
    ],
    "connector": [
        "linear",
        "mlp",
        "mlp(depth=1)",
        "mlp(depth=3)",
        "words('small large, red green blue')",
        "words('square ring', nothing='background', soft=True)",
    ],
    "segmenter": ["felzenszwalb(min_size=20)", "slic(segments=12)"],
    "encoder": ["filters(size=56)", "lite(size=64)"],
}
# Methods whose weights or files a test cannot make here; they have tests of their own.
ELSEWHERE = {
    "segmenter": {"sam", "stored"},
    "encoder": {"naflex", "radio", "timm", "transformers"},
}
# At collection: other tests may register methods of their own.
NAMES = {kind: registry.names(kind) for kind in SPECS}
EVERY_SPEC = [
    pytest.param(kind, text, id=f"{kind} {text}") for kind, texts in SPECS.items() for text in texts
]
EVERY_NAME = [
    pytest.param(kind, name, id=f"{kind} {name}") for kind, names in NAMES.items() for name in names
]


@functools.cache
def method_of(kind: str, text: str) -> Any:
    """A built method; encoders with weights are loaded once."""
    return registry.build(kind, text)


def every_check_over(kind: str, checks) -> pytest.MarkDecorator:
    """Parametrise a test by every check, and by every example of a kind."""
    cases = [
        pytest.param(text, check, id=f"{text}: {check.__name__.replace('_', ' ')}")
        for text in SPECS[kind]
        for check in checks
    ]
    return pytest.mark.parametrize(("text", "check"), cases)


@pytest.mark.parametrize("kind", SPECS)
def test_every_method_has_an_example(kind):
    examples = {spec.parse(text)[0].name for text in SPECS[kind]}
    expected = set(NAMES[kind]) - ELSEWHERE.get(kind, set())
    assert examples == expected, f"SPECS[{kind!r}] must have a line for each of these, and no other"


def test_every_kind_of_method_has_examples_and_a_check():
    # a bench is checked on folders of its files: tests/benches
    assert {*SPECS, "bench"} == set(registry.FOLDERS) == {*CHECKS, "bench"}


@pytest.mark.parametrize(("kind", "text"), EVERY_SPEC)
def test_a_method_derives_from_its_contract_and_is_frozen(kind, text):
    check_contract(kind, method_of(kind, text))


@pytest.mark.parametrize(("kind", "text"), EVERY_SPEC)
def test_a_method_comes_back_from_its_spec_text(kind, text):
    check_spec(kind, text)


@pytest.mark.parametrize(("kind", "name"), EVERY_NAME)
def test_a_module_says_what_its_method_is_after_whom_and_where_it_differs(kind, name):
    check_docstring(kind, name)


@every_check_over("step", STEP_CHECKS)
def test_step(text, check):
    partition, refuses = next(
        (partition, refuses) for step, partition, refuses in STEPS if step == text
    )
    step = method_of("step", text)
    run_check(check, StepCase(step, partition, refuses), step)


@every_check_over("transform", TRANSFORM_CHECKS)
def test_transform(text, check):
    transform = method_of("transform", text)
    run_check(check, transform, transform)


@every_check_over("pool", POOL_CHECKS)
def test_pool(text, check):
    pool = method_of("pool", text)
    run_check(check, PoolCase(pool, every_patch=True), pool)


@pytest.mark.slow
@every_check_over("place", PLACE_CHECKS)
def test_place(text, check):
    place = method_of("place", text)
    run_check(check, place, place)


@every_check_over("connector", CONNECTOR_CHECKS)
def test_connector(text, check):
    connector = method_of("connector", text)
    run_check(check, connector, connector)


@every_check_over("segmenter", SEGMENTER_CHECKS)
def test_segmenter(text, check):
    segmenter = method_of("segmenter", text)
    run_check(check, segmenter, segmenter)


@pytest.mark.slow
@every_check_over("encoder", ENCODER_CHECKS)
def test_encoder(text, check):
    encoder = method_of("encoder", text)
    run_check(check, encoder, encoder)
