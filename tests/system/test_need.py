"""A missing package is one clear error that names the extra."""

from __future__ import annotations

import sys

import pytest

from regiontok.system.need import MissingPackage, need


def test_what_is_there():
    import xml.dom.minidom

    assert need("xml.dom.minidom", extra="hub") is xml.dom.minidom


def test_what_is_missing():
    message = r"this needs no_such_package, which is not installed: pip install 'regiontok\[ocr\]'"
    for module in ("no_such_package", "no_such_package.part"):
        with pytest.raises(MissingPackage, match=message) as caught:
            need(module, extra="ocr")
        assert caught.value.name == "no_such_package"
        assert isinstance(caught.value, ImportError)


def test_a_missing_part_of_a_package_that_is_there():
    with pytest.raises(MissingPackage, match=r"needs xml\.no_such_part, which is not installed"):
        need("xml.no_such_part", extra="hub")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_what_the_package_itself_lacks_is_told_as_it_is(folder):
    (folder / "half_there.py").write_text("import no_such_dependency\n")
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_dependency'") as caught:
        need("half_there", extra="ocr")
    assert not isinstance(caught.value, MissingPackage)


def test_a_package_that_breaks_is_told_as_it_is(folder):
    (folder / "broken.py").write_text("raise ImportError('its library is of another version')\n")
    with pytest.raises(ImportError, match="another version") as caught:
        need("broken", extra="ocr")
    assert not isinstance(caught.value, MissingPackage)
