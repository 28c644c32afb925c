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


def test_linked_folders_are_read_once_and_no_loop_is_followed(photos, tmp_path):
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    for name in ("d.png", "deep/e.png"):
        Image.new("RGB", (2, 2)).save(tmp_path / "elsewhere" / name)
    (photos / "2024").symlink_to(tmp_path / "elsewhere")
    (photos / "again").symlink_to(tmp_path / "elsewhere")
    (photos / "deeper").symlink_to(tmp_path / "elsewhere" / "deep")
    (photos / "more" / "up").symlink_to(photos)
    (photos / "parent").symlink_to(tmp_path)
    (tmp_path / "elsewhere" / "back").symlink_to(photos)
    (photos / "nowhere").symlink_to(tmp_path / "gone")
    assert names(photos) == ["a.jpg", "b.png", "more/c.png", "2024/d.png", "2024/deep/e.png"]
    assert names(photos / "2024") == [
        "d.png",
        "deep/e.png",
        "back/a.jpg",
        "back/b.png",
        *(["back/more/c.png"]),
    ]


def test_what_lies_beside_pictures_is_counted_aloud(photos, tmp_path):
    (photos / "__MACOSX" / "more").mkdir(parents=True)
    for name in ("._a.jpg", ".DS_Store", "__MACOSX/a.jpg", "__MACOSX/more/._c.png"):
        (photos / name).write_bytes(b"not read")
    for name in ("x.svg", "more/y.SVG", "z.cr2", "film.mov"):
        (photos / name).write_bytes(b"not read")
    notes = []
    assert len(collect([str(photos)], note=notes.append)) == 3
    assert (
        notes
        == [
            f"{photos}: 4 files of kinds that are not read as pictures (.svg 2, .mov 1, .cr2 1)",
            f"{photos}: 4 files that a Mac left beside others are not read (._*, .DS_Store, __MACOSX)",
        ]
        or notes[0].count(" 1") == 2
    )
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.dng").write_bytes(b"not read")
    with pytest.raises(NoImages, match=r"no images .*; 1 file of a kind that is not"):
        collect([str(tmp_path / "raw")])


def test_a_phones_heic_is_taken(photos):
    (photos / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    assert "IMG_1.HEIC" in names(photos)


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
