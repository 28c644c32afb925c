"""Line plots: what is drawn can be found again in the pixels."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from regiontok.draw.plot import STYLES, Line, Panel, draw_panels
from regiontok.system.need import MissingPackage

LINE = Line("one", (16.0, 64.0), (0.1, 0.9))


def share_of(image, colour):
    """Pixels of exactly this colour."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.asarray(image) == wanted).all(-1).sum())


def panel(*lines, **options):
    return Panel("share", "tokens", "share", lines, **options)


@pytest.mark.slow
def test_every_line_is_drawn_in_its_own_colour_in_every_panel():
    pytest.importorskip("matplotlib")
    other = Line("two", (16.0, 64.0), (0.9, 0.1))
    double = draw_panels([panel(LINE, other), panel(other, log=True)], title="A title")
    single = draw_panels([panel(LINE, other)], title="A title")
    assert double.mode == "RGB"
    assert double.width > 1.8 * single.width
    assert share_of(double, STYLES[0][0]) > 200
    assert share_of(double, STYLES[1][0]) > 1.5 * share_of(single, STYLES[1][0]) > 0


def test_whole_numbers_are_counted_in_whole_steps(monkeypatch):
    ticker = pytest.importorskip("matplotlib.ticker")
    made = []
    locator = ticker.MaxNLocator
    monkeypatch.setattr(ticker, "MaxNLocator", lambda **kw: made.append(kw) or locator(**kw))
    for x in ((1.0, 20.0), (0.5, 20.0)):
        draw_panels([panel(Line("loss", x, (0.9, 0.1)), doubling=False)], title="")
    assert [how["integer"] for how in made] == [True]


def test_a_line_goes_up_where_its_numbers_do_whatever_their_order():
    pytest.importorskip("matplotlib")
    for line in (LINE, Line("one", (64.0, 16.0), (0.9, 0.1))):
        image = np.asarray(draw_panels([panel(line)], title=""))
        y, x = np.nonzero((image[:700] == [0, 0x72, 0xB2]).all(-1))  # above the legend
        assert np.corrcoef(x, y)[0, 1] < -0.9


def test_nothing_global_is_touched():
    matplotlib = pytest.importorskip("matplotlib")
    settings = dict(matplotlib.rcParams)
    draw_panels([panel(LINE)], title="t", subtitle="s")
    assert dict(matplotlib.rcParams) == settings
    assert (
        "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    )


def test_what_cannot_be_drawn(monkeypatch):
    with pytest.raises(ValueError, match="at least one panel with a line, got none"):
        draw_panels([panel()], title="t")
    with pytest.raises(ValueError, match="12 lines cannot be told apart; draw at most 11"):
        draw_panels([panel(*(Line(str(i), (1.0,), (1.0,)) for i in range(12)))], title="t")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingPackage, match=r"pip install 'regiontok\[plot\]'"):
        draw_panels([panel(LINE)], title="t")
