"""Photos annotated in COCO's form: boxes or masks of instances, crowds left out.

After: COCO (Lin et al. 2014, arXiv:1405.0312), whose crowd regions are no instances.
Differs: nothing known.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.probe.detect.coco_files import read_detection_set
from regiontok.probe.regions.labelled import (
    LabelledImage,
    LabelledSet,
    LabelledSetError,
    Support,
    box_masks,
    usable,
)


class CocoSet(LabelledSet):
    """The images of a JSON in COCO's form that have instances; read as `probe detect` reads it.

    Args:
        path: the JSON, with `images`, `annotations` and `categories`.
        images: the folder in which its file names begin.
        support: "masks"; "boxes" takes each annotation's `bbox`. An image of which some annotation
            has no `segmentation` has boxes in either case.

    Raises:
        DetectionDataError: If the JSON has another form, or none of its images is there.
        LabelledSetError: If no image has an instance.
    """

    def __init__(self, path: Path, images: Path, support: Support = "masks") -> None:
        data = read_detection_set(path, images)
        self.path, self.support, self._set_aside = path, support, data.set_aside
        self._names = [name for _, name in data.categories]
        self._images = [image for image in data.images if len(image.objects.classes)]
        if not self._images:
            raise LabelledSetError(
                f"{path}: none of its {len(data.images)} images has an instance to learn from"
            )

    @property
    def set_aside(self) -> Mapping[str, int]:
        """See `LabelledSet`."""
        return self._set_aside

    @property
    def identity(self) -> str:
        """See `LabelledSet`; photos are told by size and time, since there may be many."""
        digest = hashlib.sha256(self.path.read_bytes())
        for image in self._images:
            status = image.path.stat()
            digest.update(f"{image.path.name} {status.st_size} {status.st_mtime_ns}".encode())
        return f"coco {digest.hexdigest()} {self.support}"

    def __len__(self) -> int:
        return len(self._images)

    def name(self, index: int) -> str:
        """See `LabelledSet`."""
        return str(self._images[index].path)

    def read(self, index: int, left_out: Counter[str]) -> LabelledImage:
        """See `LabelledSet`."""
        image = self._images[index]
        picture = Picture.of(image.path)
        if picture.size != image.size:
            raise ValueError(
                f"{image.path} has size {picture.size}, the annotations are of {image.size} (H, W)"
            )
        masks: PixelMasks | None = image.objects.masks
        if masks is None or self.support == "boxes":
            masks = box_masks(image.objects.boxes.numpy(), image.size)
        labels = [self._names[number] for number in image.objects.classes.tolist()]
        # what is a box already stays the annotated one, not that of its pixels
        return usable(picture, masks, labels, "masks", left_out)
