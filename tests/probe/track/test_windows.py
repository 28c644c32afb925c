"""Windows about a box: in and back out again, and their pixels."""

from __future__ import annotations

import numpy as np

from regiontok.core.picture import Picture
from regiontok.probe.track.windows import Window, held_in_frame


def test_mapping_in_and_back_is_the_identity():
    rng = np.random.default_rng(0)
    for _ in range(50):
        target = np.concatenate([rng.uniform(-50, 400, 2), rng.uniform(1, 200, 2)])
        window = Window.around(target, rng.uniform(1, 5))
        boxes = rng.uniform(-100, 600, (7, 4))
        np.testing.assert_allclose(window.outward(window.inward(boxes)), boxes, rtol=0, atol=1e-9)


def test_a_box_in_the_window_lies_on_its_pixels():
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[20:40, 50:74] = 255
    box = np.array([50.0, 20.0, 24.0, 20.0])
    window = Window.around(box, 4)
    crop = window.cut(Picture.of(pixels), window.side * 2)[..., 0] > 127
    x, y, width, height = (window.inward(box) * window.side * 2).round().astype(int)
    rows, columns = np.flatnonzero(crop.any(1)), np.flatnonzero(crop.any(0))
    assert (columns[0], columns[-1] + 1) == (x, x + width)
    assert (rows[0], rows[-1] + 1) == (y, y + height)


def test_beyond_the_frame_a_window_is_black():
    picture = Picture.of(np.full((20, 20, 3), 200, np.uint8))
    crop = Window(-10, 0, 20).cut(picture, 20)
    assert (crop[:, :9] == 0).all()
    assert (crop[:, 11:] == 200).all()


def test_a_box_keeps_ten_pixels_within_the_frame():
    for box in ([300.0, 10, 5, 5], [-80, -80, 20, 20], [3, 3, 900, 900], [8, 8, 0, 0]):
        x, y, width, height = held_in_frame(np.array(box), (40, 60))
        assert 0 <= x <= x + width <= 60
        assert 0 <= y <= y + height <= 40
        assert width >= 10
        assert height >= 10
