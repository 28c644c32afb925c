"""The settings of the tracking probe by name: the published ones, and one for minutes on a CPU.

After: RICE section 4.4 (which probe, 100 epochs for GOT-10k and 300 for the others); OSTrack's
    experiments/ostrack/vitb_256_mae_32x4_ep300.yaml and its GOT-10k counterpart (all numbers).
Differs: RICE prints no numbers of its training; OSTrack's are taken. A head of two blocks learns at
    OSTrack's rate of everything but the backbone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

_EPOCH = 60_000  # pairs
_BATCH = 32 * 4  # pairs of a step on four GPUs
_POSITIVE = ("rate", "clip", "template_factor", "search_factor")
_LEAST = {
    **dict.fromkeys(("width", "distinct_batches", "augment", "warmup"), 0),
    **dict.fromkeys(("centre_jitter", "scale_jitter", "decay", *_POSITIVE), 0),
}


@dataclass(frozen=True)
class TrackSettings:
    """What is trained, on what pairs, and how long.

    Attributes:
        steps: steps of the optimiser.
        batch: pairs a step, of all processes together.
        template, search: sides of the two crops in pixels; the largest multiple of the encoder's
            patch that is not above is taken (126 and 252 at patch 14).
        template_factor, search_factor: side of a crop in sides of the target.
        centre_jitter: how far the search crop's centre is moved: at most half of this, in sides of
            the target, along each axis.
        scale_jitter: deviation of the logarithm of the search crop's size.
        gap: the search frame is one of so many frames after the template's.
        blocks: number of transformer blocks.
        width: width of the blocks; 0 is the encoder's own, without a projection.
        head_width: width of a head of attention.
        channels: channels of the first convolution of the box head.
        rate: learning rate; it falls to a tenth after `drop` steps.
        drop: step at which the rate falls.
        warmup: steps of the rate's linear rise.
        decay: weight decay.
        clip: the norm to which gradients are clipped.
        distinct_batches: batches that are drawn; the training goes over them again and again, so
            that their features are computed once. 0 draws new pairs at each step.
        augment: whether pairs are turned to grey, mirrored and made lighter or darker.

    Raises:
        ValueError: If a number is out of its range.
    """

    steps: int
    drop: int
    warmup: int = 0
    batch: int = _BATCH
    template: int = 128
    search: int = 256
    template_factor: float = 2.0
    search_factor: float = 4.0
    centre_jitter: float = 3.0
    scale_jitter: float = 0.25
    gap: int = 200
    blocks: int = 2
    width: int = 0
    head_width: int = 64
    channels: int = 256
    rate: float = 4e-4
    decay: float = 1e-4
    clip: float = 0.1
    distinct_batches: int = 0
    augment: bool = True

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), _LEAST.get(field.name, 1)
            if value < least or (value == least == 0 and field.name in _POSITIVE):
                raise ValueError(f"{field.name}={value} is out of range for the tracking probe")

    def but(self, **changes: float) -> TrackSettings:
        """The same settings with other values in the fields that are named."""
        return replace(self, **changes)  # type: ignore[arg-type]


SETTINGS: Mapping[str, TrackSettings] = {
    "paper300": TrackSettings(steps=300 * _EPOCH // _BATCH, drop=240 * _EPOCH // _BATCH),
    "paper100": TrackSettings(steps=100 * _EPOCH // _BATCH, drop=80 * _EPOCH // _BATCH),
    "mini": TrackSettings(
        steps=600,
        drop=480,
        warmup=30,
        batch=16,
        template=64,
        search=128,
        width=64,
        head_width=32,
        channels=64,
        rate=1e-3,
        clip=1.0,
        distinct_batches=100,
        augment=False,
    ),
}


def settings_by_name(name: str) -> TrackSettings:
    """Settings by their name.

    Raises:
        ValueError: If there are none of that name.

    >>> settings_by_name("paper300").steps
    140625
    """
    if name not in SETTINGS:
        raise ValueError(f"settings of the tracking probe are {', '.join(SETTINGS)}, not {name!r}")
    return SETTINGS[name]
