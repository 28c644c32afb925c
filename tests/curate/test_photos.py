"""Folders of photos: a frozen listing, photos that change, annotations beside images."""

from __future__ import annotations

import os

import pytest

from regiontok.curate.photos import listing_path
from regiontok.curate.sources import CurationError, ImageChanged
from regiontok.curate.stage_files import read_rows
from regiontok.curate.tars import open_curation
from regiontok.shards.tar import open_index, write_tar
from samples.curation import contents, filtered, photo


@pytest.fixture
def folder(tmp_path):
    """Photos in two folders; one has a JSON beside it."""
    folder = tmp_path / "photos [2024]"
    (folder / "b").mkdir(parents=True)
    for number, name in enumerate(("z.jpg", "a.1.jpg", "b/c.jpg", "b/d.jpg")):
        (folder / name).write_bytes(photo(number))
    (folder / "b" / "c.json").write_text('{"annotations": []}')
    (folder / "notes.txt").write_text("no photo")
    return folder


def test_photos_are_listed_once_and_curated_as_tars_are(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("regiontok.curate.photos.PHOTOS", 3)
    curation, stage, outcomes = filtered(folder, folder / "out")
    assert [(tar.name, tar.images) for tar in curation.tars] == [
        ("photos [2024]-00000", 3),
        ("photos [2024]-00001", 1),
    ]
    assert [outcome.error for outcome in outcomes] == [None] * 3
    keys = [read_rows(stage, folder / "out", tar, ["key"])["key"] for tar in curation.tars]
    assert [key.to_pylist() for key in keys] == [["a", "z", "b/c"], ["b/d"]]
    (folder / "new.jpg").write_bytes(photo(9))
    again = open_curation(folder / "out", [str(folder)], piece=2)
    assert again == curation, "what comes later does not count"
    index = again.index(again.tars[0])
    assert [index.annotation(number) for number in range(3)] == [None, None, b'{"annotations": []}']
    assert not [*(folder / "out" / "pieces").iterdir()], "names may look like patterns"


def test_photos_that_changed_or_are_gone_are_set_aside_by_name(folder, tmp_path):
    curation = open_curation(tmp_path / "out", [str(folder)], piece=2)
    (folder / "z.jpg").unlink()
    os.utime(folder / "b" / "d.jpg", ns=(1, 1))
    (folder / "b" / "c.json").write_text("{}")
    _, stage, _ = filtered(folder, tmp_path / "out")
    rows = read_rows(stage, curation.out, curation.tars[0]).to_pylist()
    assert [row["reason"].split(":")[0] for row in rows] == ["", "changed", "", "changed"]
    assert "z.jpg: cannot be read (No such file" in rows[1]["reason"]
    assert "d.jpg: changed since the curation began" in rows[3]["reason"]
    with pytest.raises(ImageChanged, match=r"c\.json: changed since"):
        curation.index(curation.tars[0]).annotation(2)


def test_a_copy_of_the_folder_gives_the_same_bytes(folder, tmp_path):
    filtered(folder, tmp_path / "one")
    copy = tmp_path / "copy" / folder.name
    copy.parent.mkdir()
    folder.rename(copy)
    for number, path in enumerate(copy.rglob("*.jpg")):
        os.utime(path, (number, number))
    filtered(copy, tmp_path / "two")
    one, two = (contents(tmp_path / name) for name in ("one", "two"))
    places = {"curation.json", listing_path(tmp_path, f"{folder.name}-00000").name}
    assert {name: one[name] for name in one.keys() - places} == {
        name: two[name] for name in two.keys() - places
    }
    assert {name for name in one if name.endswith(".parquet")}


def test_a_damaged_listing_and_equal_names_are_refused(folder, tmp_path):
    out = tmp_path / "out"
    (tar,) = open_curation(out, [str(folder)], piece=2).tars
    listing = listing_path(out, tar.name)
    listing.write_text(listing.read_text().replace("z.jpg", "y.jpg"))
    with pytest.raises(CurationError, match="not the listing with which the curation began"):
        open_curation(out, [str(folder)], piece=2)
    listing.write_text("{")
    with pytest.raises(CurationError, match="damaged"):
        open_curation(out, [str(folder)], piece=2)
    other = tmp_path / "more" / folder.name
    other.mkdir(parents=True)
    (other / "a.jpg").write_bytes(photo(1))
    with pytest.raises(CurationError, match="have one name"):
        open_curation(tmp_path / "new", [str(folder), str(other)], piece=2)


def test_a_tar_gives_the_json_beside_an_image(tmp_path):
    tar = tmp_path / "sa.tar"
    files = [("x/1.json", b"{1}"), ("x/1.jpg", b"a"), ("x/2.jpg", b"b"), ("3.jpg", b"c")]
    write_tar(tar, [*files, ("3.json", b"{3}"), ("4.json", b"{4}")])
    for _ in ("scanned", "stored"):
        index = open_index(tar, tmp_path)
        assert [index.annotation(number) for number in range(3)] == [b"{1}", None, b"{3}"]
        assert [index.read(number) for number in range(3)] == [b"a", b"b", b"c"]
    write_tar(tmp_path / "plain.tar", files[1:3])
    for _ in ("scanned", "stored"):
        assert open_index(tmp_path / "plain.tar", tmp_path).annotation(1) is None
