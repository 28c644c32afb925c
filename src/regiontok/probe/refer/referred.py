"""One expression and the object that it is about, and a set of these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.evaluation.images import QuestionImage
from regiontok.probe.refer.boxes import Box
from regiontok.system.errors import RegiontokError

if TYPE_CHECKING:
    from jaxtyping import UInt8


class ReferringDataError(RegiontokError, ValueError):
    """Referring expressions that cannot be read; the message says what is wrong."""


@dataclass(frozen=True, eq=False)
class Referred:
    """One expression, the picture that it is about, and the object's mask.

    Attributes:
        id: name of the expression, which no other of its set has.
        text: the expression.
        image: the picture, which is read when it is wanted.
        size: (H, W) of the picture in pixels.
        code: the object's mask, a compressed COCO run-length code.
        box: the object's box, xyxy in pixels.
        kind: the kind of a generated expression; "" for published ones.
    """

    id: str
    text: str
    image: QuestionImage
    size: tuple[int, int]
    code: bytes = field(repr=False)
    box: Box
    kind: str = ""

    def picture(self) -> Picture:
        """The picture.

        Raises:
            PictureError: If it is damaged.
            ReferringDataError: If it has another size than its mask.
        """
        picture = self.image.read()
        if picture.size != self.size:
            raise ReferringDataError(
                f"{self.image.name} is of {picture.size[0]} x {picture.size[1]} pixels, but the "
                f"masks about it are of {self.size[0]} x {self.size[1]}: is it the right picture?"
            )
        return picture

    def mask(self) -> UInt8[Tensor, "H W"]:
        """The object's mask: 1 inside, 0 outside."""
        return PixelMasks(self.size, (self.code,)).dense()[0].to(torch.uint8)


@dataclass(frozen=True, eq=False)
class ReferringSet:
    """Expressions about pictures.

    Attributes:
        samples: those that can be used, in the order of the files.
        set_aside: how many cannot, by the reason.
        name: what messages and reports call the set.
    """

    samples: tuple[Referred, ...]
    set_aside: Mapping[str, int]
    name: str

    def __post_init__(self) -> None:
        if not self.samples:
            reasons = ", ".join(f"{count} with {reason}" for reason, count in self.counted)
            raise ReferringDataError(
                f"{self.name} holds no expression that can be used"
                + (f"; set aside: {reasons}" if reasons else "")
            )

    def __len__(self) -> int:
        return len(self.samples)

    def first(self, count: int) -> ReferringSet:
        """The set with so many expressions at most."""
        return replace(self, samples=self.samples[:count])

    def pictures(self, count: int) -> list[Picture]:
        """The first pictures, so many at most."""
        images = {sample.image.name: sample for sample in self.samples}
        return [sample.picture() for sample in list(images.values())[:count]]

    @property
    def counted(self) -> list[tuple[str, int]]:
        """The reasons for which expressions were set aside, the most frequent first."""
        return Counter(self.set_aside).most_common()
