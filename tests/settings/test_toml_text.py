"""Values as TOML text are read back as the same values."""

from __future__ import annotations

import tomllib

from hypothesis import given, settings
from hypothesis import strategies as st

from regiontok.settings.toml_text import toml_lines

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
NUMBERS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
VALUES = st.recursive(
    TEXT | NUMBERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(TEXT, VALUES, max_size=4))
def test_any_table_survives_the_writing(table):
    assert tomllib.loads("\n".join(toml_lines(table))) == table


def test_none_is_left_out_at_any_depth():
    assert toml_lines({"a": None, "b": {"c": None, "d": 1}}) == ["b = { d = 1 }"]
