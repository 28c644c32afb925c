"""What the checks of the other kinds find: promises that are not true, and batches that mix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from regiontok.connect.linear import Linear
from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.masks import PixelMasks
from regiontok.methods import Connector, Encoder, Place, Segmenter, Transform
from regiontok.place.delimiter import Delimiter
from regiontok.testing import (
    check_connector,
    check_encoder,
    check_method,
    check_place,
    check_segmenter,
    check_transform,
)
from regiontok.testing.methods import check_docstring
from regiontok.transform.rms import Rms


def variant(method_class, name, **changes):
    """An instance of a method's class with some hooks changed."""
    return dataclass(frozen=True)(type(name, (method_class,), changes))()


def test_a_transform_must_leave_what_pools_read_and_need_masks_only_if_it_says_so():
    check_transform(Rms())
    loud = variant(Rms, "Loud", one=lambda self, grid: grid.but(features=2 * grid.features))
    with pytest.raises(AssertionError, match="pools must read what they read before"):
        check_transform(loud)
    with pytest.raises(AssertionError, match="must refuse a view without masks"):
        check_transform(variant(Rms, "Masked", reads_masks=True))
    with pytest.raises(AssertionError, match="in a batch a view has other features than alone"):
        check_transform(
            variant(Rms, "Mixing", many=lambda self, grids: [Rms().one(g) for g in grids][::-1])
        )


def test_a_transform_of_half_precision_must_compute_in_float32():
    def one(self: Transform, grid: PatchGrid) -> PatchGrid:
        offset = 0 if grid.features.dtype.itemsize >= 4 else 300  # where half precision is coarse
        features = 1.5 * grid.features + offset - offset
        return grid.but(features=features, values=grid.pooled)

    with pytest.raises(AssertionError, match=r"torch\.bfloat16 is not near float64"):
        check_transform(variant(Rms, "Coarse", one=one))


def test_a_place_adds_delimiters_exactly_if_it_says_so():
    check_place(Delimiter())

    @dataclass(frozen=True)
    class Silent(Place):
        def build(self, width):
            return Delimiter().build(width)

    with pytest.raises(AssertionError, match=r"token is None, but there are \d+ delimiters"):
        check_place(Silent())

    @dataclass(frozen=True)
    class Idle(Place):
        token: ClassVar[str] = "<eom>"

        def build(self, width):
            return Unchanged()

    with pytest.raises(AssertionError, match="token is '<eom>', but there is no delimiter"):
        check_place(Idle())


class Unchanged(nn.Module):
    def forward(self, tokens, grids):
        return tokens


def test_a_place_must_not_reorder_rows():
    class Reversed(nn.Module):
        def forward(self, tokens, grids):
            return tokens.take(torch.arange(len(tokens)).flip(0))

    @dataclass(frozen=True)
    class Backwards(Place):
        def build(self, width):
            return Reversed()

    with pytest.raises(AssertionError, match=r"Backwards\(\), "):
        check_place(Backwards())


def test_a_connector_must_give_the_width_and_treat_tokens_apart():
    check_connector(Linear())

    @dataclass(frozen=True)
    class Narrow(Connector):
        def build(self, width, out):
            return nn.Linear(width, width)

    with pytest.raises(
        AssertionError, match=r"values \[.*, 8\] become \[.*, 8\] for a width of 12"
    ):
        check_connector(Narrow())

    class Centred(nn.Linear):
        def forward(self, values):
            return super().forward(values - values.mean(0) if len(values) else values)

    @dataclass(frozen=True)
    class Mixing(Connector):
        def build(self, width, out):
            return Centred(width, out)

    with pytest.raises(AssertionError, match="alone a token has other values than beside others"):
        check_connector(Mixing())


@dataclass(frozen=True)
class Everything(Segmenter):
    """One mask of the whole picture."""

    def __call__(self, pictures):
        return [PixelMasks.from_dense(np.ones((1, *picture.size))) for picture in pictures]


def test_a_segmenter_must_give_masks_of_each_picture_s_size_and_repeat():
    check_segmenter(Everything())
    swapped = variant(
        Everything,
        "Swapped",
        __call__=lambda self, pictures: [
            PixelMasks.from_dense(np.ones((1, *picture.size[::-1]))) for picture in pictures
        ],
    )
    with pytest.raises(AssertionError, match=r"masks of \(64, 48\) for a picture of \(48, 64\)"):
        check_segmenter(swapped)
    drawing = variant(
        Everything,
        "Drawing",
        __call__=lambda self, pictures: [
            PixelMasks.from_dense(np.random.rand(1, *picture.size) > 0.5)  # noqa: NPY002
            for picture in pictures
        ],
    )
    with pytest.raises(AssertionError, match="in a batch a picture has other masks than alone"):
        check_segmenter(drawing)


@dataclass(frozen=True)
class Colour(Encoder):
    """The mean colour of each cell of an 8 x 8 grid."""

    width: ClassVar[int] = 3

    def frame(self, size):
        return Frame.stretch(size, (64, 64), (8, 8))

    def encode(self, pictures):
        grids = []
        for picture in pictures:
            frame = self.frame(picture.size)
            cells = frame.place(picture).reshape(8, 8, 8, 8, 3).mean((1, 3)) / 255
            features = torch.from_numpy(cells.astype(np.float32))
            grids.append(PatchGrid(features, frame, key=picture.key))
        return grids


def without_keys(self, pictures):
    return [replace(grid, key="") for grid in Colour().encode(pictures)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 4}, r"features \[8, 8, 3\] do not fit \(8, 8\) patches of width 4"),
        ({"encode": without_keys}, "the grid must have the picture's key"),
        ({"summaries": 1}, "summaries is 1, the grid has 0"),
        ({"cls_attention": True}, "cls_attention is True, and the grid has none"),
        ({"threshold": 7.0}, r"threshold 7.0 lies outside \[-1, 1\]"),
        ({"logits": lambda self, pictures: []}, "classes is empty, so logits must be refused"),
    ],
)
def test_an_encoder_must_keep_what_it_promises(changes, message):
    check_encoder(Colour())
    with pytest.raises(AssertionError, match=message):
        check_encoder(variant(Colour, "Broken", **changes))


def test_a_registered_method_is_checked_by_its_spec_too(tmp_path, monkeypatch):
    check_method("connector", "mlp")
    check_method("step", "drop(below=2)", partition=False)
    with pytest.raises(AssertionError, match="unknown kind of method 'filter'"):
        check_method("filter", "mlp")


@pytest.mark.parametrize(
    ("docstring", "message"),
    [
        ("", "has no docstring"),
        ("One line.\nAfter: x.\nDiffers: y.", "must be one sentence, followed by a blank line"),
        (f"{'Long ' * 20}.\n\nAfter: x.\nDiffers: y.", "longer than 100 characters"),
        ("One line.\n\nDiffers: y.", "does not say where it comes from"),
        ("One line.\n\nAfter: x. Differs: y.", "does not say how it differs"),
    ],
)
def test_a_docstring_says_what_after_whom_and_how_it_differs(
    docstring, message, tmp_path, monkeypatch
):
    from regiontok.settings import registry

    source = f'"""{docstring}"""\nfrom regiontok.steps.drop import Drop\n\nclass Mine(Drop): ...\n'
    name = f"plug_in_{abs(hash(docstring))}"
    (tmp_path / f"{name}.py").write_text(source if docstring else source.split("\n", 1)[1])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(registry._REGISTERED["step"], "mine", f"{name}:Mine")
    with pytest.raises(AssertionError, match=message):
        check_docstring("step", "mine")
