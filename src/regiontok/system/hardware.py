"""Accelerators by name, for plans: their memory, their peak, and how much of it training reaches.

After: NVIDIA's data sheets of H200, H100 (SXM), A100 (80 GB SXM), L40S and RTX 4090, figures
without sparsity.
Differs: `MFU` is an assumption, not a measurement: dense language models of this size are reported
between 0.3 and 0.5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from regiontok.system.choices import nearest

MFU = 0.35  # share of the peak that training is assumed to reach (model FLOPs utilisation)

# name -> (memory in GB, dense bf16 peak in TFLOP/s)
ACCELERATORS = {
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
        name: the text it was named by, such as "h100x4".
        devices: how many accelerators there are.
        memory: bytes of memory of one accelerator.
        peak: dense bf16 operations that one accelerator does a second at most.
    """

    name: str
    devices: int
    memory: float
    peak: float

    @classmethod
    def of(cls, text: str) -> Hardware:
        """The hardware that a text names: "h100" is one accelerator, "h100x4" are four.

        Raises:
            ValueError: If the name is unknown; the message says which known one is nearest.

        >>> Hardware.of("h100x4").devices, Hardware.of("rtx4090").memory
        (4, 24000000000.0)
        """
        name, count = text.strip().lower(), 1
        if name not in ACCELERATORS:  # "rtx4090" itself ends in an x and digits
            counted = re.fullmatch(r"(.+)x(\d+)", name)
            name, count = (counted[1], int(counted[2])) if counted else (name, 1)
        if name not in ACCELERATORS or count < 1:
            raise ValueError(
                f"unknown hardware {text!r}{nearest(name, ACCELERATORS)}; "
                f"known: {', '.join(ACCELERATORS)}, with a number such as h100x4"
            )
        memory, peak = ACCELERATORS[name]
        return cls(text, count, memory * 1e9, peak * 1e12)
