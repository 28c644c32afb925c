"""The images on which a half-trained encoder is measured: decoded once, shared by the ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from regiontok.pretrain.batches import ANY_CLASS, Batch, CollateViews
from regiontok.pretrain.ranks import Ranks
from regiontok.pretrain.sources import found_by_first
from regiontok.rice.visible import Visible
from regiontok.shards.sources import ShardSource
from regiontok.shards.stream import ShardViews
from regiontok.shards.views import LabelSpace, View, ViewSettings

if TYPE_CHECKING:
    from jaxtyping import Int

REGIONS = 32  # regions of an image at most
PER_PASS = 16  # images of one pass


@dataclass(frozen=True, eq=False)
class HeldOutImage:
    """One whole image that is not trained on.

    Attributes:
        view: the image and its regions, some of them several times.
        labels: `[k]` label of each region once, -1 for none.
        visible: `[1 k n]`, the patches of each region once.
    """

    view: View
    labels: Int[np.ndarray, "k"]
    visible: Visible


@dataclass(frozen=True, eq=False)
class HeldOutShare:
    """A rank's share of the held-out images; every rank has as many, so that passes are equal.

    Attributes:
        images: the images.
        first: number of the first among all images.
        counted: how many of them count: the others are there once more, to fill the share up.
    """

    images: Sequence[HeldOutImage]
    first: int
    counted: int

    def passes(self) -> Iterator[tuple[int, Batch]]:
        """The images pass by pass, each with the place of its first image in the share."""
        for first in range(0, len(self.images), PER_PASS):
            chunk = self.images[first : first + PER_PASS]
            pixels = torch.from_numpy(np.stack([image.view.pixels for image in chunk]))
            visible = Visible.joined([image.visible for image in chunk])
            names = tuple(image.view.shard for image in chunk)
            yield first, Batch(pixels.permute(0, 3, 1, 2), visible, {}, names)


@dataclass(eq=False)
class HeldOutImages:
    """Held-out images, always the same ones, stretched to the size that is asked for.

    A size is decoded once; another one takes its place.

    Attributes:
        source: where they are.
        most: how many images are taken at most, from the first on.
        patch: side of a patch in pixels.
        masks: False takes the boxes of regions also where they have masks.
    """

    source: ShardSource
    most: int
    patch: int
    masks: bool = True
    _decoded: dict[tuple[int, int], HeldOutShare] = field(default_factory=dict, repr=False)

    def share(self, size: tuple[int, int], ranks: Ranks) -> HeldOutShare:
        """This rank's images.

        Args:
            size: (height, width) in pixels.
            ranks: the processes of the run.

        Raises:
            ShardError: If there is no shard, or a damaged one.
        """
        if size not in self._decoded:
            self._decoded.clear()
            self._decoded[size] = self._load(size, ranks)
        return self._decoded[size]

    def _load(self, size: tuple[int, int], ranks: Ranks) -> HeldOutShare:
        settings = ViewSettings(
            size,
            REGIONS,
            scale=None,
            flip=0.0,
            positives=1,
            patch=self.patch,
            empty="ignore",
            masks=self.masks,
        )
        shards = found_by_first([self.source], ranks, skip=False)
        views = ShardViews([self.source], settings, LabelSpace(ANY_CLASS), shards_found=shards)
        count = min(self.most, views.order.samples)
        each = -(-count // ranks.world)
        first = ranks.rank * each
        images = [self._image(views[place % count]) for place in range(first, first + each)]
        return HeldOutShare(images, first, min(max(count - first, 0), each))

    def _image(self, view: View) -> HeldOutImage:
        _, first_rows = np.unique(view.regions, return_index=True)
        batch = CollateViews((), self.patch)([view])
        visible = replace(
            batch.visible, mask=batch.visible.mask[:, first_rows], counts=(len(first_rows),)
        )
        return HeldOutImage(view, view.labels[first_rows, 0], visible)
