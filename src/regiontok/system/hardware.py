"""Named hardware for plans: its memory, and the operations a second that it reaches.

After: NVIDIA's data sheets of H200, H100 (SXM), A100 (80 GB SXM), L40S and RTX 4090, figures
without sparsity.
Differs: `MFU` is an assumption, not a measurement: dense language models of this size are reported
between 0.3 and 0.5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from regiontok.system.choices import nearest

MFU = 0.35  # share of the peak that training is assumed to reach

# name -> (memory in GB, dense bf16 peak in TFLOP/s)
KNOWN = {
    "h200": (141, 989),
    "h100": (80, 989),
    "a100": (80, 312),
    "a100-40": (40, 312),
    "l40s": (48, 362),
    "rtx4090": (24, 165),
}


@dataclass(frozen=True)
class Hardware:
    """A number of equal accelerators.

    Attributes:
        name: their name and number, such as "h100x4".
        devices: how many there are.
        memory: bytes of memory of one accelerator.
        peak: dense bf16 operations a second of one accelerator.
    """

    name: str
    devices: int
    memory: float
    peak: float


def hardware(text: str) -> Hardware:
    """The accelerators of a text such as "h100x4"; without a number it is one.

    Raises:
        ValueError: If the name is unknown; the message names the nearest known one.

    >>> hardware("h100x4").devices, hardware("rtx4090").memory
    (4, 24000000000.0)
    """
    name, count = text.strip().lower(), 1
    # rtx4090 ends in x and digits too
    if name not in KNOWN and (match := re.fullmatch(r"(.+)x(\d+)", name)):
        name, count = match[1], int(match[2])
    if name not in KNOWN or count < 1:
        raise ValueError(
            f"unknown hardware {text!r}{nearest(name, KNOWN)}; "
            f"known: {', '.join(KNOWN)}, with a number such as h100x4"
        )
    memory, peak = KNOWN[name]
    return Hardware(text, devices=count, memory=memory * 1e9, peak=peak * 1e12)


def peak_of(device: str) -> float:
    """Dense bf16 operations a second of a device by torch's name for it; 0 if it is not known.

    >>> peak_of("NVIDIA H200") / 1e12, peak_of("NVIDIA GeForce RTX 4090") / 1e12
    (989.0, 165.0)
    >>> peak_of("something else")
    0.0
    """
    plain = device.lower().replace(" ", "")
    names = [name for name in KNOWN if name in plain]
    return KNOWN[max(names, key=len)][1] * 1e12 if names else 0.0
