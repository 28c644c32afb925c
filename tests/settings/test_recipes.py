"""What the shipped recipes reproduce, table by table."""

from __future__ import annotations

import pytest

from regiontok.settings.recipes import recipes_by_table
from regiontok.settings.shipped import shipped_recipes


@pytest.mark.slow
def test_every_recipe_stands_under_its_table():
    names = [name for group in recipes_by_table().values() for name in group]
    assert sorted(names) == sorted(shipped_recipes())
