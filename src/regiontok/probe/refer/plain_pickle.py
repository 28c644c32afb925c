"""Plain data out of a pickle file, read opcode by opcode: nothing in the file is ever executed.

RefCOCO's references are published as pickles of lists, dicts, texts and numbers. Python's own
unpickler runs whatever a file names; this reader knows only the opcodes that build plain data.

After: Python's `pickletools`, which lists the opcodes of a pickle without executing them.
Differs: opcodes that name, call or build a class are refused, whatever they name.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from regiontok.system.errors import RegiontokError

_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}
# opcodes whose argument is the value itself
_VALUES = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
        "BINUNICODE8",
    )
)
_PUTS, _GETS = ("PUT", "BINPUT", "LONG_BINPUT"), ("GET", "BINGET", "LONG_BINGET")
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class PickleRefused(RegiontokError, ValueError):
    """A pickle file that is damaged, or holds more than plain data; the message says where."""


def read_plain_pickle(path: Path) -> Any:
    """The lists, dicts, tuples, texts, numbers and truth values that a pickle file holds.

    Args:
        path: the file, of any pickle protocol.

    Raises:
        PickleRefused: If the file cannot be read, breaks off, or holds anything but plain data.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PickleRefused(f"{path}: cannot be read ({error.strerror})") from error
    try:
        return plain_data(data)
    except PickleRefused as error:
        raise PickleRefused(f"{path}: {error}") from None


def plain_data(data: bytes) -> Any:
    """The plain data of a pickle; see `read_plain_pickle`.

    Raises:
        PickleRefused: If the pickle breaks off, or holds anything but plain data.

    >>> import pickle
    >>> plain_data(pickle.dumps([{"sent": "man on right", "sent_id": 316}]))
    [{'sent': 'man on right', 'sent_id': 316}]
    """
    machine = _Machine()
    place = 0
    try:
        for opcode, argument, position in pickletools.genops(data):
            place = position or 0
            if opcode.name == "STOP":
                return machine.result()
            machine.take(opcode.name, argument, place)
    except PickleRefused:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise PickleRefused(
            f"the pickle is damaged or breaks off behind byte {place} ({error}); "
            "expected a whole file: download it again"
        ) from None
    raise PickleRefused("the pickle breaks off; expected a whole file: download it again")


class _Mark:
    """Where the items of a list, dict or tuple begin on the stack."""


_MARK = _Mark()


class _Machine:
    """The stack of a pickle."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        """What stands on the stack at the end."""
        (value,) = self._stack
        if value is _MARK:
            raise ValueError("it ends with a mark")
        return value

    def take(self, name: str, argument: Any, place: int) -> None:
        """Carry out one opcode.

        Raises:
            PickleRefused: If it builds anything but plain data.
        """
        stack = self._stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _PUTS:
            self._memo[argument] = stack[-1]
        elif name in _GETS:
            stack.append(self._memo[argument])
        elif name in _TUPLES:
            stack.append(tuple(self._popped(_TUPLES[name])))
        elif name in _BUILDERS:
            _BUILDERS[name](self)
        elif name not in ("PROTO", "FRAME"):
            raise PickleRefused(
                f"byte {place} ({name}) builds something that is no plain data; expected lists, "
                "dicts, texts and numbers only, and nothing was executed"
            )

    def mark(self) -> None:
        """Begin the items of a list, dict or tuple."""
        self._stack.append(_MARK)

    def memoize(self) -> None:
        """Remember the topmost value under the next number."""
        self._memo[len(self._memo)] = self._stack[-1]

    def append(self) -> None:
        """Add one item to a list."""
        self._extend(self._popped(1))

    def appends(self) -> None:
        """Add all items behind the mark to a list."""
        self._extend(self._behind_mark())

    def setitem(self) -> None:
        """Add one pair to a dict."""
        self._update(self._popped(2))

    def setitems(self) -> None:
        """Add all pairs behind the mark to a dict."""
        self._update(self._behind_mark())

    def make_list(self) -> None:
        """Make a list of all items behind the mark."""
        self._stack.append(list(self._behind_mark()))

    def make_tuple(self) -> None:
        """Make a tuple of all items behind the mark."""
        self._stack.append(tuple(self._behind_mark()))

    def make_dict(self) -> None:
        """Make a dict of all pairs behind the mark."""
        items = self._behind_mark()
        self._stack.append({})
        self._update(items)

    def _extend(self, items: Any) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise ValueError("it appends to what is no list")
        target.extend(items)

    def _update(self, items: Any) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict):
            raise ValueError("it sets items of what is no dict")
        target.update(zip(items[::2], items[1::2], strict=True))

    def _popped(self, count: int) -> Any:
        items = self._stack[-count:]
        if len(items) < count or any(item is _MARK for item in items):
            raise ValueError("it takes more values than there are")
        del self._stack[-count:]
        return items

    def _behind_mark(self) -> Any:
        place = len(self._stack) - 1
        while self._stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise ValueError("a mark is missing")
        items = self._stack[place + 1 :]
        del self._stack[place:]
        return items


_BUILDERS: dict[str, Callable[[_Machine], None]] = {
    "MARK": _Machine.mark,
    "MEMOIZE": _Machine.memoize,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.setitem,
    "SETITEMS": _Machine.setitems,
    "LIST": _Machine.make_list,
    "TUPLE": _Machine.make_tuple,
    "DICT": _Machine.make_dict,
}
