"""A word that a setting does not take is refused, and the nearest known one is named."""

from __future__ import annotations

import pytest

from regiontok.system.choices import check_choice, nearest


def test_the_nearest_name_is_suggested_and_nothing_where_none_is_near():
    assert nearest("mrege", ["sort", "merge"]) == " (did you mean 'merge'?)"
    assert nearest("zzz", ["sort", "merge"]) == ""
    assert nearest("sort1", ["sort2", "sort3"], most=2).count("sort") == 2


def test_a_choice_is_taken_and_anything_else_is_refused():
    check_choice("norm", "rms", ("none", "rms"))
    with pytest.raises(ValueError, match=r"^norm must be 'none' or 'rms', not 'zzz'$"):
        check_choice("norm", "zzz", ("none", "rms"))
    with pytest.raises(ValueError, match=r"not 'rsm' \(did you mean 'rms'\?\)$"):
        check_choice("norm", "rsm", ("none", "rms"))
