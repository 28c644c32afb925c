"""Moving scenes: objects keep their looks and order, change their size, and stay in the picture."""

from __future__ import annotations

import numpy as np
import pytest

from regiontok.miniworld.motion import FARTHEST, FLATTEST, MovingScene, bounced, squeezed
from regiontok.miniworld.world import World


def test_objects_move_in_straight_lines_until_the_edge() -> None:
    assert [bounced(8, 2 * step, 10) for step in range(4)] == [8, 10, 8, 6]


def test_all_frames_hold_the_pictures_objects() -> None:
    world = World("val", size=128)
    scene = MovingScene.of(world, 2)
    frames = list(scene.frames(12))
    assert scene.frame(11).pixels.tobytes() == frames[11].pixels.tobytes()
    assert (frames[0].pixels != frames[11].pixels).any()
    for number, item in enumerate(world[2].objects):
        places = np.array([frame.objects[number].centre for frame in frames])
        assert np.abs(places[0] - item.centre).max() == 0
        steps = np.abs(np.diff(places, axis=0))
        assert steps.max() <= 0.03 * 128 + 1
        areas = np.array([frame.objects[number].area for frame in frames])
        assert len(set(areas.tolist())) > 1
        assert FLATTEST * FARTHEST**2 * item.area * 0.9 < areas.min()
        assert areas.max() <= item.area
        for frame in frames:
            moved = frame.objects[number]
            assert (moved.colour, moved.shape) == (item.colour, item.shape)
            assert moved.visible == (frame.labels == number + 1).sum()


def test_boxes_are_wide_and_high() -> None:
    sides = [
        (box[2] - box[0]) / (box[3] - box[1])
        for index in range(8)
        for box in (item.box for item in MovingScene.of(World("val"), index).frame(0).objects)
        if box[3] > box[1]
    ]
    assert np.mean(np.array(sides) > 1.5) > 0.15
    assert np.mean(np.array(sides) < 1 / 1.5) > 0.15


@pytest.mark.parametrize(("height", "width"), [(1.0, 0.5), (0.4, 1.0), (0.3, 0.7)])
def test_a_squeezed_disc_is_an_ellipse_with_an_edge_of_one_pixel(height: float, width: float):
    y, x = np.mgrid[:61, :61] - 30.0
    disc = np.sqrt(x**2 + y**2) - 24
    ellipse = squeezed(disc, (0.5, 0.5), height, width)
    inside = ellipse <= 0
    assert inside.any(1).sum() == pytest.approx(2 * 24 * height, abs=1.5)
    assert inside.any(0).sum() == pytest.approx(2 * 24 * width, abs=1.5)
    assert inside.sum() == pytest.approx(np.pi * 24**2 * height * width, rel=0.02)
    for line in (ellipse[30, 30:], ellipse[30:, 30]):
        edge = int(np.flatnonzero(line > 0)[0])
        assert line[edge] - line[edge - 1] == pytest.approx(1, abs=0.2)
    assert ellipse[[0, 0, -1, -1], [0, -1, 0, -1]].min() > 0
