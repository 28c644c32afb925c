"""Settings of the viewer: one panel each, an encoder with its transforms and its regions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from regiontok.tokenizer.regionizer import build_encoder

UNCHANGED = "none"  # says that features are not transformed
BUDGET = "{k}"  # stands in a spec for the number of regions that the slider says


@dataclass(frozen=True)
class ViewSetting:
    """How one panel makes its regions.

    Attributes:
        encoder: spec of the encoder.
        regions: spec of the steps, in which `{k}` may stand for the slider's number of regions.
        transforms: spec of the transforms of the features that steps read; "" for none.
        segmenter: spec of the segmenter, in which `{k}` may stand, too; "" for none.
        padding: what becomes of patches that see padding only: "drop" or "keep".
        tiles, cut: see `Regionizer`; with tiles each view has a panel.
    """

    encoder: str = "lite"
    regions: str = ""
    transforms: str = ""
    segmenter: str = ""
    padding: str = "drop"
    tiles: str = ""
    cut: str = "stitched"

    @property
    def follows_budget(self) -> bool:
        """True if its regions are made anew for each number of regions."""
        return BUDGET in self.regions + self.segmenter

    def at(self, k: int) -> ViewSetting:
        """The setting with a number of regions in the place of `{k}`.

        >>> ViewSetting(regions="tome({k})").at(64).regions
        'tome(64)'
        """
        regions, segmenter = (
            text.replace(BUDGET, str(k)) for text in (self.regions, self.segmenter)
        )
        return replace(self, regions=regions, segmenter=segmenter)


def settings_of(
    encoders: Sequence[str],
    regions: Sequence[str] = (),
    transforms: Sequence[str] = (),
    segmenter: str = "",
    padding: str = "drop",
    tiles: str = "",
    cut: str = "stitched",
) -> list[ViewSetting]:
    """A setting for each encoder, each pipeline of transforms and each region spec, in this order.

    Args:
        encoders: specs of encoders; none is `lite`.
        regions: region specs; without any, each encoder's own clustering.
        transforms: specs of transforms; without any, and of "none", features stay as they are.
        segmenter: spec of the segmenter that all share.
        padding, tiles, cut: see `ViewSetting`; all share them.

    >>> [setting.regions for setting in settings_of(["lite"], ["merge(0.5)", "tome({k})"])]
    ['merge(0.5)', 'tome({k})']
    """
    settings = []
    for encoder, change in itertools.product(encoders or ["lite"], transforms or [""]):
        own = regions or [f"merge({build_encoder(encoder).threshold}) | sort('com')"]
        made = "" if change == UNCHANGED else change
        shared = made, segmenter, padding, tiles, cut
        settings += [ViewSetting(encoder, steps, *shared) for steps in own]
    return list(dict.fromkeys(settings))
