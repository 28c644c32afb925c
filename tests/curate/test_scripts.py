"""The rule against scripts that a reader does not know, on lines as readers gave them."""

from __future__ import annotations

import numpy as np
import pytest

from regiontok.curate.scripts import lengths_of, unknown_script, unread_lines
from regiontok.curate.text_readers import TextLines


def lines(*rows: tuple[str, float, float]) -> TextLines:
    """Lines of a text, a score and a length in heights."""
    corners = [[[0, 0], [10 * length, 0], [10 * length, 10], [0, 10]] for _, _, length in rows]
    return TextLines.of(np.array(corners), [row[0] for row in rows], [row[1] for row in rows])


# as rapidocr 3.10 read pages in these languages: text, score, length in heights
READ = {
    "English": [("over the lazy dog", 0.98, 8.4), ("Mind the doors", 1.0, 7.0)],
    "Polish": [("Zażółć gęślą jaźń, proszę", 0.99, 9.2)],
    "Chinese": [("愚园路", 0.99, 3.5), ("Yuyuan Rd.", 1.0, 4.6), ("西", 1.0, 1.3)],
    "Japanese": [("清潔できれいな港区を", 1.0, 7.7), ("NO LITTER", 0.99, 4.6)],
    "Korean, names in Latin": [("川量", 0.25, 1.7), ("Pyeongyang", 1.0, 3.5), ("205Km", 1.0, 2.4)],
    "a sign and scribbles": [("uptake", 0.83, 2.3), ("TINSE RHE", 0.47, 2.9), ("SAS", 0.64, 2.8)],
    "units": [("47 kΩ or 10 μm", 0.95, 7.0)],
}
NOT_READ = {
    "Russian": [(" , ", 0.96, 8.4), (" . , ", 0.82, 12.1), (",   ", 0.87, 10.8)],
    "Greek": [("POΣOX ΣTO KENO", 0.77, 10.2), ("να, οδ Eρμο πντε", 0.89, 11.0)],
    "Armenian": [(" q t", 0.87, 9.0), ("Unu qu ", 0.73, 7.5)],
    "Hebrew": [("TT", 1.0, 2.3), ("T", 1.0, 1.0), ("SGLELUX UU LEL ULL ALE", 0.66, 21.0)],
    "Devanagari, names in Latin": [("JanaHindi", 1.0, 4.2), ("3市", 0.63, 26.6)],
}


@pytest.mark.parametrize("script", READ)
def test_text_that_was_read_is_used(script):
    assert unknown_script(lines(*READ[script])) == ""


@pytest.mark.parametrize("script", NOT_READ)
def test_text_in_other_scripts_is_not(script):
    rows = NOT_READ[script]
    unread = int(unread_lines(lines(*rows)).sum())
    assert unknown_script(lines(*rows)) == (
        f"other script: {unread} of {len(rows)} lines are not read"
    )


def test_a_line_has_its_length_whichever_way_it_runs():
    upright = np.array([[[0, 0], [80, 0], [80, 10], [0, 10]]], float)
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]])
    for corners in (upright, upright[..., ::-1], upright @ turn, np.roll(upright, 1, axis=1)):
        assert lengths_of(TextLines.of(corners, ["x"], [1])) == pytest.approx([8])


def test_no_lines_say_nothing():
    assert unknown_script(lines()) == ""
