"""Any text as a terminal may have it."""

from __future__ import annotations

import json

import pytest

from regiontok.system.printable import printable, printable_json, printable_lines


@pytest.mark.parametrize("first", range(0, 0x3000, 0x400))
def test_no_character_is_left_that_a_terminal_obeys(first):
    text = "".join(map(chr, range(first, first + 0x400)))
    assert not set(printable(text)) & {*map(chr, range(32)), *map(chr, range(0x7F, 0xA0))} - {"\t"}
    assert json.loads(printable_json(json.dumps(text, ensure_ascii=False))) == text


def test_half_characters_can_be_encoded():
    text = "".join(map(chr, range(0xDFFF, 0xD7FF, -1)))  # no two of them are a pair
    assert printable(text).isascii()
    assert json.loads(printable_json(json.dumps(text, ensure_ascii=False))) == text


def test_other_text_stays_as_it_is():
    text = "画 café नमस्ते 👩‍👩‍👧 [a] \\ \t"
    assert printable(text) == printable_lines(text) == text
    assert printable_lines("a\nb\x07") == "a\nb\\x07"
