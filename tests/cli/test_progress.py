"""Progress without a terminal: lines in the log of a job."""

from __future__ import annotations

import io

from rich.console import Console

from regiontok.cli import progress
from regiontok.cli.progress import LogLines, Tally, counting


def log_of(seconds_a_piece: float, total: int, *, known: bool = True) -> list[str]:
    """The lines of a job whose pieces take so many seconds each."""
    file, now = io.StringIO(), iter(range(total + 1))
    lines = LogLines(
        Console(file=file), total if known else None, clock=lambda: next(now) * seconds_a_piece
    )
    for done in range(1, total + 1):
        lines.tell("images", done)
    return file.getvalue().splitlines()


def test_a_line_every_half_a_minute_with_an_estimate():
    assert log_of(10, 12)[0] == "images: 3 of 12 (25%) after 30 s, about 1 min 30 s left"
    assert len(log_of(10, 12)) == 4
    assert log_of(10, 3, known=False) == ["images: 3 done after 30 s"]


def test_one_image_is_no_images():
    assert Tally(done=1).summary() == "1 image done (0 of them before), 0 set aside"
    assert Tally(done=2, resumed=2).summary().startswith("2 images done (2 of them before)")


def test_quick_jobs_say_nothing_and_long_ones_less_and_less():
    assert log_of(1, 20) == []
    assert 40 < len(log_of(1, 36_000)) < 120  # ten hours


def test_counting_tells_where_nobody_looks(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SILENT", 0.0)
    with counting("photos", 2) as tick:
        tick()
        tick()
    assert "photos: 2 of 2 (100%) after" in capsys.readouterr().err


def test_a_terminal_has_a_bar_and_no_lines():
    file = io.StringIO()
    lines = LogLines(Console(file=file, force_terminal=True), 3, clock=iter((0, 99)).__next__)
    lines.tell("images", 1)
    assert file.getvalue() == ""
