"""What a method has by default: the contract's own answers, and copies with other fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest
import torch

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.methods import CanvasEncoder, Encoder
from samples.segmenters import NoMasks


@dataclass(frozen=True)
class Zeros(Encoder):
    """An encoder that has what it must have and nothing more; every patch is one pixel."""

    width: ClassVar[int] = 2

    def frame(self, size):
        return Frame.stretch(size, size, (1, 1))

    def encode(self, pictures):
        return [
            PatchGrid(torch.zeros(*picture.size, 2), self.frame(picture.size), key=picture.key)
            for picture in pictures
        ]


@dataclass(frozen=True)
class Canvas(CanvasEncoder):
    """An encoder with a canvas, a device, and an argument of its own."""

    size: int = 8
    framing: str | None = None
    bias: float = 0.5
    device: str = field(default="cpu", metadata={"run": True})
    width: ClassVar[int] = 2

    def frame(self, size):
        return Frame.stretch(size, (self.size, self.size), (1, 1))

    def encode(self, pictures):
        raise NotImplementedError


def blank(height: int, width: int) -> Picture:
    return Picture.of(np.zeros((height, width, 3), np.uint8))


def test_an_encoder_offers_nothing_that_it_does_not_name():
    encoder = Zeros()
    assert (encoder.summaries, encoder.has_cls, encoder.cls_attention) == (0, False, False)
    assert (encoder.threshold, encoder.classes, encoder.shuffle) == (None, (), None)
    assert (encoder.identity, encoder.version, encoder.standardises) == ("", 1, False)
    assert (encoder.layers, encoder.layer_name) == (None, "")
    assert (encoder.is_untrained, encoder.untrained()) == (False, None)
    assert (encoder.can_resize, encoder.can_tune) == (False, False)
    encoder.prepare(blank(2, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda encoder: encoder.logits([]), "Zeros has no classifier of its own"),
        (lambda encoder: encoder.for_tiles(), "Zeros has none: leave tiles out"),
        (lambda encoder: encoder.at_size(4), "Zeros has no canvas whose size can be set"),
        (lambda encoder: encoder.at_layer(-1), "Zeros has no choice of layers, got layer -1"),
        (lambda encoder: encoder.blank(), "Zeros cannot be tuned"),
        (lambda encoder: encoder.tunable(), "Zeros cannot be tuned"),
        (lambda encoder: encoder.tuned(torch.nn.Identity()), "Zeros cannot be tuned"),
    ],
)
def test_what_an_encoder_does_not_offer_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(Zeros())


def test_an_encoder_without_a_choice_of_layers_is_at_its_default_layer():
    encoder = Zeros()
    assert encoder.at_layer(None) is encoder


def test_the_frames_of_a_clip_are_stacked_by_default():
    grid = Zeros().encode_clip([blank(2, 3)] * 4)
    assert grid.features.shape == (4, 2, 3, 2)


def test_an_encoder_with_a_size_has_any():
    encoder = Canvas(bias=0.1)
    assert encoder.can_resize
    assert encoder.at_size(32) == Canvas(size=32, bias=0.1)
    assert encoder.size == 8


def test_a_copy_has_other_values_in_the_fields_that_are_named():
    assert Canvas().but(size=4, bias=0.0) == Canvas(size=4, bias=0.0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'sise'"):
        Canvas().but(sise=4)


def test_only_a_method_with_a_device_moves():
    here = Canvas()
    assert here.on("cpu") is here
    assert here.on("meta") == Canvas(device="meta")
    without = Zeros()
    assert without.on("meta") is without


def test_tiles_need_an_encoder_that_stretches():
    assert Canvas().for_tiles() == Canvas(framing="stretch")
    stretching = Canvas(framing="stretch")
    assert stretching.for_tiles() is stretching
    with pytest.raises(ValueError, match="leave out framing='crop'"):
        Canvas(framing="crop").for_tiles()


def test_a_segmenter_reads_pixels_of_any_size_unless_it_says_otherwise():
    segmenter = NoMasks()
    assert (segmenter.reads_pixels, segmenter.proposal_size) == (True, 0)
    assert segmenter.at_longest(100) is segmenter
