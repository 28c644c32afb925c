"""Sheets: where pictures, heads and captions stand, and files that are whole or not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regiontok.draw.sheet import (
    MARGIN,
    PAPER,
    Panel,
    column_width,
    contact_sheet,
    save_image,
    side_by_side,
)

RED = (250, 0, 0)


def panel(title="", caption="", size=(360, 240)) -> Panel:
    return Panel(Image.new("RGB", size, RED), title, caption)


def inked(image: Image.Image) -> np.ndarray:
    """True where the sheet is not bare paper."""
    return (np.asarray(image).astype(int) != PAPER).any(-1)


def pictures(image: Image.Image) -> np.ndarray:
    return (np.asarray(image) == RED).all(-1)


def test_five_columns_make_a_sheet_2000_wide():
    sheet = contact_sheet([[panel("Photo", "576 patches", (640, 427))] * 5] * 4, title="Regions")
    assert sheet.width == 2000
    assert pictures(sheet).sum(1).max() == 5 * column_width(5)


def test_pictures_are_never_enlarged_and_tall_ones_stay_in_their_column():
    small = contact_sheet([[panel(size=(100, 80))] * 2], title="")
    assert pictures(small).sum() == 2 * 100 * 80
    tall = contact_sheet([[panel(size=(500, 1000))] * 5], title="")
    assert pictures(tall).any(1).sum() == column_width(5)
    assert pictures(tall)[tall.height // 2].sum() == 5 * column_width(5) // 2


def test_pictures_of_a_row_start_on_one_line_and_captions_on_another():
    row = [panel("a", "126 regions", (300, 200)), panel("b", "60 regions", (300, 150))]
    sheet = contact_sheet([row], title="")
    red = pictures(sheet)
    first, second = red[:, : sheet.width // 2], red[:, sheet.width // 2 :]
    assert first.any(1).argmax() == second.any(1).argmax()
    below = inked(sheet)[red.any(1).nonzero()[0].max() + 2 :]
    tops = [
        half.any(1).argmax()
        for half in (below[:, : sheet.width // 2], below[:, sheet.width // 2 :])
    ]
    assert abs(tops[0] - tops[1]) <= 1


def test_equal_titles_down_a_column_are_one_head():
    once = contact_sheet([[panel("Photo")], [panel("Photo")]], title="")
    twice = contact_sheet([[panel("Photo")], [panel("Patches")]], title="")
    none = contact_sheet([[panel()], [panel()]], title="")
    assert twice.height - once.height == once.height - none.height > 20


def test_row_titles_stand_in_the_left_margin():
    bare = contact_sheet([[panel()], [panel()]], title="")
    titled = contact_sheet(
        [[panel()], [panel()]],
        title="",
        row_titles=["coffee", "a title much longer than its row is high " * 3],
    )
    assert titled.size == bare.size
    assert not inked(bare)[:, : MARGIN - 1].any()
    rows = inked(titled)[:, : MARGIN - 2].any(1).nonzero()[0]
    red = pictures(titled).any(1).nonzero()[0]
    assert red.min() <= rows.min()
    assert rows.max() <= red.max()


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["word " * 80, "W" * 300, "é 日 \N{SNOWMAN} " * 40, "several\nlines\n\nof text"]
)
def test_text_never_leaves_the_sheet_or_its_column(text):
    sheet = contact_sheet([[panel(text, text), panel()]], title=text, subtitle=text)
    ink = inked(sheet)
    for edge in (
        ink[: MARGIN - 1],
        ink[-MARGIN + 5 :],
        ink[:, : MARGIN - 3],
        ink[:, -MARGIN + 3 :],
    ):
        assert not edge.any()
    red = pictures(sheet)
    under = ink[red.any(1).nonzero()[0].max() + 2 :]
    assert under[:, MARGIN : MARGIN + 360].any()
    assert not under[:, MARGIN + 363 :].any()


def test_rows_may_be_ragged_or_empty():
    sheet = contact_sheet(
        [[panel()], [], [panel(), panel()]], title="Ragged", subtitle="two columns"
    )
    assert pictures(sheet).sum() == 3 * 360 * 240
    assert sheet.width == 2 * MARGIN + 2 * 360 + 20


def test_side_by_side_keeps_every_picture_as_it_is():
    sheet = side_by_side(
        [
            panel("photo", "", (640, 427)),
            panel("regions", "126", (640, 427)),
            panel("1", "", (1, 640)),
        ]
    )
    assert pictures(sheet).sum() == 2 * 640 * 427 + 640
    assert sheet.width == 2 * MARGIN + 2 * 640 + 200 + 2 * 20, "a narrow photo leaves no gap"


def test_other_modes_are_shown_too():
    sheet = side_by_side([Panel(Image.new(mode, (50, 40))) for mode in ("L", "RGBA", "P", "1")])
    assert sheet.mode == "RGB"
    assert (np.asarray(sheet) == 0).all(-1).sum() == 4 * 50 * 40


def test_a_sheet_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one panel, got none"):
        side_by_side([])
    with pytest.raises(ValueError, match="at least one row with a panel"):
        contact_sheet([[], []], title="Nothing")
    with pytest.raises(ValueError, match="a title for each of 1 rows, got 2"):
        contact_sheet([[panel()]], title="", row_titles=["a", "b"])


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".png", "PNG"), (".jpg", "JPEG"), (".JPEG", "JPEG"), (".webp", "WEBP")]
)
def test_saved_files_read_back(tmp_path, suffix, kind):
    path = save_image(Image.new("RGBA", (30, 20), RED), tmp_path / f"sheet{suffix}")
    with Image.open(path) as saved:
        assert (saved.format, saved.size) == (kind, (30, 20))
        assert np.abs(np.asarray(saved.convert("RGB")).astype(int) - RED).max() < 8
    assert os.listdir(tmp_path) == [path.name]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "sheet.png"
    path.write_bytes(b"older")

    def full(path, _):
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        OSError, match=r"sheet.png was not written: no space left on device \(writing .* MB into "
    ) as caught:
        save_image(Image.new("RGB", (30, 20)), path)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == ["sheet.png"]
    assert path.read_bytes() == b"older"


def test_a_failed_rename_or_an_interrupt_leaves_nothing(tmp_path, monkeypatch):
    for error in (PermissionError(errno.EACCES, "Permission denied"), KeyboardInterrupt()):

        def refuse(*_, error=error):
            raise error

        monkeypatch.setattr(os, "replace", refuse)
        with pytest.raises(type(error)):
            save_image(Image.new("RGB", (3, 2)), tmp_path / "sheet.png")
        assert os.listdir(tmp_path) == []


def test_places_that_cannot_be_written_are_named(tmp_path):
    image = Image.new("RGB", (3, 2))
    with pytest.raises(
        FileNotFoundError, match=r"missing.sheet.png was not written: no such file or directory"
    ):
        save_image(image, tmp_path / "missing" / "sheet.png")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="not a directory"):
        save_image(image, tmp_path / "file" / "sheet.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(IsADirectoryError, match="is a directory"):
        save_image(image, tmp_path / "folder.png")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png"]
    with pytest.raises(ValueError, match=r"ends in .png, .jpg, .jpeg, .webp, got no suffix"):
        save_image(image, tmp_path / "sheet")
