"""Images of a command line: files, folders, globs and lists."""

from __future__ import annotations

import errno
import io

import pytest
from PIL import Image

from regiontok.data import collect as module
from regiontok.data.collect import NoImages, collect, separate_names
from regiontok.draw.sheet import save_image


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


def test_a_name_never_depends_on_what_else_is_given(photos):
    (photos / "more" / "b.png").write_bytes((photos / "b.png").read_bytes())
    words = [photos / "b.png", photos / "more" / "b.png", photos / "a.jpg"]
    assert names(*words) == [names(word)[0] for word in words] == ["b.png", "b.png", "a.jpg"]
    separate, others = separate_names(collect([str(word) for word in words]))
    assert [source.path for source in separate] == [words[0], words[2]]
    ((other, reason),) = others
    assert other.path == words[1]
    assert reason.startswith(f"{words[1]}: its output has the same name, b.png, as that of")


def test_a_glob_names_its_images_below_the_part_without_wildcards(photos):
    (photos / "left").mkdir()
    (photos / "left" / "c.png").write_bytes((photos / "b.png").read_bytes())
    assert names(photos / "*" / "c.png") == ["left/c.png", "more/c.png"]
    assert names(photos / "[lm]*") == ["left/c.png", "more/c.png"]
    assert names(photos / "*.png") == ["b.png"]


def test_what_this_project_wrote_is_left_out_unless_it_is_named(photos):
    before = names(photos)
    for name in ("frontier.png", "more/curves.jpg", "chart.webp"):
        save_image(Image.new("RGB", (400, 300)), photos / name)
    # the folder of an image as older releases wrote it: nothing marks its picture
    (photos / "out" / "a.jpg").mkdir(parents=True)
    for name in ("report.json", "merge-0.5.regions.json", "merge-0.5.safetensors"):
        (photos / "out" / "a.jpg" / name).write_text("{}")
    Image.new("RGB", (2, 2)).save(photos / "out" / "a.jpg" / "regions.png")
    assert names(photos) == before
    assert names(photos / "*.png") == ["b.png"]
    assert set(names(photos / "**")) == {*before, "notes.txt"}
    assert names(photos / "frontier.png") == ["frontier.png"]
    with pytest.raises(NoImages, match=r"no images .*; 1 that regiontok wrote are left out"):
        collect([str(photos / "out")])
    with pytest.raises(NoImages, match="matches only what regiontok wrote"):
        collect([str(photos / "front*.png")])


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
