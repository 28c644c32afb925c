"""The registry: names of other packages come in beside the built-in ones and never replace them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint

import pytest

from regiontok.methods import Pool, RegionStep
from regiontok.settings import registry
from regiontok.settings.spec import SpecError


@dataclass(frozen=True)
class Reverse(RegionStep):
    """The regions in the opposite order."""

    def one(self, regions, grid):
        return regions.take(list(range(len(regions)))[::-1])


class NoStep:
    """It derives from no contract."""


@pytest.fixture(autouse=True)
def _only_built_in_methods(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTERED", {kind: {} for kind in registry.KINDS})
    registry._entry_points.cache_clear()
    yield
    registry._entry_points.cache_clear()


def declare(monkeypatch, *points):
    """Let installed packages declare entry points: (kind, name, "module:Class")."""
    declared = [EntryPoint(name, value, f"regiontok.{kind}") for kind, name, value in points]
    monkeypatch.setattr(
        registry,
        "entry_points",
        lambda group: [point for point in declared if point.group == group],
    )


def test_an_entry_point_is_a_method_like_any_other(monkeypatch):
    declare(monkeypatch, ("step", "reverse", f"{__name__}:Reverse"))
    assert "reverse" in registry.names("step")
    assert registry.build("step", "reverse") == Reverse()
    assert registry.render(Reverse()) == "reverse"
    assert "other packages come in" in registry.summary("step", "reverse")


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (("step", "merge", "plug_in:Merge"), "'merge', but that name is regiontok.steps.merge:Me"),
        (("step", "Reverse", "plug_in:Reverse"), "'Reverse' as 'plug_in:Reverse': expected a name"),
        (("step", "reverse", "plug_in"), "'reverse' as 'plug_in': expected a name"),
        (("family", "llava", "plug_in:Llava"), "that name is regiontok.released.llava:Llava"),
    ],
)
def test_an_entry_point_that_is_ill_formed_or_replaces_a_method_is_refused(
    monkeypatch, point, message
):
    declare(monkeypatch, point)
    with pytest.raises(SpecError, match=message):
        registry.names(point[0])


@pytest.mark.parametrize("name", ["Merge", "a-b", "1a", "_a", "a b", "a__b", "", "é", None])
def test_register_refuses_an_ill_formed_name(name):
    with pytest.raises(SpecError, match="lower-case letters, digits and underscores"):
        registry.register("step", name, f"{__name__}:Reverse")


@pytest.mark.parametrize(
    "target", ["module", "module:", ":Class", "a b:C", "os;x:C", "m:C.d", None]
)
def test_register_refuses_an_ill_formed_target(target):
    with pytest.raises(SpecError, match="expected 'module:Class'"):
        registry.register("step", "reverse", target)


def test_register_replaces_a_method_only_when_it_is_told_to():
    with pytest.raises(SpecError, match=r"'merge' is regiontok.steps.merge:Merge already"):
        registry.register("step", "merge", f"{__name__}:Reverse")
    registry.register("step", "merge", "regiontok.steps.merge:Merge")  # it is what it was
    registry.register("step", "merge", f"{__name__}:Reverse", replace=True)
    assert registry.load("step", "merge") is Reverse


def test_a_class_must_derive_from_the_contract_of_its_kind():
    registry.register("step", "no_step", f"{__name__}:NoStep")
    with pytest.raises(SpecError, match=r"does not derive from regiontok.methods.RegionStep"):
        registry.build("step", "no_step")
    registry.register("pool", "reverse", f"{__name__}:Reverse")
    with pytest.raises(SpecError, match=r"does not derive from regiontok.methods.Pool"):
        registry.load("pool", "reverse")


def test_a_class_that_cannot_be_imported_is_named():
    registry.register("step", "absent", "no_such_package:Absent")
    with pytest.raises(SpecError, match="no_such_package:Absent, which cannot be imported"):
        registry.build("step", "absent")
    registry.register("step", "missing", f"{__name__}:Missing")
    with pytest.raises(SpecError, match="has no attribute 'Missing'"):
        registry.build("step", "missing")


def test_every_built_in_method_derives_from_its_contract():
    for kind in registry.FOLDERS:
        assert registry.names(kind)
        for name in registry.names(kind):
            assert issubclass(registry.load(kind, name), registry.contract_of(kind))
    for name in registry.names("family"):
        registry.load("family", name)


def test_contracts_are_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Pool()
