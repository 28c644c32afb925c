"""JSON that every reader takes, and texts that no reader takes."""

from __future__ import annotations

import json

import pytest

from regiontok.system.strict_json import json_bytes, parse_json, strict_json


@pytest.mark.parametrize("text", ["[" * 100_000, b'{"a": ' * 100_000, "{", "", "nan?"])
def test_what_cannot_be_read_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse_json(text)


def test_numbers_that_are_not_finite_become_null_however_deep():
    value = {"rows": [(1.5, float("nan"))], "worst": {"loss": float("inf")}}
    expected = {"rows": [[1.5, None]], "worst": {"loss": None}}
    assert parse_json(strict_json(value)) == expected
    assert json.loads(json_bytes(value, indent=1)) == expected
