"""Tests of pretrain/gradients.py; what it computes is tested with the run (test_run.py)."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from regiontok.pretrain.gradients import compute_gradients
from regiontok.rice.class_head import ClassHead
from regiontok.rice.classes import ClassCentres


def test_labels_are_exchanged_before_the_trunk_begins() -> None:
    """So that between trunk and loss ranks send nothing but regions."""
    order: list[str] = []
    centres = ClassCentres([ClassHead("object", 8)], 4)
    targets_of = centres.targets

    def noted_targets(*args: Any) -> Any:
        order.append("labels")
        return targets_of(*args)

    def trunk(*_: Any) -> Any:
        order.append("trunk")
        return SimpleNamespace(regions=torch.eye(2, 4).requires_grad_())

    centres.targets = noted_targets  # type: ignore[assignment]
    learner: Any = SimpleNamespace(centres=centres, model=trunk, is_sharded=False)
    batch: Any = _OneImage()
    result = compute_gradients(
        learner, batch, 0, per_pass=0, device=torch.device("cpu"), in_bfloat16=False
    )
    assert order == ["labels", "trunk"]
    assert result.heads["object"].regions == 2

    batch.labels["object"][0, 0] = 8
    with pytest.raises(ValueError, match="labels lie in"):
        compute_gradients(
            learner, batch, 0, per_pass=0, device=torch.device("cpu"), in_bfloat16=False
        )
    assert order == ["labels", "trunk", "labels"]


class _OneImage:
    """A batch of one image with two regions."""

    visible = torch.zeros(1)

    def __init__(self) -> None:
        self.labels = {"object": torch.tensor([[3, 5]])}
        self.excluded: dict[str, torch.Tensor] = {}

    def __len__(self) -> int:
        return 1

    def select(self, _: slice) -> Any:
        return self

    def normalised(self, _: torch.device) -> torch.Tensor:
        return self.visible
