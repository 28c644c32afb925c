"""The batches of a detector's training: pictures and objects, by the number of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from regiontok.core.frame import Frame
from regiontok.core.picture import Picture, PictureError
from regiontok.probe.detect.augmentation import flipped, jittered
from regiontok.probe.detect.coco_files import DetectionImage
from regiontok.probe.detect.objects import Objects
from regiontok.probe.detect.schedules import Augmentation
from regiontok.probe.draws import random_at, samples_of
from regiontok.probe.features import FrozenFeatures
from regiontok.system.errors import RegiontokError


class NothingToLearn(RegiontokError, ValueError):
    """No picture of a data set can be read, or none has an object."""


@dataclass(frozen=True)
class Batch:
    """Pictures of one batch.

    Attributes:
        pictures: the pictures.
        objects: the objects of each of them.
    """

    pictures: tuple[Picture, ...]
    objects: tuple[Objects, ...]


@dataclass(frozen=True)
class EncodedBatch:
    """The maps of a batch.

    Attributes:
        maps: `[b d h w]`.
        frames: how each picture lies under its map.
        objects: the objects of each picture.
    """

    maps: Tensor
    frames: tuple[Frame, ...]
    objects: tuple[Objects, ...]


@dataclass(frozen=True)
class TrainingBatches:
    """The batches of a training, each a function of its number.

    A picture that cannot be read is replaced by the next one of the data set that can.

    Attributes:
        images: the pictures that have objects.
        size: pictures in a batch.
        augmentation: what is done to them.
        side: side of the square for "jitter", in pixels.
        seed: seed of order and draws.
        unreadable: pictures that could not be read, with the reason; it grows.
    """

    images: Sequence[DetectionImage]
    size: int
    augmentation: Augmentation
    side: int
    seed: int
    unreadable: dict[str, str] = field(default_factory=dict)

    def __call__(self, number: int) -> Batch:
        """The batch of a number.

        Raises:
            NothingToLearn: If no picture can be read.
        """
        samples = samples_of(number, self.size, len(self.images), self.seed)
        pairs = [
            self._augmented(*self._readable(sample), number, place)
            for place, sample in enumerate(samples)
        ]
        return Batch(tuple(p for p, _ in pairs), tuple(o for _, o in pairs))

    def _readable(self, sample: int) -> tuple[Picture, Objects]:
        for step in range(len(self.images)):
            image = self.images[(sample + step) % len(self.images)]
            picture = read_picture(image, self.unreadable)
            if picture is not None:
                return picture, image.objects
        raise NothingToLearn(
            f"none of the {len(self.images)} pictures can be read: "
            f"{next(iter(self.unreadable.values()))}"
        )

    def _augmented(
        self, picture: Picture, objects: Objects, number: int, place: int
    ) -> tuple[Picture, Objects]:
        if self.augmentation == "none":
            return picture, objects
        rng = random_at(self.seed, 3, number, place)
        if rng.random() < 0.5:
            picture, objects = flipped(picture, objects)
        if self.augmentation == "jitter":
            return jittered(picture, objects, self.side, rng)
        return picture, objects


def read_picture(image: DetectionImage, unreadable: dict[str, str]) -> Picture | None:
    """The picture; None, and an entry of `unreadable`, if it is damaged or of another size."""
    try:
        picture = Picture.of(image.path)
    except PictureError as error:
        unreadable[str(image.path)] = str(error)
        return None
    masks = image.objects.masks
    if image.size != picture.size or (masks is not None and masks.size != picture.size):
        unreadable[str(image.path)] = (
            f"{image.path} has {picture.size[0]} x {picture.size[1]} pixels, and its annotations "
            f"are of {image.size[0]} x {image.size[1]}"
        )
        return None
    return picture


def encoder_of_batches(
    features: FrozenFeatures, device: torch.device
) -> Callable[[Batch], EncodedBatch]:
    """The function that gives the maps of a batch, on a device."""

    def encode(batch: Batch) -> EncodedBatch:
        frames = tuple(features.frame(picture.size) for picture in batch.pictures)
        return EncodedBatch(features.maps(batch.pictures).to(device), frames, batch.objects)

    return encode
