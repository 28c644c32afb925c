"""`regiontok probe pictures sphere`: regions of a labelled set on a sphere, by t-SNE.

After: RICE, figure 1 (row R13): "t-SNE projection onto a spherical manifold" of object features.
Differs: how they come onto the sphere is not said. Here t-SNE gives three coordinates, their mean
is taken off, and each point is moved along its ray to distance 1: the radius is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from regiontok.measures.knn import LabelledRegions
from regiontok.system.need import need

if TYPE_CHECKING:
    from jaxtyping import Float

FEWEST = 8  # points that t-SNE is asked for at least
PERPLEXITY = 30.0


@dataclass(frozen=True, eq=False)
class Sphere:
    """Regions as points of length 1.

    Attributes:
        name: the encoder.
        points: `[n 3]`.
        classes: the class of each point.
        images: the image of each point, in words.
    """

    name: str
    points: Float[np.ndarray, "n 3"]
    classes: tuple[str, ...]
    images: tuple[str, ...]


def sphere_of(
    name: str,
    regions: LabelledRegions,
    classes: tuple[str, ...],
    image_names: tuple[str, ...],
    *,
    most: int = 2000,
    seed: int = 0,
) -> Sphere:
    """Lay labelled regions onto a sphere.

    Args:
        name: what the page calls the encoder.
        regions: rows, labels and images.
        classes: names of the classes, by label.
        image_names: names of the images, by number.
        most: points at most, drawn by seed.
        seed: seed of the drawing and of t-SNE.

    Raises:
        ValueError: If there are fewer than eight labelled regions.
        MissingPackage: If scikit-learn is not installed.
    """
    rows = regions.labelled()
    if len(rows.labels) < FEWEST:
        raise ValueError(f"a sphere needs {FEWEST} labelled regions, got {len(rows.labels)}")
    drawn = np.sort(np.random.default_rng(seed).permutation(len(rows.labels))[:most])
    index = torch.from_numpy(drawn)
    assert rows.images is not None, "labelled regions have images"
    coordinates = need("sklearn.manifold", extra="sklearn").TSNE(
        n_components=3,
        init="pca",
        perplexity=min(PERPLEXITY, (len(drawn) - 1) / 3),
        random_state=seed,
    )
    points = on_sphere(coordinates.fit_transform(rows.features[index].numpy()))
    return Sphere(
        name,
        points,
        tuple(classes[label] for label in rows.labels[index].tolist()),
        tuple(image_names[image] for image in rows.images[index].tolist()),
    )


def on_sphere(coordinates: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Points less their mean, at length 1; one that lies on the mean goes to the pole.

    >>> on_sphere(np.array([[2.0, 0.0, 0.0], [-2.0, 0.0, 0.0]])).tolist()
    [[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]
    """
    centred = coordinates.astype(np.float64) - coordinates.mean(0)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    pole = np.array([0.0, 0.0, 1.0])
    return np.where(length > 0, centred / np.where(length > 0, length, 1), pole)
