"""A trained head at work: it follows a target from its first box through a clip.

After: OSTrack's tracker: the template is taken once, the search crop lies about the last box,
    scores are weighted by a Hann window, and a box keeps at least 10 pixels within the frame.
Differs: a frame that cannot be decoded ends the clip by an error that names it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from regiontok.probe.track.box_head import hann_window
from regiontok.probe.track.clips import TrackClip
from regiontok.probe.track.crop_features import CropFeatures
from regiontok.probe.track.model import TrackHead
from regiontok.probe.track.settings import TrackSettings
from regiontok.probe.track.windows import Window, held_in_frame

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class Track:
    """Where a target was found.

    Attributes:
        name: of the clip.
        boxes: `[n 4]`, x, y, width and height on every frame; the first is the one given.
        seconds: `[n]`, what each frame took, decoding left out; 0 for the first.
        size: (height, width) of the frames.
    """

    name: str
    boxes: Float[np.ndarray, "n 4"]
    seconds: Float[np.ndarray, "n"]
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Tracker:
    """An encoder, a head, and how crops are taken.

    Attributes:
        features: the encoder for crops.
        head: the trained head, on the encoder's device.
        settings: the factors of the crops.
    """

    features: CropFeatures
    head: TrackHead
    settings: TrackSettings

    @torch.no_grad()
    def follow(self, clip: TrackClip, tick: Callable[[], None] = lambda: None) -> Track:
        """Follow the target of a clip from its first box.

        Args:
            clip: the clip; of its boxes the first alone is read.
            tick: called after every frame.

        Raises:
            BadClip: If the first box is empty.
            PictureError: If a frame cannot be decoded; the message names it.
        """
        clip.check_start()
        self.head.eval()
        hann = hann_window(self.features.grids[1]).to(self.head.search_places.device)
        box, first = clip.boxes[0], clip.picture(0)
        window = Window.around(box, self.settings.template_factor)
        crop = window.cut(first, self.features.template_size)
        template = self.features.of_templates([crop])
        boxes, seconds = [box], [0.0]
        tick()
        for index in range(1, len(clip)):
            picture = clip.picture(index)
            start = time.perf_counter()
            window = Window.around(box, self.settings.search_factor)
            crop = window.cut(picture, self.features.search_size)
            maps = self.head(template, self.features.of_searches([crop]))
            found = window.outward(maps.boxes(hann)[0].double().cpu().numpy())
            box = held_in_frame(found, picture.size)
            boxes.append(box)
            seconds.append(time.perf_counter() - start)
            tick()
        return Track(clip.name, np.stack(boxes), np.array(seconds), first.size)


def stay(clip: TrackClip) -> Track:
    """The blind baseline: the first box on every frame; no other frame is read.

    Raises:
        BadClip: If the first box is empty.
        PictureError: If the first frame cannot be decoded.
    """
    clip.check_start()
    boxes = np.repeat(clip.boxes[:1], len(clip), axis=0)
    return Track(clip.name, boxes, np.zeros(len(clip)), clip.picture(0).size)
