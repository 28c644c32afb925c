"""The detector: what learns, what does not, and that it can learn a few pictures by heart."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from regiontok.core.frame import Frame
from regiontok.core.masks import PixelMasks
from regiontok.jobs.probe.detect import DetectionProbe
from regiontok.probe.detect.detector import Detector
from regiontok.probe.detect.objects import Objects
from regiontok.probe.detect.sizes import DetectorSettings
from regiontok.probe.options import ProbeOptions
from samples.detection import coco_world

SETTINGS = DetectorSettings(classes=3, sizes="mini", least_score=0.0, most=7)


def detector(patch: tuple[int, int] = (16, 16)) -> Detector:
    torch.manual_seed(0)
    return Detector(6, patch, SETTINGS)


def objects(size: tuple[int, int], *, masks: bool = True) -> Objects:
    boxes = torch.tensor([[4.0, 4.0, 30.0, 34.0], [40.0, 10.0, 60.0, 44.0]])
    dense = torch.zeros(2, *size, dtype=torch.bool)
    for number, (x0, y0, x1, y1) in enumerate(boxes.int().tolist()):
        dense[number, y0:y1, x0:x1] = True
    return Objects(boxes, torch.tensor([2, 0]), PixelMasks.from_dense(dense) if masks else None)


@pytest.mark.parametrize("patch", [14, 16])
def test_a_step_moves_the_heads_and_no_gradient_reaches_the_encoder(patch):
    frames = [
        Frame.letterbox(size, (7 * patch,) * 2, (patch,) * 2) for size in ((64, 64), (50, 64))
    ]
    encoder = nn.Conv2d(3, 6, patch, stride=patch)
    maps = encoder(torch.rand(2, 3, 7 * patch, 7 * patch)).detach()
    ours = detector((patch, patch))
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    optimizer = torch.optim.SGD(ours.parameters(), lr=0.1)
    truth = [objects((64, 64)), Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))]
    losses = ours.losses(maps, frames, truth)
    assert len(losses) == 9
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    optimizer.step()
    moved = {n.split(".")[0] for n, v in ours.state_dict().items() if not torch.equal(v, before[n])}
    assert moved == {"pyramid", "proposals", "cascade", "mask_head"}
    assert all(value.grad is None for value in encoder.parameters())


def test_detections_lie_in_the_picture_and_in_the_order_of_their_scores():
    frames = [
        Frame.letterbox((40, 80), (96, 96), (16, 16)),
        Frame.stretch((70, 50), (96, 96), (16, 16)),
    ]
    for found, frame in zip(detector().eval()(torch.rand(2, 6, 6, 6), frames), frames, strict=True):
        height, width = frame.image
        assert len(found.boxes) == len(found.classes) == 7
        assert found.boxes.min() >= 0
        assert (found.boxes <= torch.tensor([width, height, width, height])).all()
        assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
        assert found.masks.shape == (7, height, width)


def test_pictures_without_masks_teach_boxes_alone():
    frame = Frame.stretch((64, 64), (96, 96), (16, 16))
    losses = detector().losses(torch.rand(1, 6, 6, 6), [frame], [objects((64, 64), masks=False)])
    assert losses["mask"].item() == 0
    assert losses["box_1"].isfinite()
    ours = Detector(6, (16, 16), DetectorSettings(classes=3, masks=False, sizes="mini"))
    assert "mask" not in ours.losses(torch.rand(1, 6, 6, 6), [frame], [objects((64, 64))])
    assert ours.eval()(torch.rand(1, 6, 6, 6), [frame])[0].masks is None


def test_objects_under_padding_or_under_a_pixel_of_the_canvas_are_left_out():
    frame = Frame.center_crop((64, 200), (96, 96), (16, 16))  # columns 68 to 132 are seen
    truth = Objects(
        torch.tensor([[0.0, 0.0, 60.0, 60.0], [80.0, 10.0, 120.0, 50.0], [90.0, 9.0, 90.2, 60.0]]),
        torch.tensor([0, 1, 2]),
    )
    losses = detector().losses(torch.rand(1, 6, 6, 6), [frame], [truth])
    assert all(torch.isfinite(loss) for loss in losses.values())
    boxes, classes, numbers = detector()._on_canvas(truth, frame, torch.device("cpu"))
    assert (classes.tolist(), numbers.tolist()) == ([1], [1])
    torch.testing.assert_close(boxes, torch.tensor([[18.0, 15.0, 78.0, 75.0]]))


@pytest.mark.slow
def test_a_few_pictures_are_learned_by_heart(tmp_path):
    coco_world(tmp_path / "world", 6, size=128)
    probe = DetectionProbe(
        data=tmp_path / "world",
        test=tmp_path / "world",
        encoder="lite(size=128)",
        steps=250,
        batch=2,
        options=ProbeOptions(device="cpu", cache=str(tmp_path / "cache")),
    )
    probe.train(tmp_path / "run")
    scores = probe.score(tmp_path / "run")
    assert scores["box"]["AP50"] > 0.6  # .93 when it was written, and of masks .62 at half the rate
    assert scores["mask"]["AP50"] > 0.2
