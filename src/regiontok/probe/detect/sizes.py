"""The sizes of a detector's heads, and what it finds.

After: detectron2's Cascade Mask R-CNN (`paper`).
Differs: `mini` is ours, for a few minutes on one core.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from regiontok.probe.detect.proposals import ProposalSizes
from regiontok.system.choices import check_choice


@dataclass(frozen=True)
class DetectorSizes:
    """The sizes of the heads.

    Attributes:
        channels: channels of the pyramid.
        hidden: width of the box heads.
        convolutions: convolutions of the mask head.
        sampled: boxes of a picture on which the cascade learns.
        proposals: sizes of the proposal network.
    """

    channels: int = 256
    hidden: int = 1024
    convolutions: int = 4
    sampled: int = 512
    proposals: ProposalSizes = field(default_factory=ProposalSizes)


SIZES = {
    "paper": DetectorSizes(),
    "mini": DetectorSizes(
        channels=32,
        hidden=128,
        convolutions=4,
        sampled=48,
        proposals=ProposalSizes(sampled=128, before=(200, 200), after=(48, 64)),
    ),
}


@dataclass(frozen=True)
class DetectorSettings:
    """What a detector finds, and how many of it.

    Attributes:
        classes: how many classes there are.
        masks: whether it finds masks beside boxes.
        sizes: the sizes of its heads, a name of `SIZES`.
        least_score: detections of a lower score are left out.
        most: detections of a picture that stay.
        overlap: IoU above which the weaker of two boxes of a class is left out.
    """

    classes: int
    masks: bool = True
    sizes: str = "paper"
    least_score: float = 0.05
    most: int = 100
    overlap: float = 0.5

    def __post_init__(self) -> None:
        check_choice("sizes", self.sizes, tuple(SIZES))
