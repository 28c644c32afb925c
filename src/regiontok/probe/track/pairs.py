"""Pairs to learn from: a template crop, a later search crop, and the target's box in it.

After: OSTrack's causal sampling (a data set by even odds, a clip, a frame with the target, a later
    frame within `gap`), its jitter of the search crop, and its changes of the pixels: grey for .05
    of the pairs, mirrored pairs and, apart from that, mirrored crops for one half each, brightness
    times .8 to 1.2 for each crop.
Differs: every draw is a function of the seed and the pair's number, never of what was drawn before.
    OSTrack leaves out clips of fewer than 20 frames, where two with the target are enough here. A
    frame that cannot be decoded is named and another pair is drawn; OSTrack draws again silently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from regiontok.core.formats import PictureError
from regiontok.core.sizes import counted
from regiontok.probe.track.clips import ClipSet, TrackClip
from regiontok.probe.track.errors import NoClips
from regiontok.probe.track.settings import TrackSettings
from regiontok.probe.track.windows import Window

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

_ATTEMPTS = 20  # draws for one pair before damaged frames end the training
_GREY, _MIRRORED, _BRIGHTNESS = 0.05, 0.5, 0.2
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, eq=False)
class Pair:
    """Two crops and the target's box.

    Attributes:
        template: `[t t 3]`, the target in the middle.
        search: `[s s 3]`.
        box: x, y, width and height of the target in the search crop, whose side is 1.
    """

    template: UInt8[np.ndarray, "t t 3"]
    search: UInt8[np.ndarray, "s s 3"]
    box: Float[np.ndarray, "4"]


@dataclass(frozen=True, eq=False)
class PairDraws:
    """All pairs of a training, by their numbers.

    Attributes:
        sets: data sets, each drawn from equally often.
        settings: sizes, factors, jitter and gap.
        seed: seeds the draws.
        template, search: sides of the crops in pixels.
        damaged: the frames that could not be decoded, and why.

    Raises:
        NoClips: If a data set has no clip with two frames that show the target.
    """

    sets: Sequence[ClipSet]
    settings: TrackSettings
    seed: int
    template: int
    search: int

    def __post_init__(self) -> None:
        for clips, usable in zip(self.sets, self._usable, strict=True):
            if not usable:
                raise NoClips(f"{clips.name} has no clip with two frames that show the target")

    @cached_property
    def damaged(self) -> dict[str, str]:
        """The frames that could not be decoded so far, and why."""
        return {}

    @cached_property
    def _usable(self) -> list[list[TrackClip]]:
        """Of each data set the labelled clips with two frames that show the target."""
        return [
            [clip for clip in clips.clips if clip.is_labelled and clip.has_target.sum() > 1]
            for clips in self.sets
        ]

    def pair(self, number: int) -> Pair:
        """The pair of a number.

        Raises:
            PictureError: If so many frames are damaged that no pair can be drawn.
        """
        for attempt in range(_ATTEMPTS):
            rng = np.random.default_rng((self.seed, number, attempt))
            try:
                return self._drawn(rng)
            except PictureError as error:
                self.damaged[str(error).partition(":")[0]] = str(error)
        raise PictureError(
            f"{counted(_ATTEMPTS, 'draw')} of one pair met damaged frames: "
            f"{list(self.damaged.values())[-1]}"
        )

    def _drawn(self, rng: np.random.Generator) -> Pair:
        usable = self._usable[rng.integers(len(self._usable))]
        clip = usable[rng.integers(len(usable))]
        first, later = draw_frames(clip, self.settings.gap, rng)
        window = Window.around(clip.boxes[first], self.settings.template_factor)
        template = window.cut(clip.picture(first), self.template)
        box = clip.boxes[later]
        jittered = jitter(box, self.settings, rng)
        window = Window.around(jittered, self.settings.search_factor)
        search = window.cut(clip.picture(later), self.search)
        pair = Pair(template, search, window.inward(box))
        return augmented(pair, rng) if self.settings.augment else pair


def draw_frames(clip: TrackClip, gap: int, rng: np.random.Generator) -> tuple[int, int]:
    """A frame with the target and a later one with it, at most `gap` frames on where one is.

    Beyond the gap the next frame with the target is taken.
    """
    shown = np.flatnonzero(clip.has_target)
    at = int(rng.integers(len(shown) - 1))
    first, later = shown[at], shown[at + 1 :]
    within = later[later <= first + gap]
    return int(first), int(rng.choice(within) if len(within) else later[0])


def jitter(
    box: Float[np.ndarray, "4"], settings: TrackSettings, rng: np.random.Generator
) -> Float[np.ndarray, "4"]:
    """A box about which the search crop is taken: moved and scaled, so that place says nothing."""
    size = box[2:] * np.exp(rng.standard_normal(2) * settings.scale_jitter)
    reach = np.sqrt(size.prod()) * settings.centre_jitter
    centre = box[:2] + box[2:] / 2 + reach * (rng.random(2) - 0.5)
    return np.concatenate([centre - size / 2, size])


def augmented(pair: Pair, rng: np.random.Generator) -> Pair:
    """A pair in grey, mirrored, lighter or darker, by chance."""
    if rng.random() < _GREY:
        pair = replace(pair, template=_grey(pair.template), search=_grey(pair.search))
    both = rng.random() < _MIRRORED
    for crop in ("template", "search"):
        if both != (rng.random() < _MIRRORED):
            pair = mirrored(pair, crop)
    lights = rng.uniform(1 - _BRIGHTNESS, 1 + _BRIGHTNESS, 2)
    template, search = (
        (crop * light).clip(0, 255).astype(np.uint8)
        for crop, light in zip((pair.template, pair.search), lights, strict=True)
    )
    return replace(pair, template=template, search=search)


def mirrored(pair: Pair, crop: str) -> Pair:
    """A pair with one of its crops, "template" or "search", mirrored from left to right."""
    if crop == "template":
        return replace(pair, template=pair.template[:, ::-1])
    x, y, width, height = pair.box
    return replace(
        pair, search=pair.search[:, ::-1], box=np.array([1 - x - width, y, width, height])
    )


def _grey(crop: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    light = (crop @ _LUMA).round().astype(np.uint8)
    return np.repeat(light[..., None], 3, axis=-1)
