"""Composed and decomposed accents are one name."""

from __future__ import annotations

import unicodedata
from itertools import product
from pathlib import Path

import pytest

from regiontok.system.names import as_on_disk, same_name


@pytest.mark.parametrize(("listed", "on_disk"), [*product(("NFC", "NFD"), repeat=2)])
def test_a_name_is_found_in_the_spelling_that_is_on_disk(tmp_path, listed, on_disk):
    given, written = (unicodedata.normalize(form, "été/Å한.png") for form in (listed, on_disk))
    assert same_name(given) == same_name(written)
    (tmp_path / written).parent.mkdir()
    (tmp_path / written).write_bytes(b"x")
    assert as_on_disk(tmp_path / given) == tmp_path / written


def test_folder_and_file_may_be_spelled_differently(tmp_path):
    folder, file = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é.png")
    (tmp_path / folder).mkdir()
    (tmp_path / folder / file).write_bytes(b"x")
    assert as_on_disk(tmp_path / unicodedata.normalize("NFD", f"{folder}/{file}")).is_file()


@pytest.mark.parametrize("name", ["no.png", "é.png", "\ud83d.png", "\0.png", "é" * 300])
def test_a_file_that_is_not_there_stays_as_it_is_called(tmp_path, name):
    assert as_on_disk(tmp_path / name) == tmp_path / name
    assert as_on_disk(Path("é") / name) == Path("é") / name
