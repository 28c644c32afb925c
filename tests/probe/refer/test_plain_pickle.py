"""Plain data out of pickles: what is read equals Python's own, and nothing is ever executed."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from regiontok.probe.refer.plain_pickle import PickleRefused, plain_data, read_plain_pickle

SHARED = ["a", "red"]
PLAIN = [
    {"sent_ids": [0, 1, 2], "file_name": "COCO_train2014_000000581857_16.jpg", "ann_id": 1719310},
    {"sentences": [{"tokens": SHARED, "raw": "a réd", "sent_id": 0}], "split": "train"},
    (1, (2.5, None), True, False, 2**70, -3, {}, [], (), {1: SHARED}, "x" * 300, SHARED),
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_equals_python(protocol: int) -> None:
    assert plain_data(pickle.dumps(PLAIN, protocol)) == PLAIN


def test_python_2() -> None:
    """As Python 2 wrote texts: unicode and byte strings, in protocols 0 and 2."""
    old = b"(lp0\n(dp1\nS'sent'\np2\nVman \\u00e9\np3\nsS'id'\nI7\nsa."
    assert plain_data(old) == [{"sent": "man é", "id": 7}]
    newer = b"\x80\x02]q\x00}q\x01(U\x04sentq\x02X\x03\x00\x00\x00manq\x03U\x02idK\x07ua."
    assert plain_data(newer) == [{"sent": "man", "id": 7}]


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_is_executed(tmp_path: Path, protocol: int) -> None:
    trap, file = tmp_path / "trap", tmp_path / "refs.p"
    file.write_bytes(pickle.dumps([{"sent": "man"}, Hostile(trap)], protocol))
    with pytest.raises(PickleRefused, match=r"refs.p: byte \d+ \((STACK_)?GLOBAL\).*no plain data"):
        read_plain_pickle(file)
    assert not trap.exists()
    pickle.loads(file.read_bytes())  # the trap is a real one
    assert trap.exists()


def test_instances_are_refused() -> None:
    """Protocol 0's INST, extension codes, persistent ids, and a BUILD on a plain dict."""
    for code in (b"(S'ls'\nios\nsystem\n.", b"\x82\x01.", b"Pid\n.", b"}}b."):
        with pytest.raises(PickleRefused, match="no plain data"):
            plain_data(code)


@pytest.mark.parametrize(
    "code", [b"", b"](K\x01e", b"]K\x01s.", b"e.", b"h\x09.", b"(.", b"0.", b"K\x01K\x01."]
)
def test_damaged(code: bytes) -> None:
    with pytest.raises(PickleRefused):
        plain_data(code)


def test_truncated(tmp_path: Path) -> None:
    whole = pickle.dumps(PLAIN)
    for end in range(len(whole)):
        with pytest.raises(PickleRefused):
            plain_data(whole[:end])
    with pytest.raises(PickleRefused, match=r"absent\.p: cannot be read"):
        read_plain_pickle(tmp_path / "absent.p")
