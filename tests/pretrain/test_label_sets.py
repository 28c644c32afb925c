"""Side-cars and the head: as many classes, and one set of centroids; several sets for one tar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from regiontok.pretrain.batches import stage_views
from regiontok.pretrain.label_sets import OtherLabels, check_label_sets
from regiontok.pretrain.ranks import Ranks
from regiontok.settings.pretrain_recipe import Pretrain
from regiontok.settings.recipe import load_recipe
from regiontok.shards.sidecar import ImageRegions, write_sidecar
from regiontok.shards.sources import Shard, ShardSource
from regiontok.shards.tar import write_tar

CPU = Ranks(0, 1, torch.device("cpu"))
STAGE = {"name": "a", "steps": 1, "batch": 1, "size": 32}


def table(classes: int, **source) -> Pretrain:
    return Pretrain.model_validate(
        {"data": [{"shards": "s"} | source], "object": {"classes": classes}, "stage": [STAGE]}
    )


def shard(classes: int | None, centroids: str = "") -> Shard:
    return Shard(ShardSource(Path("in")), centroids, 1, True, classes, centroids)


@pytest.mark.parametrize(
    ("shards", "message"),
    [
        ([shard(9), shard(8)], r"of 8 classes, \[pretrain.object\] has 9: set .*classes=8"),
        ([shard(9, "one"), shard(9, "two")], "by the centroids one, in.two.regions.parquet by two"),
        ([shard(9, "one"), shard(9, "one"), shard(None)], ""),
    ],
)
def test_labels_of_another_set_of_classes_are_refused(shards, message):
    if not message:
        check_label_sets(table(9), [shards])
        return
    with pytest.raises(OtherLabels, match=message):
        check_label_sets(table(9), [shards[:1], shards[1:]])


def test_one_tar_has_several_sets_of_labels(tmp_path):
    tar = tmp_path / "tars" / "a.tar"
    tar.parent.mkdir()
    write_tar(tar, [("cat.png", b"never decoded")])
    for classes in (4, 7):
        row = ImageRegions(0, "cat", (32, 32), [[0, 0, 9, 9]], labels=np.array([classes - 1]))
        write_sidecar(tar, [row], tmp_path / f"k{classes}", config={}, classes=classes)

    def views(classes: int, sidecars: str):
        settings = table(classes, shards=str(tar.parent), sidecars=str(tmp_path / sidecars))
        return stage_views(settings, settings.stage[0], patch=8, cache=tmp_path, ranks=CPU)

    for classes in (4, 7):
        of_set = views(classes, f"k{classes}")
        assert of_set.row(of_set.order.address(0)).labels.tolist() == [classes - 1]
    with pytest.raises(OtherLabels, match=r"of 4 classes, .* has 7"):
        views(7, "k4")


@pytest.mark.parametrize("k", ["200k", "500k", "1m", "2m"])
def test_the_ablation_over_k_names_side_cars_of_its_k(k):
    settings = load_recipe(f"rice/table5b_b16_k{k}", scale="paper").pretrain
    assert settings.data[0].sidecars == f"data/rice/object_k{k}"
    text = str(settings.object.classes)
    assert text in (k.replace("k", "000"), k.replace("m", "000000"))
