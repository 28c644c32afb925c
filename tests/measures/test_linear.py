"""Linear probes on rows whose answer is known, and against scikit-learn's optimum."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regiontok.measures.knn import LabelledRegions
from regiontok.measures.linear import fit_linear


def rows(count: int = 120, noise: float = 0.3, seed: int = 0) -> LabelledRegions:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    features = (
        5
        + np.eye(3)[labels] * [1.0, 100.0, 0.01]
        + noise * rng.normal(size=(count, 3)) * [1.0, 100.0, 0.01]
    )
    return LabelledRegions(
        torch.from_numpy(features), torch.from_numpy(10 * labels), torch.arange(count) // 6
    )


@pytest.mark.parametrize("kind", ["logistic", "ridge"])
def test_classes_are_told_apart_whatever_the_scale_of_a_feature(kind):
    train, test = rows(), rows(seed=1)
    probe = fit_linear(train, kind)
    assert probe.classes.tolist() == [0, 10, 20]
    assert float((probe.predict(test.features) == test.labels).double().mean()) > 0.9


def test_the_penalty_is_chosen_on_images_that_the_fit_has_not_seen():
    rng = np.random.default_rng(0)
    features, labels = torch.from_numpy(rng.normal(size=(60, 200))), torch.arange(60) % 2
    features[:, 0] += 3.0 * labels
    noisy = LabelledRegions(features, labels, torch.arange(60))
    assert fit_linear(noisy).strength > 0.0001  # the weakest one learns the noise by heart
    assert fit_linear(noisy, strengths=[0.5]).strength == 0.5


def test_logistic_regression_reaches_the_optimum():
    linear_model = pytest.importorskip("sklearn.linear_model")
    train = rows(60)
    ours = fit_linear(train, strengths=[0.1])
    standard = ((train.features.float() - ours.mean) / ours.scale).double().numpy()
    theirs = linear_model.LogisticRegression(C=1 / (0.1 * 60), tol=1e-8, max_iter=1000)
    theirs.fit(standard, train.labels.numpy())
    # softmax has a free constant in each row of weights; the penalty sets it to the mean
    assert np.allclose(ours.weights.T.numpy(), theirs.coef_, atol=2e-3)


def test_ridge_is_the_closed_form():
    train = rows(60)
    ours = fit_linear(train, "ridge", strengths=[0.1])
    standard = ((train.features.float() - ours.mean) / ours.scale).double()
    targets = torch.nn.functional.one_hot(train.labels // 10, 3).double()
    left = standard.T @ standard / 60 + 0.1 * torch.eye(3, dtype=torch.float64)
    right = standard.T @ (targets - targets.mean(0)) / 60
    assert torch.allclose(ours.weights.double(), torch.linalg.solve(left, right), atol=1e-6)


def test_one_class_and_a_penalty_of_nothing_are_refused():
    alone = LabelledRegions(torch.eye(3), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="two classes or more, got 1"):
        fit_linear(alone)
    with pytest.raises(ValueError, match="above 0"):
        fit_linear(rows(), strengths=[0.0])
