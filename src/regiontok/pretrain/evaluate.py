"""What a half-trained encoder is worth: region k-NN, coherence of its patch features, distances
between the tokens of an image.

After: RICE, section 4.3, figure 4 (distributions of token distances during training); region k-NN
and coherence are this project's.
Differs: the figure does not say which distance; here it is 1 - cosine, of all pairs of patches
within an image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from regiontok.measures.knn import LabelledRegions, region_knn
from regiontok.measures.smoothness import smoothness_metrics
from regiontok.pretrain.feed import Batch
from regiontok.rice.region_attention import RegionTransformer, Visible
from regiontok.shards.sources import ShardSource
from regiontok.shards.stream import ShardViews
from regiontok.shards.views import LabelSpace, View, ViewSettings

if TYPE_CHECKING:
    from jaxtyping import Float, Int

REGIONS = 32  # of an image at most
EACH = 16  # images of one pass
BINS = 40  # of the histogram, from 0 to 2
COHERENCE = ("neighbour_cosine", "far_cosine", "neighbour_gain", "total_variation")


@dataclass(frozen=True, eq=False)
class HeldOut:
    """One image that is not trained on, whole: its regions, none twice, and their labels (-1 for
    none)."""

    view: View
    labels: Int[np.ndarray, "k"]
    shares: Float[np.ndarray, "k h w"]


def held_out(folder: Path, size: tuple[int, int], patch: int, most: int) -> list[HeldOut]:
    """Up to `most` images of a folder of shards, always the same, stretched to `size`.

    Raises:
        ShardError: no shard, or a damaged one.
    """
    settings = ViewSettings(
        size, REGIONS, scale=None, flip=0.0, positives=1, patch=patch, empty="ignore"
    )
    data = ShardViews([ShardSource(folder, kind="object")], settings, LabelSpace(1 << 62))
    found = []
    for position in range(min(most, data.order.samples)):
        view = data[position]
        assert view.shares is not None
        _, first = np.unique(view.regions, return_index=True)
        found.append(HeldOut(view, view.labels[first, 0], view.shares[first]))
    return found


@torch.no_grad()
def evaluate(
    model: RegionTransformer, images: Sequence[HeldOut], k: int, device: torch.device
) -> dict[str, Any]:
    """Numbers of a model, and the histogram of figure 4.

    - `knn`, `knn_chance`: share of regions named rightly by the k nearest of other images, and what
    a blind neighbour would.
    - `neighbour_cosine`, `far_cosine`, `neighbour_gain`, `total_variation`: of
    `diagnose.smoothness`, mean over images.
    - `distance`: mean of 1 - cosine over pairs of patches; `distances`: shares of the pairs in 40
    bins from 0 to 2.
    """
    regions, owner, coherence = [], [], []
    histogram, total, pairs = torch.zeros(BINS, dtype=torch.float64), 0.0, 0
    training = model.training
    model.eval()
    for at, batch in _batches(images):
        seen = model(batch.normalised(device), batch.visible.to(device))
        regions.append(seen.regions.float().cpu())
        owner += [
            at + number for number, count in enumerate(batch.visible.counts) for _ in range(count)
        ]
        h, w = batch.visible.grid
        for tokens in model.vit.norm_out(seen.tokens)[:, 1:].float():
            coherence.append(smoothness_metrics(tokens.unflatten(0, (h, w))))
            own = distances(tokens).double().cpu()
            histogram += torch.histc(own, BINS, 0, 2)
            total, pairs = total + float(own.sum()), pairs + len(own)
    model.train(training)
    labels = torch.from_numpy(np.concatenate([one.labels for one in images]))
    score = region_knn(LabelledRegions(torch.cat(regions), labels, torch.tensor(owner)), k=k)
    means = {key: math.fsum(one[key] for one in coherence) / len(coherence) for key in COHERENCE}
    spread = [round(share, 6) for share in (histogram / max(pairs, 1)).tolist()]
    return {
        "knn": score.accuracy,
        "knn_chance": score.chance,
        **means,
        "distance": total / max(pairs, 1),
        "distances": spread,
    }


def distances(tokens: Float[Tensor, "n d"]) -> Float[Tensor, "p"]:
    """1 - cosine of all n (n - 1) / 2 pairs, within [0, 2].

    >>> distances(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]))
    tensor([0., 1., 1.])
    """
    unit = normalize(tokens, dim=1)
    row, column = torch.triu_indices(len(unit), len(unit), offset=1, device=unit.device)
    return (1 - unit @ unit.T)[row, column].clamp(0, 2)


def _batches(images: Sequence[HeldOut]) -> Iterator[tuple[int, Batch]]:
    """Whole images in passes, each with the number of its first image."""
    for at in range(0, len(images), EACH):
        part = images[at : at + EACH]
        pixels = torch.from_numpy(np.stack([one.view.pixels for one in part])).permute(0, 3, 1, 2)
        visible = Visible.from_masks([torch.from_numpy(one.shares.copy()) for one in part])
        yield at, Batch(pixels, visible, {}, tuple(one.view.shard for one in part))
