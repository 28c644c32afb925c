"""Referring expressions about pictures of the generated world."""

from __future__ import annotations

from dataclasses import dataclass

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.evaluation.images import QuestionImage
from regiontok.miniworld.referring import expressions_of
from regiontok.miniworld.world import World
from regiontok.probe.refer.referred import Referred, ReferringSet


@dataclass(frozen=True)
class WorldImage(QuestionImage):
    """A picture of the generated world; painting it again would take as long as a step.

    Attributes:
        picture: the picture.
    """

    picture: Picture

    def read(self) -> Picture:
        """See `QuestionImage.read`."""
        return self.picture


def generated_set(world: World, count: int, expressions: int = 4) -> ReferringSet:
    """Expressions about the first pictures of a world's split.

    Args:
        world: the world.
        count: pictures.
        expressions: expressions about a picture at most.

    Raises:
        ValueError: If the split has fewer pictures, or a number is out of range.

    >>> few = generated_set(World("test", size=128), 2, 2)
    >>> [(sample.id, sample.text) for sample in few.samples[:2]]
    [('test-0-000000/0', 'the red object'), ('test-0-000000/1', 'the circle right of the yellow \
circle')]
    """
    if not 1 <= count <= len(world):
        raise ValueError(f"{world.split} has 1 to {len(world)} pictures, not {count}")
    samples = tuple(
        sample for index in range(count) for sample in _samples(world, index, expressions)
    )
    name = f"{count} pictures of the generated world's split {world.split}"
    return ReferringSet(samples, {}, name)


def _samples(world: World, index: int, count: int) -> list[Referred]:
    picture = world[index]
    image = WorldImage(picture.name, Picture.of(picture.pixels, picture.name))
    masks = PixelMasks.from_dense(picture.masks)
    height, width = picture.labels.shape
    return [
        Referred(
            f"{picture.name}/{number}",
            expression.text,
            image,
            (height, width),
            masks.counts[expression.thing],
            picture.objects[expression.thing].box,
            expression.kind,
        )
        for number, expression in enumerate(expressions_of(world, index, picture, count))
    ]
