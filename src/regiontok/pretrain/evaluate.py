"""What a half-trained encoder is worth, measured on images that are not trained on.

Region k-NN, the coherence of its patch features, and distances between the tokens of an image.

After: RICE, section 4.3, figure 4 (distributions of token distances during training); region k-NN
and coherence are this project's.
Differs: the figure does not say which distance; here it is 1 - cosine, of all pairs of patches
within an image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from regiontok.measures.knn import LabelledRegions, region_knn
from regiontok.measures.smoothness import smoothness_metrics
from regiontok.pretrain.batches import ANY_CLASS, Batch, CollateViews
from regiontok.rice.region_attention import RegionTransformer
from regiontok.rice.visible import Visible
from regiontok.shards.sources import ShardSource
from regiontok.shards.stream import ShardViews
from regiontok.shards.views import LabelSpace, View, ViewSettings
from regiontok.system.storage import Location

if TYPE_CHECKING:
    from jaxtyping import Float, Int

REGIONS = 32  # regions of an image at most
PER_PASS = 16  # images of one pass
BINS = 40  # bins of the histogram of distances, from 0 to 2
COHERENCE = ("neighbour_cosine", "far_cosine", "neighbour_gain", "total_variation")


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


def load_held_out(
    folder: Location, size: tuple[int, int], *, patch: int, most: int
) -> list[HeldOutImage]:
    """Images of a folder of shards, always the same ones, stretched to one size.

    Args:
        folder: the folder.
        size: (height, width) in pixels.
        patch: side of a patch in pixels.
        most: how many images are taken at most.

    Raises:
        ShardError: If there is no shard, or a damaged one.
    """
    settings = ViewSettings(
        size, REGIONS, scale=None, flip=0.0, positives=1, patch=patch, empty="ignore"
    )
    views = ShardViews([ShardSource(folder, kind="object")], settings, LabelSpace(ANY_CLASS))
    images = []
    for position in range(min(most, views.order.samples)):
        view = views[position]
        _, first_rows = np.unique(view.regions, return_index=True)
        batch = CollateViews((), patch)([view])
        visible = replace(
            batch.visible, mask=batch.visible.mask[:, first_rows], counts=(len(first_rows),)
        )
        images.append(HeldOutImage(view, view.labels[first_rows, 0], visible))
    return images


@torch.no_grad()
def evaluate_encoder(
    model: RegionTransformer, images: Sequence[HeldOutImage], *, k: int, device: torch.device
) -> dict[str, Any]:
    """Measure a region transformer.

    Args:
        model: the region transformer; it is left in the mode it came in.
        images: the held-out images.
        k: neighbours of region k-NN.
        device: the model's device.

    Returns:
        `knn`, the share of regions named rightly by the k nearest of other images, and
        `knn_chance`, the share that a blind neighbour names; the means over images of
        `neighbour_cosine`, `far_cosine`, `neighbour_gain` and `total_variation` of
        `regiontok.measures.smoothness`; `distance`, the mean of 1 - cosine over pairs of patches,
        and `distances`, the shares of the pairs in 40 bins from 0 to 2.
    """
    regions, image_of_region, coherence = [], [], []
    histogram, total, pairs = torch.zeros(BINS, dtype=torch.float64), 0.0, 0
    was_training = model.training
    model.eval()
    for first_image, batch in _passes(images):
        output = model(batch.normalised(device), batch.visible.to(device))
        regions.append(output.regions.float().cpu())
        for image, count in enumerate(batch.visible.counts, first_image):
            image_of_region += [image] * count
        for tokens in model.vit.norm_out(output.tokens)[:, 1:].float():
            coherence.append(smoothness_metrics(tokens.unflatten(0, batch.visible.grid)))
            image_distances = distances(tokens).double().cpu()
            histogram += torch.histc(image_distances, BINS, 0, 2)
            total, pairs = total + float(image_distances.sum()), pairs + len(image_distances)
    model.train(was_training)
    labels = torch.from_numpy(np.concatenate([image.labels for image in images]))
    labelled = LabelledRegions(torch.cat(regions), labels, torch.tensor(image_of_region))
    score = region_knn(labelled, k=k)
    return {
        "knn": score.accuracy,
        "knn_chance": score.chance,
        **{name: _mean([metrics[name] for metrics in coherence]) for name in COHERENCE},
        "distance": total / max(pairs, 1),
        "distances": [round(share, 6) for share in (histogram / max(pairs, 1)).tolist()],
    }


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def distances(tokens: Float[Tensor, "n d"]) -> Float[Tensor, "p"]:
    """1 - cosine of all n (n - 1) / 2 pairs, within [0, 2].

    >>> distances(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]))
    tensor([0., 1., 1.])
    """
    unit = normalize(tokens, dim=1)
    row, column = torch.triu_indices(len(unit), len(unit), offset=1, device=unit.device)
    return (1 - unit @ unit.T)[row, column].clamp(0, 2)


def _passes(images: Sequence[HeldOutImage]) -> Iterator[tuple[int, Batch]]:
    """The images pass by pass, each with the number of its first image."""
    for first in range(0, len(images), PER_PASS):
        chunk = images[first : first + PER_PASS]
        pixels = torch.from_numpy(np.stack([image.view.pixels for image in chunk]))
        visible = Visible.joined([image.visible for image in chunk])
        names = tuple(image.view.shard for image in chunk)
        yield first, Batch(pixels.permute(0, 3, 1, 2), visible, {}, names)
