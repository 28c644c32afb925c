"""The name of a device, checked against what is in this machine, for every command and class."""

from __future__ import annotations

import re

import torch

from regiontok.system.choices import nearest
from regiontok.system.errors import RegiontokError

KINDS = ("auto", "cpu", "cuda", "mps", "xpu")


class NoDevice(RegiontokError, ValueError):
    """A device that does not exist, or is not in this machine; the message says which are."""


def device_kind(name: str) -> str:
    """The kind of a device by its name, whether it is in this machine or not.

    Raises:
        NoDevice: If there is no such device anywhere.

    >>> device_kind("cuda:1"), device_kind("cpu")
    ('cuda', 'cpu')
    """
    match = re.fullmatch(r"(auto|(?:cpu|cuda|mps|xpu)(?::\d+)?)", str(name))
    if match is None:
        raise NoDevice(
            f"unknown device {str(name)!r}{nearest(str(name), KINDS)}; known: {', '.join(KINDS)}, "
            "and cuda:1 for the second GPU"
        )
    return match[0].partition(":")[0]


def resolve_device(name: str) -> str:
    """The name of a device that is in this machine; "auto" is a GPU where there is one.

    Raises:
        NoDevice: If there is no such device, or none of that number, in this machine.

    >>> resolve_device("cpu")
    'cpu'
    """
    kind = device_kind(name)
    if kind == "auto":
        return next((other for other in ("cuda", "mps", "xpu") if _count(other)), "cpu")
    if kind == "cpu":
        return "cpu"
    count = _count(kind)
    index = int(name.partition(":")[2] or 0)
    if not count:
        gpu = "GPU" if kind == "cuda" else f"{kind} device"
        raise NoDevice(f"device {name!r}: torch finds no {gpu} here; choose 'cpu' or 'auto'")
    if index >= count:
        there = f"{kind}:0" + (f" to {kind}:{count - 1}" if count > 1 else "")
        raise NoDevice(f"device {name!r}: torch finds {count} here, {there}")
    return str(name)


def _count(kind: str) -> int:
    """How many devices of a kind torch finds."""
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    devices = torch.cuda if kind == "cuda" else torch.xpu
    return devices.device_count() if devices.is_available() else 0
