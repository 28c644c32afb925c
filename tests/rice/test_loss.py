"""Equations 3 and 4 as they must be read, margin softmax, and the margin's gradient."""

from __future__ import annotations

import math

import pytest
import torch

from regiontok.rice.loss import RegionLoss, with_margin


def logs(*sums: float) -> torch.Tensor:
    """Log-sum-exp of negatives, from the sum."""
    return torch.tensor(sums, dtype=torch.float64).log()


def cosines(*rows: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """[n m] and which are there: NaN-free, with -9 for a gap."""
    values = torch.tensor(rows, dtype=torch.float64)
    return values.clamp_min(-1), values > -5


def test_equation_3_by_hand():
    loss = RegionLoss(margin=0.3, scale=10.0)(*cosines([0.5]), logs(math.e**1 + math.e**-2))
    assert loss.item() == pytest.approx(
        math.log(1 + math.exp(-10 * 0.2)) + math.log(1 + math.e + math.e**-2), rel=1e-12
    )


def test_equation_4_sums_over_positives_and_leaves_gaps_out():
    loss = RegionLoss(margin=0.3, scale=10.0)(
        *cosines([0.5, -9, 0.1], [0.4, -9, -9]), logs(3.0, 7.0)
    )
    first = math.log(1 + math.exp(-2.0) + math.exp(2.0)) + math.log(4.0)
    assert loss.tolist() == pytest.approx(
        [first, math.log(1 + math.exp(-1.0)) + math.log(8.0)], rel=1e-12
    )


def test_equation_3_is_softmax_and_two_absolute_terms():
    """exp(eq. 3) = 1 + sum e^(z_k - z_p) + e^-z_p + sum e^z_k."""
    scores, negative = 64 * (0.7 - 0.3), 11.0
    loss = RegionLoss()(*cosines([0.7]), logs(negative))
    expected = 1 + negative * math.exp(-scores) + math.exp(-scores) + negative
    assert loss.item() == pytest.approx(math.log(expected), rel=1e-12)


def test_softmax_is_cross_entropy_with_the_margin_inside():
    scores = torch.tensor([[0.6, 0.2, -0.3, 0.5]], dtype=torch.float64)
    expected = torch.nn.functional.cross_entropy(
        64 * (scores - torch.tensor([0.3, 0, 0, 0], dtype=torch.float64)),
        torch.tensor([0]),
        reduction="none",
    )
    loss = RegionLoss("softmax")(*cosines([0.6]), (64 * scores[:, 1:]).logsumexp(1))
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)


def test_softmax_of_several_positives_is_the_mean_of_one_each():
    loss = RegionLoss("softmax", scale=10.0)
    several = loss(*cosines([0.5, 0.1, -9]), logs(3.0))
    single = [loss(*cosines([cosine]), logs(3.0)).item() for cosine in (0.5, 0.1)]
    assert several.item() == pytest.approx(sum(single) / 2, rel=1e-12)


def authors_softmaxes(logits, labels, margin, threshold, scale=64.0):
    """The loss of the authors' released code, restated: a softmax for each of a region's labels.

    Of each, the margin is taken off its own logit; other logits above the threshold are set to 0.
    """
    losses = []
    for label in labels:
        is_own = torch.arange(len(logits)) == label
        kept = torch.where((logits > threshold) & ~is_own, 0.0, logits) if threshold else logits
        probabilities = (scale * (kept - margin * is_own.double())).softmax(0)
        losses.append(-probabilities[label].log())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("threshold", [0.0, 0.75])
def test_softmax_rivals_is_the_authors_code_where_all_classes_are_drawn(threshold):
    logits = torch.tensor([0.9, 0.1, 0.8, 0.76, -0.4, 0.7, 0.2], dtype=torch.float64)
    labels = [0, 3, 1]
    loss = RegionLoss("softmax_rivals", filter=threshold)
    others = [logits[row] for row in range(len(logits)) if row not in labels]
    negatives = torch.stack([torch.where(c > (threshold or 2), 0.0, c) for c in others])
    ours = loss(*cosines([0.9, 0.76, 0.1, -9]), (64 * negatives).logsumexp(0)[None])
    expected = authors_softmaxes(logits, labels, 0.3, threshold)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-12)


def test_softmax_drops_the_rivals_that_softmax_rivals_keeps():
    arguments = (*cosines([0.9, 0.1]), logs(1e-9))
    dropped, kept = (RegionLoss(kind)(*arguments) for kind in ("softmax", "softmax_rivals"))
    assert dropped.item() == pytest.approx(0, abs=1e-3)
    assert kept.item() == pytest.approx(64 * (0.9 - (0.1 - 0.3)) / 2, abs=1e-3)


@pytest.mark.parametrize("kind", ["twosided", "softmax", "softmax_rivals"])
def test_extremes_and_no_negatives_are_finite_with_gradients(kind):
    cosine = torch.tensor([[1.0], [-1.0], [1.0]], requires_grad=True)
    negative = torch.tensor([64 + math.log(1e6), 64 + math.log(1e6), -math.inf], requires_grad=True)
    loss = RegionLoss(kind, angular=True)(cosine, torch.ones(3, 1, dtype=torch.bool), negative)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert cosine.grad.isfinite().all()
    assert negative.grad.isfinite().all()
    assert negative.grad[2] == 0


@pytest.mark.parametrize("angle", [0.1, 0.8, 1.6, 2.7])
def test_angular_margin_is_cos_of_the_sum_and_so_is_its_slope(angle):
    cosine = torch.tensor(math.cos(angle), dtype=torch.float64, requires_grad=True)
    value = with_margin(cosine, 0.3, angular=True)
    value.backward()
    assert value.item() == pytest.approx(math.cos(angle + 0.3), abs=1e-12)
    assert cosine.grad.item() == pytest.approx(math.sin(angle + 0.3) / math.sin(angle), rel=1e-9)


def test_angular_margin_never_rewards_a_worse_positive():
    cosine = torch.linspace(-1, 1, 4001, dtype=torch.float64)
    values = with_margin(cosine, 0.3, angular=True)
    assert (values.diff() > 0).all()
    assert values.diff().max() < 0.01  # no jump where it turns


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "mean"}, "unknown loss 'mean'"),
        ({"margin": -0.1}, "margin"),
        ({"scale": 0}, "scale"),
        ({"scale": 1e3}, "scale"),
        ({"filter": 1.5}, "filter is a cosine"),
    ],
)
def test_wrong_arguments_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        RegionLoss(**wrong)
