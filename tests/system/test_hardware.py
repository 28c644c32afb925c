"""Hardware is read from its name, with or without a number of accelerators."""

from __future__ import annotations

import pytest

from regiontok.system.hardware import hardware


@pytest.mark.parametrize(
    ("text", "devices", "memory"),
    [
        ("h100", 1, 80e9),
        ("h100x4", 4, 80e9),
        (" H200x8 ", 8, 141e9),
        ("rtx4090", 1, 24e9),
        ("rtx4090x2", 2, 24e9),
        ("a100-40x2", 2, 40e9),
    ],
)
def test_a_name_may_end_in_the_number_of_accelerators(text, devices, memory):
    machine = hardware(text)
    assert (machine.name, machine.devices, machine.memory) == (text, devices, memory)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("h101", r"unknown hardware 'h101' \(did you mean 'h10?0'\?\); known: h200, h100"),
        ("h100x0", "unknown hardware 'h100x0'"),
        ("", "unknown hardware ''; known: "),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(text, message):
    with pytest.raises(ValueError, match=message):
        hardware(text)
