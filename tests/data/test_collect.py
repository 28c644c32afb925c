"""Images of a command line: files, folders, globs and lists."""

from __future__ import annotations

import errno
import io

import pytest
from PIL import Image

from regiontok.data import collect as module
from regiontok.data.collect import NoImages, collect


@pytest.fixture
def photos(tmp_path):
    """A folder of three images, one of them in a sub-folder, and files that are no images."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name in ("b.png", "a.jpg", "more/c.png", ".hidden.png"):
        Image.new("RGB", (2, 2)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


def names(*words, stdin=None):
    return [image.name for image in collect([str(word) for word in words], stdin)]


def test_a_folder_gives_its_images_sorted_with_their_relative_paths(photos):
    assert names(photos) == ["a.jpg", "b.png", "more/c.png"]


def test_each_path_comes_once_and_a_named_file_whatever_its_suffix(photos):
    assert names(photos / "notes.txt", photos, photos / "a.jpg") == [
        "notes.txt",
        "a.jpg",
        "b.png",
        "more/c.png",
    ]


def test_a_list_takes_the_place_of_the_dash(photos):
    lines = io.StringIO(f"{photos / 'b.png'}\n\n{photos / 'more'}\n")
    assert names("-", stdin=lines) == ["b.png", "c.png"]


def test_names_that_two_images_share_get_a_hash(photos):
    (photos / "more" / "b.png").write_bytes((photos / "b.png").read_bytes())
    first, second, other = names(photos / "b.png", photos / "more" / "b.png", photos / "a.jpg")
    assert first.startswith("b.png~")
    assert second.startswith("b.png~")
    assert first != second
    assert other == "a.jpg"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("gone.png", "gone.png: no such file or folder"),
        ("*.gif", "no file matches"),
        ("empty", "no images in this folder"),
    ],
)
def test_words_that_lead_to_no_image(tmp_path, word, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoImages, match=message):
        collect([str(tmp_path / word)])


def test_no_word_at_all():
    with pytest.raises(NoImages, match="no image given: name files, folders, globs, or -"):
        collect([])


def test_a_folder_that_cannot_be_read_is_named(photos, monkeypatch):
    def refused(folder, onerror):
        onerror(PermissionError(errno.EACCES, "Permission denied", str(folder)))
        return iter(())

    monkeypatch.setattr(module.os, "walk", refused)
    with pytest.raises(NoImages, match="photos: cannot be read \\(Permission denied\\)"):
        collect([str(photos)])
