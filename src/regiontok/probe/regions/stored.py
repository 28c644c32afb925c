"""Photos whose labelled masks are stored: COCO's JSON, panoptic PNGs, label maps, archives, stores.

After: nothing; the forms are those of the segmenter `stored`.
Differs: nothing known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from regiontok.core.picture import Picture
from regiontok.core.picture import key_of as key_of_bytes
from regiontok.methods import Segmenter
from regiontok.probe.regions.labelled import LabelledImage, LabelledSet, Support, usable
from regiontok.settings import registry


class StoredSet(LabelledSet):
    """Photos and a segmenter whose masks have names: the names are the classes.

    Args:
        photos: the files of the photos.
        segmenter: a segmenter, by spec or built, such as "stored('masks/')".
        support: "masks", or "boxes".
    """

    def __init__(
        self, photos: Sequence[Path], segmenter: Segmenter | str, support: Support = "masks"
    ) -> None:
        self.photos, self.support = list(photos), support
        self.segmenter = registry.resolve("segmenter", segmenter)

    @property
    def identity(self) -> str:
        """See `LabelledSet`."""
        spec = registry.render(self.segmenter, full=True)
        keys = [key_of_bytes(path.read_bytes()) for path in self.photos]
        return f"{spec} {self.segmenter.identity} {self.support} {keys}"

    def __len__(self) -> int:
        return len(self.photos)

    def name(self, index: int) -> str:
        """See `LabelledSet`."""
        return str(self.photos[index])

    def read(self, index: int, left_out: Counter[str]) -> LabelledImage:
        """See `LabelledSet`."""
        picture = Picture.of(self.photos[index])
        (masks,) = self.segmenter([picture])
        labels = masks.names or ("",) * len(masks)
        return usable(picture, masks, labels, self.support, left_out)
