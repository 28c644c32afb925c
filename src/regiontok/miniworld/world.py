"""The world: splits of seeded pictures with objects, printed texts, masks, captions and questions.

After: nothing published; our own generator, in the spirit of CLEVR (Johnson et al. 2017,
arXiv:1612.06890) without its renderer.
Differs: nothing known.

Picture i of a split is a function of (split, seed, i, size, settings) and `WORLD_VERSION`, to the
byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from regiontok.core.sizes import counted, shape_text
from regiontok.miniworld import _ink, _raster
from regiontok.miniworld.layout import Layout, draw_layout, paint
from regiontok.miniworld.lettering import Plate
from regiontok.miniworld.plan import Group
from regiontok.miniworld.scenes import SceneObject, described
from regiontok.system.choices import check_choice

# Raise it with every change of a single byte: recorded scores and trained models name it.
WORLD_VERSION = 1
SPLITS = {"train": 200_000, "val": 5_000, "test": 5_000}  # and how many pictures each has
SIZES = (128, 768)  # sides in pixels


def is_world(text: str) -> bool:
    """True for "world" and "world(...)": pictures that pretraining or a probe is to read."""
    return text.strip().partition("(")[0] == "world"


@dataclass(frozen=True, eq=False, repr=False)
class WorldPicture:
    """A picture of the world and the truth about it.

    Attributes:
        name: name of the picture, which no other of its world has.
        pixels: `[H W 3]` uint8, read-only.
        labels: `[H W]` int16, read-only: 0 is background, i + 1 the visible pixels of object i; the
            plates of the printed texts go on behind the objects.
        objects: the objects, from back to front.
        background: a word of `BACKGROUNDS` in `miniworld/words.py`.
        layout: what it was painted from.
    """

    name: str
    pixels: np.ndarray
    labels: np.ndarray
    objects: tuple[SceneObject, ...]
    background: str
    layout: Layout

    @classmethod
    def of(cls, layout: Layout, name: str) -> WorldPicture:
        """The picture of a layout."""
        background, pixels, labels = paint(layout)
        pixels.flags.writeable = labels.flags.writeable = False
        count = len(layout.items)
        boxes = _raster.boxes_of(labels, count + len(layout.plates))[:count]
        visible = _ink.count_labels(labels, count + len(layout.plates))[1:]
        objects = described(layout.items, boxes, visible)
        return cls(name, pixels, labels, objects, background, layout)

    def __repr__(self) -> str:
        shown = f"{counted(len(self.objects), 'object')}, {counted(len(self.texts), 'sign')}"
        return f"WorldPicture({self.name!r}, {shape_text(self.labels.shape)} pixels, {shown})"

    @property
    def texts(self) -> tuple[Plate, ...]:
        """The plates with printed texts."""
        return self.layout.plates

    @property
    def group(self) -> Group:
        """What the counting question is about."""
        return self.layout.roles.plan.group

    @property
    def askable(self) -> tuple[bool, ...]:
        """For each object, whether questions may be about its attributes."""
        return self.layout.roles.askable

    @cached_property
    def masks(self) -> np.ndarray:
        """Visible pixels of every object, then of every plate, `[k H W]` bool, read-only.

        They are disjoint, and none is empty.
        """
        numbers = np.arange(1, len(self.objects) + len(self.texts) + 1, dtype=np.int16)
        masks: np.ndarray = np.equal(self.labels, numbers[:, None, None])
        masks.flags.writeable = False
        return masks

    @cached_property
    def hidden(self) -> np.ndarray:
        """`[k k]` pixels of object i that object j, which stands in front, is seen at."""
        count = len(self.objects)
        hidden = np.zeros((count, count + len(self.texts) + 1), np.int64)
        for number, item in enumerate(self.layout.items):
            _ink.count_hidden(item.distance, item.corner, self.labels, hidden[number])
            hidden[number, number + 1] = 0
        return hidden[:, 1 : count + 1]


@dataclass(frozen=True)
class World:
    """One split of the world.

    Attributes:
        split: a name of `SPLITS`; splits share no picture.
        seed: seed of the world; another seed is another world with other splits.
        size: (H, W) or one side of a square, 128 to 768 pixels.
        min_visible: share of its area that every object shows at least, in (0, 1]; 1 forbids
            occlusion.

    Raises:
        ValueError: If there is no such split, or a number is out of range.

    >>> world = World("test", size=128)
    >>> world[3]
    WorldPicture('test-0-000003', 128 x 128 pixels, 7 objects, 1 sign)
    """

    split: str = "train"
    seed: int = 0
    size: int | tuple[int, int] = 160
    min_visible: float = 0.35

    def __post_init__(self) -> None:
        check_choice("split", self.split, tuple(SPLITS))
        if self.seed < 0:
            raise ValueError(f"expected a seed >= 0, got {self.seed}")
        if not all(SIZES[0] <= side <= SIZES[1] for side in self.sides):
            raise ValueError(
                f"expected sides of {SIZES[0]} to {SIZES[1]} pixels, got {self.size!r}"
            )
        if not 0.0 < self.min_visible <= 1.0:
            raise ValueError(f"expected min_visible in (0, 1], got {self.min_visible}")

    def __len__(self) -> int:
        return SPLITS[self.split]

    def __getitem__(self, index: int) -> WorldPicture:
        """Picture `index` of the split.

        Raises:
            IndexError: If the split has no such picture.
        """
        return WorldPicture.of(self.layout(index), self.name_of(index))

    @property
    def sides(self) -> tuple[int, int]:
        """(H, W) of the pictures in pixels."""
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)

    def name_of(self, index: int) -> str:
        """The name of a picture."""
        return f"{self.split}-{self.seed}-{index:06}"

    def layout(self, index: int) -> Layout:
        """The layout of a picture.

        Raises:
            IndexError: If the split has no such picture.
        """
        if not 0 <= index < len(self):
            raise IndexError(
                f"the split {self.split} has pictures 0 to {len(self) - 1}, got {index}"
            )
        return draw_layout(self.random(index, "picture"), self.sides, self.min_visible)

    def random(self, index: int, purpose: str) -> np.random.Generator:
        """The source of what is drawn for one purpose about one picture.

        Only `random()` is ever called: what others make of PCG64's bits may change (NEP 19).
        """
        numbers = [WORLD_VERSION, tuple(SPLITS).index(self.split), self.seed, index]
        purposes = ("picture", "questions", "twins", "motion", "expressions", "form")
        entropy = np.random.SeedSequence([*numbers, purposes.index(purpose)])
        return np.random.Generator(np.random.PCG64(entropy))

    def pictures(self, indices: Sequence[int] | None = None) -> Iterator[WorldPicture]:
        """Pictures one after the other, all of the split by default; none is kept."""
        for index in range(len(self)) if indices is None else indices:
            yield self[index]
