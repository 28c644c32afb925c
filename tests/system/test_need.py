"""A missing package is one clear error that names the extra."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

import regiontok
from regiontok.system.need import EXTRAS, MissingPackage, named_extra, need
from samples.command_line import regiontok as command_line


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


def test_every_optional_package_has_an_extra_of_the_project():
    pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    extras = pyproject["project"]["optional-dependencies"]
    names = {  # brought by, called
        "huggingface_hub": "transformers",
        "sklearn": "scikit-learn",
        "faster_coco_eval": "faster-coco-eval",
    }
    for package, extra in EXTRAS.items():
        required = " ".join(extras[extra])
        assert names.get(package, package) in required, (package, extra)


def test_only_a_missing_optional_package_is_told_of_an_extra():
    missing = ModuleNotFoundError("No module named 'peft.tuners'", name="peft.tuners")
    assert "pip install 'regiontok[train]'" in str(named_extra(missing))
    for error in (
        ImportError("cannot import name 'x' from 'peft'", name="peft"),
        ModuleNotFoundError("No module named 'mine'", name="mine"),
        ImportError("no name"),
    ):
        assert named_extra(error) is error


def test_modules_that_cannot_do_without_one_name_its_extra(monkeypatch):
    def without_transformers(*words, **more):
        raise ModuleNotFoundError("No module named 'transformers'", name="transformers")

    monkeypatch.delitem(vars(regiontok), "RegionVLM", raising=False)
    monkeypatch.setattr("importlib.import_module", without_transformers)
    with pytest.raises(MissingPackage, match=r"pip install 'regiontok\[hub\]'"):
        regiontok.RegionVLM  # noqa: B018
    monkeypatch.undo()
    monkeypatch.setattr("regiontok.jobs.show.load_recipe", without_transformers)
    result = command_line("show", "quick/budget")
    assert result.exit_code == 2
    assert "pip install 'regiontok[hub]'" in result.stderr
