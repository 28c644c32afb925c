"""Encoders that come with the package, found by name."""

from __future__ import annotations

import json

import pytest

from regiontok.system import shipped_encoders as module
from regiontok.system.checkpoint import locate
from regiontok.system.errors import UnusableModel
from regiontok.system.shipped_encoders import encoder_folder, shipped_encoders
from regiontok.system.shipped_models import shipped_model, shipped_names


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A package whose only encoder is `mini-toy`."""
    folder = tmp_path / "encoders" / "mini-toy"
    folder.mkdir(parents=True)
    (folder / "shipped.json").write_text(json.dumps({"what": "a toy"}))
    (tmp_path / "encoders" / "other").mkdir()  # without facts it is none
    monkeypatch.setattr(module, "FOLDER", tmp_path / "encoders")
    monkeypatch.chdir(tmp_path)
    return folder


def test_an_encoder_goes_by_its_name(here):
    (encoder,) = shipped_encoders().values()
    assert (encoder.name, encoder.facts["what"], encoder.size) == ("mini-toy", "a toy", 17)
    assert encoder_folder("mini-toy") == locate("mini-toy") == here
    assert encoder_folder("other") is encoder_folder("encoders") is encoder_folder("") is None


def test_a_folder_of_that_name_goes_before_it(here, tmp_path):
    (tmp_path / "mini-toy").mkdir()
    assert locate("mini-toy").resolve() == tmp_path / "mini-toy"


def test_a_revision_is_refused(here):
    with pytest.raises(ValueError, match="belongs to a hub name"):
        locate("mini-toy", "main")


def test_a_damaged_one_says_so(here):
    (here / "shipped.json").write_text("{")
    with pytest.raises(UnusableModel, match=r"mini-toy came with the package .* install regiontok"):
        shipped_encoders()


def test_no_encoder_is_a_model():
    assert not set(shipped_encoders()) & set(shipped_names())
    assert all(shipped_model(name) is None for name in (*shipped_encoders(), "encoders"))
