"""What a half-trained encoder is worth, measured on images that are not trained on.

Region k-NN by region rows and by the patch tokens that are exported, the coherence of the latter,
and distances between the tokens of an image.

After: RICE, section 4.3, figure 4 (distributions of token distances during training); region k-NN
and coherence are this project's.
Differs: the figure does not say which distance; here it is 1 - cosine, of all pairs of patches
within an image. Labels are those of the held-out images' side-car. Pseudo-labels of a million
clusters measure nothing on 2,000 images, since hardly a class comes twice (`knn_best` is what
perfect features would score): human categories, such as COCO's boxes, do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from regiontok.measures.knn import LabelledRegions, best_score, region_knn
from regiontok.measures.smoothness import smoothness_metrics
from regiontok.measures.token_distances import pair_distances
from regiontok.pretrain.held_out import HeldOutShare
from regiontok.rice.ranks import gathered, largest, summed
from regiontok.rice.region_attention import RegionTransformer
from regiontok.rice.visible import Visible

if TYPE_CHECKING:
    from jaxtyping import Float, Int

BINS = 40  # bins of the histogram of distances, from 0 to 2
COHERENCE = ("neighbour_cosine", "far_cosine", "neighbour_gain", "total_variation")


@torch.no_grad()
def evaluate_encoder(
    model: RegionTransformer,
    share: HeldOutShare,
    *,
    k: int,
    device: torch.device,
    mesh: DeviceMesh | None = None,
) -> dict[str, Any]:
    """Measure a region transformer; every rank takes part and gets the same figures.

    Args:
        model: the region transformer; it is left in the mode it came in.
        share: this rank's held-out images.
        k: neighbours of region k-NN.
        device: the model's device.
        mesh: the ranks that share the images; None for one process.

    Returns:
        `knn`, the share of regions named rightly by the k nearest of other images, by region rows,
        and `knn_patches` by the means of a region's patch tokens; `knn_chance`, the share that a
        blind neighbour names, and `knn_best`, the share whose class is in another image at all; the
        means over images of `neighbour_cosine`, `far_cosine`, `neighbour_gain` and
        `total_variation` of `regiontok.measures.smoothness`; `distance`, the mean of 1 - cosine
        over pairs of patches, and `distances`, the shares of the pairs in 40 bins from 0 to 2.

    Raises:
        ValueError: If no region is labelled, or all those that are lie in one image.
    """
    was_training = model.training
    model.eval()
    rows, patches, image_of_region, sums = _measured(model, share, device)
    model.train(was_training)
    labels = np.concatenate([image.labels for image in share.images])[: len(rows)]
    rows, patches, image_of_region, labels_of_all = (
        gathered_rows(table, mesh)
        for table in (rows, patches, image_of_region, torch.from_numpy(labels).to(device))
    )
    by_rows, by_patches = (
        region_knn(LabelledRegions(features, labels_of_all, image_of_region), k=k)
        for features in (rows, patches)
    )
    sums = summed(sums, mesh).cpu()
    coherence, (images, distance, pairs), histogram = sums.split([len(COHERENCE), 3, BINS])
    return {
        "knn": by_rows.accuracy,
        "knn_patches": by_patches.accuracy,
        "knn_chance": by_rows.chance,
        "knn_best": best_score(labels_of_all, image_of_region),
        **dict(zip(COHERENCE, (coherence / images).tolist(), strict=True)),
        "distance": float(distance / pairs.clamp_min(1)),
        "distances": [round(share, 6) for share in (histogram / pairs.clamp_min(1)).tolist()],
    }


def _measured(
    model: RegionTransformer, share: HeldOutShare, device: torch.device
) -> tuple[Float[Tensor, "k p"], Float[Tensor, "k d"], Int[Tensor, "k"], Float[Tensor, "s"]]:
    """Region rows, means of patches and the image of each region, and sums over this rank's images.

    The sums, in float64, are those of the metrics of coherence, then of images, distances and pairs
    of patches, and then the histogram of distances.
    """
    rows, patches, image_of_region = [], [], []
    sums = torch.zeros(len(COHERENCE) + 3 + BINS, dtype=torch.float64, device=device)
    for first, batch in share.passes():
        visible = batch.visible.to(device)
        output = model(batch.normalised(device), visible)
        tokens = model.vit.norm_out(output.tokens)[:, 1:].float()
        counts = [
            count if first + place < share.counted else 0
            for place, count in enumerate(visible.counts)
        ]
        rows.append(output.regions[: sum(counts)].float())
        patches.append(region_means(output.tokens[:, 1:].float(), visible)[: sum(counts)])
        for place, count in enumerate(counts):
            if first + place < share.counted:
                image_of_region += [share.first + first + place] * count
                sums += _sums_of_image(tokens[place], visible.grid)
    of_regions = torch.tensor(image_of_region, dtype=torch.long, device=device)
    return torch.cat(rows), torch.cat(patches), of_regions, sums


def _sums_of_image(tokens: Float[Tensor, "n d"], grid: tuple[int, int]) -> Float[Tensor, "s"]:
    """What one image adds to the sums."""
    coherence = smoothness_metrics(tokens.unflatten(0, grid))
    pairs = pair_distances(tokens).double().cpu()
    head = [*(coherence[name] for name in COHERENCE), 1.0, float(pairs.sum()), float(len(pairs))]
    histogram = torch.histc(pairs, BINS, 0, 2)
    return torch.cat([torch.tensor(head, dtype=torch.float64), histogram]).to(tokens.device)


def region_means(tokens: Float[Tensor, "b n d"], visible: Visible) -> Float[Tensor, "k d"]:
    """The mean patch token of each region, image after image.

    >>> visible = Visible(torch.tensor([[[True, False, True]]]), (1,), (1, 3))
    >>> region_means(torch.tensor([[[1.0], [9.0], [3.0]]]), visible)
    tensor([[2.]])
    """
    weights = visible.mask.to(tokens.dtype)
    return visible.flat((weights @ tokens) / weights.sum(2, keepdim=True))


def gathered_rows(table: Tensor, mesh: DeviceMesh | None) -> Tensor:
    """The rows of all ranks, of which each may bring another number."""
    if mesh is None:
        return table
    counts = gathered(torch.tensor([len(table)], device=table.device), mesh)
    most = int(largest(counts.clone().max(), mesh))
    filled = table.new_zeros(most, *table.shape[1:])
    filled[: len(table)] = table
    parts = gathered(filled, mesh).split(most)
    return torch.cat([rows[:count] for rows, count in zip(parts, counts.tolist(), strict=True)])
