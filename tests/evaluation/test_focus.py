"""Planted attention gives the planted number, and even attention exactly chance."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from regiontok.conversation import PictureTokens
from regiontok.core.frame import Frame
from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.core.tokens import CLS, DELIMITER, REGION, WHOLE, Tokens
from regiontok.evaluation.focus import (
    FocusSample,
    focus_sample,
    score,
)
from regiontok.evaluation.focus_options import FocusOptions
from regiontok.evaluation.focus_table import focus_table
from regiontok.evaluation.focus_targets import NoPlaces, token_overlaps

# four patches of 10 x 10 pixels, and a 10 x 10 object over the second and third
FRAME = Frame.stretch((20, 20), (20, 20), (10, 10))
PHOTO = Picture.of(np.zeros((20, 20, 3), np.uint8), "a.png")
OBJECT = torch.zeros(20, 20, dtype=torch.bool)
OBJECT[0:10, 10:20] = True  # all of patch 1
OBJECT[10:14, 0:10] = True  # 40 % of patch 2


def shown(region, patch, kind, regions, *, frame=FRAME, masks=None):
    count = len(region)
    tokens = Tokens(
        torch.zeros(count, 2),
        image=torch.zeros(count, dtype=torch.int64),
        view=torch.zeros(count, dtype=torch.int64),
        region=torch.tensor(region),
        patch=torch.tensor(patch),
        kind=torch.tensor(kind),
        images=1,
    )
    return PictureTokens(PHOTO, tokens, (frame,), (regions,), masks)


PATCHES = shown([0, 1, 2, 3], [-1] * 4, [REGION] * 4, Regions.singletons((2, 2)))
# G, CLS, a region of patches 0 and 1, a delimiter, a region of patch 2
MIXED = shown(
    [-1, -1, 0, 0, 1],
    [-1] * 5,
    [WHOLE, CLS, REGION, DELIMITER, REGION],
    Regions.from_labels(torch.tensor([[0, 0], [1, -1]])),
)


def sample_of(rows, picture, options=None, *, name="1", support="patch", annotation=OBJECT):
    return focus_sample(
        rows,
        picture.tokens,
        token_overlaps(picture, annotation, support),
        options or FocusOptions(),
        id=name,
        image="a.png",
        question="?",
        answer="yes",
    )


def rows_of(*values):
    """One layer, one head, a row each."""
    return torch.tensor([[list(values)]])


def test_overlaps_of_patches_and_regions():
    assert token_overlaps(PATCHES, OBJECT).share.tolist() == pytest.approx([0, 1, 0.4, 0])
    mixed = token_overlaps(MIXED, OBJECT)
    assert mixed.share.tolist() == pytest.approx([0, 0, 0.5, 0, 0.4])
    assert mixed.regular.tolist() == [False, False, True, False, True]
    assert not mixed.rest.any()


def test_overlaps_of_object_guided_tokens_are_those_of_their_patches():
    regions = Regions.from_labels(torch.tensor([[0, 0], [1, -1]]))
    picture = shown([0, 0, 1], [0, 1, 2], [REGION] * 3, regions)
    assert token_overlaps(picture, OBJECT).share.tolist() == pytest.approx([0, 1, 0.4])


def test_padding_is_part_of_a_patch_or_not():
    frame = Frame.letterbox((20, 20), (20, 30), (10, 10))  # 5 pixels of padding on either side
    picture = shown(list(range(6)), [-1] * 6, [REGION] * 6, Regions.singletons((2, 3)), frame=frame)
    whole = torch.ones(20, 20, dtype=torch.bool)
    assert token_overlaps(picture, whole).share.tolist() == pytest.approx([0.5, 1, 0.5] * 2)
    assert token_overlaps(picture, whole, "content").share.tolist() == pytest.approx([1] * 6)


def test_a_region_by_the_pixels_of_its_own_mask():
    mask = torch.zeros(1, 20, 20, dtype=torch.bool)
    mask[0, 0:10, 5:20] = True  # 150 pixels, 100 of them in the object
    regions = Regions(
        torch.tensor([0, 1, 2]), torch.tensor([0, 0, 1]), (2, 2), torch.tensor([0, -1])
    )
    picture = shown([0, 1], [-1] * 2, [REGION] * 2, regions, masks=PixelMasks.from_dense(mask))
    overlaps = token_overlaps(picture, OBJECT, "pixels")
    assert overlaps.share.tolist() == pytest.approx([100 / 150, 0.4])
    assert overlaps.rest.tolist() == [False, True]
    sample = sample_of(rows_of([0.3, 0.2]), picture)
    assert score(sample, FocusOptions()).focus == pytest.approx(0.5)
    assert score(sample, FocusOptions(rest=False)).focus == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("threshold", "focus", "chance"), [(0, 0.6, 0.5), (0.39, 0.6, 0.5), (0.4, 0.5, 0.25)]
)
def test_planted_attention_gives_the_planted_number(threshold, focus, chance):
    rows = torch.zeros(3, 2, 4, 4)  # three layers, two heads, four rows
    rows[..., 1], rows[..., 2], rows[..., 3] = 0.5, 0.1, 0.2
    result = score(sample_of(rows, PATCHES), FocusOptions(threshold=threshold))
    assert result.focus == pytest.approx(focus, abs=1e-7)
    assert (result.chance, result.tokens) == (chance, 4)
    assert result.lift == pytest.approx(focus / chance, abs=1e-6)
    assert result.regular == pytest.approx(0.8, abs=1e-7)
    assert result.within == pytest.approx(focus / 0.8, abs=1e-6)


def test_even_attention_gives_exactly_chance():
    result = score(sample_of(torch.full((2, 2, 3, 4), 0.25), PATCHES), FocusOptions())
    assert (result.focus, result.chance, result.lift) == (0.5, 0.5, 1.0)


def test_attention_spread_evenly_over_all_keys_is_even_within_the_regular_tokens():
    """Half of each row goes to text: focus is half of chance, and the lift within is 1."""
    sample = sample_of(torch.full((1, 1, 2, 5), 0.1), MIXED)
    assert sample.text == pytest.approx(0.5)
    (entry,) = focus_table({"a": [sample]}, FocusOptions()).values()
    assert entry["lift_within"] == pytest.approx(1)
    assert (entry["focus"], entry["regular"]) == pytest.approx((0.2, 0.2))
    visual = sample_of(torch.full((1, 1, 2, 5), 0.1), MIXED, FocusOptions(keys="visual"))
    assert visual.text == pytest.approx(0)
    assert score(visual, FocusOptions()).focus == pytest.approx(0.4)


def test_tokens_that_are_not_regular_are_shares_of_their_own():
    sample = sample_of(rows_of([0.1, 0.2, 0.3, 0.15, 0.05]), MIXED)
    shares = (sample.whole, sample.cls, sample.other, sample.text)
    assert shares == pytest.approx((0.1, 0.2, 0.15, 0.2), abs=1e-7)


def test_visual_keys_divide_in_rows_or_in_means():
    # one head looks at the picture with all it has, the other with a hundredth
    rows = torch.tensor([[[[0, 1.0, 0, 0]], [[0.01, 0, 0, 0]]]])
    by_rows = sample_of(rows, PATCHES, FocusOptions(keys="visual"))
    by_means = sample_of(rows, PATCHES, FocusOptions(keys="visual", ratio="means"))
    assert score(by_rows, FocusOptions()).focus == pytest.approx(0.5)
    assert score(by_means, FocusOptions()).focus == pytest.approx(1 / 1.01)


def test_chosen_layers_and_heads():
    rows = torch.zeros(2, 2, 1, 4)
    rows[1, 0, 0, 1] = 0.8
    for options, focus in (
        (FocusOptions(), 0.2),
        (FocusOptions(layers=(-1,)), 0.4),
        (FocusOptions(layers=(1,), heads=(0,)), 0.8),
        (FocusOptions(heads=(1,)), 0.0),
    ):
        assert score(sample_of(rows, PATCHES, options), options).focus == pytest.approx(focus)
    with pytest.raises(ValueError, match="2 layers; there is no layer 2"):
        sample_of(rows, PATCHES, FocusOptions(layers=(2,)))


def plain(name, attention, overlap, rows=1):
    return FocusSample(
        id=name,
        image="",
        question="",
        answer="",
        rows=rows,
        attention=attention,
        overlap=overlap,
        rest=(False,) * len(overlap),
    )


def test_samples_without_a_target_are_zero_or_left_out_for_all_methods():
    fine = [plain("1", (0.4, 0.4), (1.0, 0.0)), plain("2", (0.6, 0.2), (0.3, 0.0))]
    coarse = [plain("1", (0.8,), (0.5,)), plain("2", (0.8,), (0.1,))]
    tables = {"fine": fine, "coarse": coarse}
    zero = focus_table(tables, FocusOptions(threshold=0.25))
    assert zero["fine"]["focus"] == pytest.approx(0.5)
    assert zero["coarse"]["focus"] == pytest.approx(0.4)
    assert zero["coarse"]["without_target"] == 1
    skip = focus_table(tables, FocusOptions(threshold=0.25, without_target="skip"))
    assert skip["fine"]["focus"] == pytest.approx(0.4)
    assert [entry["samples"] for entry in skip.values()] == [1, 1]
    assert skip["fine"]["left_out"] == 1


def test_methods_are_held_against_each_other_on_the_same_samples():
    both, one = plain("1", (0.4,), (1.0,)), plain("2", (0.9,), (1.0,))
    table = focus_table({"a": [both, one], "b": [both]}, FocusOptions())
    assert table["a"]["focus"] == table["b"]["focus"] == pytest.approx(0.4)
    empty = focus_table({"a": [one], "b": [both]}, FocusOptions())
    assert (empty["a"]["samples"], empty["a"]["focus"]) == (0, None)


def test_samples_or_rows_weigh_alike():
    samples = [plain("1", (1.0,), (1.0,), rows=3), plain("2", (0.0,), (1.0,), rows=1)]
    means = [
        focus_table({"a": samples}, FocusOptions(average=average))["a"]["focus"]
        for average in ("samples", "rows")
    ]
    assert means == [0.5, 0.75]


def test_a_sample_survives_its_line():
    sample = sample_of(rows_of([0.1, 0.2, 0.3, 0.15, 0.05]), MIXED)
    again = FocusSample.of_line(json.loads(json.dumps(sample.line())))
    assert score(again, FocusOptions()).focus == pytest.approx(
        score(sample, FocusOptions()).focus, abs=1e-8
    )
    assert again.rest == sample.rest


def test_wrong_input_is_said():
    with pytest.raises(ValueError, match=r"expected rows \[layers heads r 4\]"):
        sample_of(torch.zeros(1, 1, 1, 3), PATCHES)
    with pytest.raises(NoPlaces, match="give it regions"):
        token_overlaps(PictureTokens(PHOTO, PATCHES.tokens, (FRAME,), ()), OBJECT)
    with pytest.raises(ValueError, match="size"):
        token_overlaps(PATCHES, OBJECT[:10])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("threshold=1", r"share in \[0, 1\)"),
        ("rows=mine", "rows must be 'own' or 'predicting'"),
        ("treshold=0.5", "did you mean 'threshold'"),
        ("end=maybe", "true or false"),
        ("layers=a", "whole numbers"),
        ("keys", "expected SETTING=VALUE"),
    ],
)
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        FocusOptions.parsed([change])


def test_choices_that_exclude_each_other():
    with pytest.raises(ValueError, match="a gold answer is not decoded"):
        FocusOptions(capture="decoded", answer="gold")
    with pytest.raises(ValueError, match="no row of its own"):
        FocusOptions(capture="decoded", end=True)


def test_settings_survive_json():
    options = FocusOptions.parsed(["layers=0,-1", "threshold=0.5", "rest=false"])
    assert FocusOptions.of(json.loads(json.dumps(options.settings()))) == options
    assert "threshold" not in options.captured()


def test_intervals_hold_the_mean_and_shrink_with_samples():
    rng = np.random.default_rng(0)
    samples = [plain(str(n), (float(rng.random()), 0.1), (1.0, 0.0)) for n in range(400)]
    few, many = (focus_table({"a": samples[:count]}, FocusOptions())["a"] for count in (25, 400))
    for entry in (few, many):
        low, high = entry["focus_interval"]
        assert low < entry["focus"] < high
        assert entry["lift_interval"] == pytest.approx([2 * low, 2 * high])  # chance is one half
    # four standard errors of a uniform number's mean
    low, high = many["focus_interval"]
    assert high - low == pytest.approx(4 * (1 / 12) ** 0.5 / 20, rel=0.2)
    assert few["focus_interval"][1] - few["focus_interval"][0] > 2 * (high - low)
    one = focus_table({"a": samples[:1]}, FocusOptions())["a"]
    assert one["focus_interval"] == [one["focus"]] * 2
