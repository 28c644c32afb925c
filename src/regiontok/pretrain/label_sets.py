"""Whether the labels of side-cars are those that the object head has classes for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from regiontok.settings.pretrain_recipe import Pretrain
from regiontok.shards.sources import Shard
from regiontok.system.errors import RegiontokError


class OtherLabels(RegiontokError, ValueError):
    """Side-cars whose labels are of another set of classes than the head, or than one another."""


def check_label_sets(table: Pretrain, shards: Sequence[Sequence[Shard]]) -> None:
    """Check all that the side-cars say of their labels; what they do not say is not checked.

    Fewer classes than the head has would train dead centres, and labels by two sets of centroids
    would give one number to two classes, both in silence.

    Args:
        table: the `[pretrain]` table of the recipe.
        shards: the shards of each source.

    Raises:
        OtherLabels: If a side-car is of another number of classes than the head, two of them are of
            different centroids, or they are of others than those at which the centres start.
    """
    if table.object is None:
        return
    first_of: dict[str, Shard] = {}
    for shard in (shard for of_source in shards for shard in of_source):
        if shard.classes not in (None, table.object.classes):
            raise OtherLabels(
                f"{shard.sidecar}: its labels are of {shard.classes} classes, [pretrain.object] "
                f"has {table.object.classes}: set pretrain.object.classes={shard.classes}, or name "
                f"side-cars of {table.object.classes} classes (`sidecars` of [[pretrain.data]])"
            )
        if shard.centroids:
            first_of.setdefault(shard.centroids, shard)
    if len(first_of) > 1:
        first, other = list(first_of.values())[:2]
        raise OtherLabels(
            f"{first.sidecar} is labelled by the centroids {first.centroids}, {other.sidecar} by "
            f"{other.centroids}: a number would be two classes. Label all sources by one set of "
            "centroids"
        )
    start = Path(table.object.centres)
    if first_of and start.suffix == ".npy" and start.is_file():
        ((centroids, shard),) = first_of.items()
        if centroids != centroids_hash(start):
            raise OtherLabels(
                f"{shard.sidecar} is labelled by the centroids {centroids}, the centres start at "
                f"{start}, which are {centroids_hash(start)}: take the centroids of the labels"
            )


@cache
def centroids_hash(path: Path) -> str:
    """The hash of a file of centroids: the first 32 digits of its SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]
