"""Where the products of centroids and regions are computed."""

from __future__ import annotations

from regiontok.system.devices import resolve_device


def clustering_device(name: str) -> str:
    """A device of this machine on which regions can be compared with centroids.

    Args:
        name: the plan's device. "auto" is the CPU where there is no GPU, and where the GPU has no
            float64, by which ties are decided (Apple's).

    Raises:
        NoDevice: If there is no such device here.
    """
    device = resolve_device(name)
    return "cpu" if name == "auto" and device.startswith("mps") else device
