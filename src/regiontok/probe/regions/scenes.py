"""Generated scenes whose objects are labelled by their attributes.

After: nothing published; our own generator.
Differs: nothing known.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.miniworld.scenes import SCENES_VERSION, make_scene
from regiontok.probe.regions.labelled import LabelledImage, LabelledSet, Support, usable
from regiontok.settings.binding import from_text

ATTRIBUTES = ("shape", "colour", "texture", "size")


def is_scenes(text: str) -> bool:
    """True for "scenes(...)"."""
    return text.strip().partition("(")[0] == "scenes"


@dataclass(frozen=True)
class ScenesArguments:
    """What "scenes(...)" takes.

    Attributes:
        n: number of scenes.
        start: seed of the first.
        size: side of a scene in pixels.
        fewest: objects of a scene at least.
        most: objects of a scene at most.
        labels: attributes that make a class, joined by "+": shape, colour, texture, size.

    Raises:
        ValueError: If there is no scene, or an attribute is unknown.
    """

    n: int
    start: int = 0
    size: int = 96
    fewest: int = 4
    most: int = 8
    labels: str = "shape"

    def __post_init__(self) -> None:
        if self.n < 1 or self.start < 0:
            raise ValueError(f"expected at least one scene, from a seed >= 0, got {self}")
        if unknown := [name for name in self.labels.split("+") if name not in ATTRIBUTES]:
            raise ValueError(
                f"unknown {unknown[0]!r} in labels; they are of {', '.join(ATTRIBUTES)}, joined by "
                f"+, got {self}"
            )


class SceneSet(LabelledSet):
    """Scenes of consecutive seeds.

    Args:
        text: such as "scenes(400, labels='shape')".
        support: "masks", or "boxes".

    Raises:
        ValueError: See `ScenesArguments`; SpecError if the text has another form.
    """

    def __init__(self, text: str, support: Support = "masks") -> None:
        self.arguments, self.support = from_text(ScenesArguments, text, "data"), support

    @property
    def identity(self) -> str:
        """See `LabelledSet`."""
        values = {
            field.name: getattr(self.arguments, field.name) for field in fields(self.arguments)
        }
        return f"scenes {SCENES_VERSION} {values} {self.support}"

    def __len__(self) -> int:
        return self.arguments.n

    def name(self, index: int) -> str:
        """See `LabelledSet`."""
        return f"scene {self.arguments.start + index}"

    def read(self, index: int, left_out: Counter[str]) -> LabelledImage:
        """See `LabelledSet`."""
        given = self.arguments
        scene = make_scene(given.start + index, given.size, (given.fewest, given.most))
        labels = [
            " ".join(getattr(thing, name) for name in given.labels.split("+"))
            for thing in scene.objects
        ]
        picture = Picture.of(scene.pixels, name=self.name(index))
        masks = PixelMasks.from_dense(scene.masks)
        return usable(picture, masks, labels, self.support, left_out)
