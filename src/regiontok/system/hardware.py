"""Named hardware for plans: memory and dense bf16 peak from the makers' data sheets, and the share
of it that training is assumed to reach.

After: NVIDIA's data sheets of H200, H100 (SXM), A100 (80 GB SXM), L40S and RTX 4090, figures
without sparsity.
Differs: `MFU` is an assumption, not a measurement: dense language models of this size are reported
between 0.3 and 0.5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from regiontok.system.choices import nearest

MFU = 0.35


@dataclass(frozen=True)
class Hardware:
    """`devices` equal accelerators.

    Attributes:
        memory: of one, in bytes.
        peak: of one, dense bf16 operations a second.
    """

    name: str
    devices: int
    memory: float
    peak: float


# name -> (memory in GB, dense bf16 peak in TFLOP/s)
KNOWN = {
    "h200": (141, 989),
    "h100": (80, 989),
    "a100": (80, 312),
    "a100-40": (40, 312),
    "l40s": (48, 362),
    "rtx4090": (24, 165),
}


def hardware(text: str) -> Hardware:
    """ "h100x4" -> four of them; without a number one.

    Raises:
        ValueError: an unknown name; the nearest known one is said.

    >>> hardware("h100x4").devices, hardware("rtx4090").memory
    (4, 24000000000.0)
    """
    name, count = text.strip().lower(), 1
    if name not in KNOWN and (
        found := re.fullmatch(r"(.+)x(\d+)", name)
    ):  # rtx4090 ends in x and digits too
        name, count = found[1], int(found[2])
    if name not in KNOWN or count < 1:
        raise ValueError(
            f"unknown hardware {text!r}{nearest(name, KNOWN)}; known: {', '.join(KNOWN)}, with a number such as h100x4"
        )
    memory, peak = KNOWN[name]
    return Hardware(text, count, memory * 1e9, peak * 1e12)
