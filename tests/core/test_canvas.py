"""Canvases laid ahead equal those laid in turn, are taken once, and never for other settings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regiontok.core import canvas as _canvas
from regiontok.core.canvas import canvases, lay_ahead, mean_fill
from regiontok.core.frame import Frame
from regiontok.core.picture import Picture
from regiontok.tokenizer.regionizer import build_encoder


def noise(seed: int, size=(40, 60)) -> Picture:
    return Picture.of(np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8))


def test_laid_ahead_is_taken_once_and_equal(monkeypatch):
    picture, frame = noise(0), Frame.stretch((40, 60), (28, 28), (14, 14))
    wanted = canvases([picture], [frame], shuffle=3)
    lay_ahead(picture, frame, shuffle=3)
    assert picture in _canvas._AHEAD
    with monkeypatch.context() as patch:
        patch.setattr(_canvas, "_laid", lambda *_: pytest.fail("it was laid already"))
        assert torch.equal(canvases([picture], [frame], shuffle=3), wanted)
    assert picture not in _canvas._AHEAD


def test_other_settings_do_not_take_it():
    picture, frame = noise(0), Frame.stretch((40, 60), (28, 28), (14, 14))
    lay_ahead(picture, frame, resample="nearest")
    fresh = canvases([noise(0)], [frame])
    assert torch.equal(canvases([picture], [frame]), fresh)


def test_it_goes_with_its_picture():
    picture = noise(1)
    lay_ahead(picture, Frame.stretch((40, 60), (28, 28), (14, 14)))
    count = len(_canvas._AHEAD)
    del picture
    assert len(_canvas._AHEAD) == count - 1


@pytest.mark.parametrize(
    "spec",
    [
        "lite(size=128)",
        "lite(size=128, framing='letterbox')",
        "filters(size=112, framing='letterbox')",
    ],
)
def test_encoders_prepare_exactly_what_they_encode(spec, monkeypatch):
    encoder = build_encoder(spec)
    wanted = encoder.encode([noise(2)])[0].features
    picture = noise(2)
    encoder.prepare(picture)
    monkeypatch.setattr(_canvas, "_laid", lambda *_: pytest.fail("it was laid already"))
    assert torch.equal(encoder.encode([picture])[0].features, wanted)


def test_padding_takes_the_mean_colour_and_only_there():
    picture = Picture.of(np.full((10, 20, 3), (10, 20, 30), np.uint8))
    assert mean_fill(picture, Frame.letterbox((10, 20), (28, 28), (14, 14))) == (10, 20, 30)
    assert mean_fill(picture, Frame.stretch((10, 20), (28, 28), (14, 14))) == (0, 0, 0)
