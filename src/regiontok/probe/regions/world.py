"""Pictures of the generated world whose objects are labelled by their attributes.

After: nothing published; our own generator.
Differs: nothing known.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.miniworld.world import WORLD_VERSION, World
from regiontok.probe.regions.labelled import LabelledImage, LabelledSet, Support, usable
from regiontok.probe.regions.scenes import ATTRIBUTES
from regiontok.settings.binding import from_text


@dataclass(frozen=True)
class WorldArguments:
    """What "world(...)" takes.

    Attributes:
        n: number of pictures.
        start: number of the first picture in its split.
        split: name of the split.
        seed: seed of the world.
        size: side of a picture in pixels.
        labels: attributes that make a class, joined by "+": shape, colour, texture, size.

    Raises:
        ValueError: If the split has not so many pictures, or an attribute is unknown.
    """

    n: int
    start: int = 0
    split: str = "test"
    seed: int = 0
    size: int = 192
    labels: str = "shape"

    def __post_init__(self) -> None:
        most = len(self.world)
        if self.n < 1 or self.start < 0 or self.start + self.n > most:
            raise ValueError(
                f"the split {self.split} has {most} pictures, and at least one is needed, got "
                f"{self}"
            )
        if unknown := [name for name in self.labels.split("+") if name not in ATTRIBUTES]:
            raise ValueError(
                f"unknown {unknown[0]!r} in labels; they are of {', '.join(ATTRIBUTES)}, joined by "
                f"+, got {self}"
            )

    @property
    def world(self) -> World:
        """The split that the pictures are of."""
        return World(self.split, self.seed, self.size)


class WorldSet(LabelledSet):
    """Consecutive pictures of a split of the world; signs have no label.

    Args:
        text: such as "world(400, labels='shape')".
        support: "masks", or "boxes".

    Raises:
        ValueError: See `WorldArguments`; SpecError if the text has another form.
    """

    def __init__(self, text: str, support: Support = "masks") -> None:
        self.arguments, self.support = from_text(WorldArguments, text, "data"), support
        self.world = self.arguments.world

    @property
    def identity(self) -> str:
        """See `LabelledSet`."""
        return f"world {WORLD_VERSION} {asdict(self.arguments)} {self.support}"

    def __len__(self) -> int:
        return self.arguments.n

    def name(self, index: int) -> str:
        """See `LabelledSet`."""
        return f"picture {self.arguments.start + index} of {self.arguments.split}"

    def read(self, index: int, left_out: Counter[str]) -> LabelledImage:
        """See `LabelledSet`."""
        shown = self.world[self.arguments.start + index]
        names = self.arguments.labels.split("+")
        labels = [" ".join(getattr(item, name) for name in names) for item in shown.objects]
        picture = Picture.of(shown.pixels, name=self.name(index))
        masks = PixelMasks.from_dense(shown.masks[: len(labels)])
        return usable(picture, masks, labels, self.support, left_out)
