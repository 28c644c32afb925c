"""Region k-NN on features made so that the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regiontok.measures import knn
from regiontok.measures.knn import LabelledRegions, region_knn


def clusters(classes: int, size: int, spread: float, seed: int = 0) -> LabelledRegions:
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(classes, 16))
    labels = np.repeat(np.arange(classes), size)
    features = centre[labels] + spread * rng.normal(size=(len(labels), 16))
    return LabelledRegions(
        torch.from_numpy(features), torch.from_numpy(labels), torch.arange(len(labels)) % size
    )


def test_separate_classes_are_named_rightly_and_noise_by_chance():
    good = region_knn(clusters(5, 40, 0.1))
    assert good.accuracy == good.class_accuracy == 1
    assert good.chance == pytest.approx(39 / (5 * 39))
    assert (good.queries, good.bank) == (200, 200)
    noise = region_knn(clusters(5, 40, 1000.0))
    assert abs(noise.accuracy - 0.2) < 0.12
    assert noise.majority == 0.2


def test_regions_of_the_same_image_never_count():
    # two images, each with two equal regions of its own class
    features = torch.eye(2).repeat_interleave(2, 0)
    labels = torch.tensor([0, 0, 1, 1])
    assert region_knn(LabelledRegions(features, labels), k=1).accuracy == 1
    score = region_knn(LabelledRegions(features, labels, labels), k=3)
    assert (score.accuracy, score.chance, score.majority) == (0, 0, 0.5)


def test_majority_then_cosine_decides():
    bank = LabelledRegions(
        torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]]), torch.tensor([5, 3, 3, 9])
    )
    query = LabelledRegions(torch.tensor([[1.0, 0.0]]), torch.tensor([5]))
    assert region_knn(query, bank, k=1).accuracy == 1
    assert region_knn(query, bank, k=2).accuracy == 1  # one vote each: the nearer
    assert region_knn(query, bank, k=3).accuracy == 0  # two votes for 3
    assert region_knn(query, bank, k=3).chance == 0.25
    assert region_knn(query, bank, k=3).majority == 0


@pytest.mark.parametrize("k", [1, 3, 200])
def test_parity_with_scikit_learn(k):
    from sklearn.neighbors import KNeighborsClassifier

    train, test = clusters(6, 30, 1.5), clusters(6, 20, 1.5, seed=0)
    model = KNeighborsClassifier(
        min(k, 180), metric="cosine", weights=lambda d: 4.0 * min(k, 180) + 1 - d
    )
    model.fit(train.features.numpy(), train.labels.numpy())
    expected = model.score(test.features.numpy(), test.labels.numpy())
    assert region_knn(test, train, k=k).accuracy == pytest.approx(expected)


def test_chunks_change_nothing_and_regions_without_a_label_are_left_out(monkeypatch):
    regions = clusters(4, 20, 1.2)
    whole = region_knn(regions)
    monkeypatch.setattr(knn, "CHUNK", 3 * 80)
    assert region_knn(regions) == whole
    with_unlabelled = LabelledRegions(
        torch.cat([regions.features, torch.ones(5, 16)]),
        torch.cat([regions.labels, torch.full((5,), -1)]),
        torch.cat([regions.images, torch.arange(5)]),
    )
    assert region_knn(with_unlabelled) == whole


def test_scale_and_type_of_the_features_do_not_matter():
    regions = clusters(4, 20, 1.2)
    scaled = LabelledRegions(
        regions.features.float() * torch.rand(80, 1).add(0.1), regions.labels, regions.images
    )
    assert region_knn(scaled) == region_knn(regions)


def test_bad_input():
    point = torch.ones(2, 3)
    with pytest.raises(ValueError, match="k must be at least 1"):
        region_knn(LabelledRegions(point, torch.zeros(2).long()), k=0)
    with pytest.raises(ValueError, match="needs labelled regions on both sides, got 0 queries"):
        region_knn(LabelledRegions(point, torch.full((2,), -1)))
    with pytest.raises(ValueError, match="all labelled regions are of one image"):
        region_knn(LabelledRegions(point, torch.zeros(2).long(), torch.zeros(2).long()))
    with pytest.raises(ValueError, match="queries are 3 wide, the bank 4"):
        region_knn(
            LabelledRegions(point, torch.zeros(2).long()),
            LabelledRegions(torch.ones(2, 4), torch.zeros(2).long()),
        )
    with pytest.raises(ValueError, match="1 of 2 regions have NaN"):
        LabelledRegions(torch.tensor([[1.0], [float("nan")]]), torch.zeros(2).long())
    with pytest.raises(ValueError, match=r"expected features \[n d\] and labels \[n\]"):
        LabelledRegions(point, torch.zeros(3).long())
    with pytest.raises(ValueError, match="expected an image for each of 2 regions"):
        LabelledRegions(point, torch.zeros(2).long(), torch.zeros(3).long())
