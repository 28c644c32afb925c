"""Scores of tracks against what the official scripts gave."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from regiontok.probe.track.scores import clip_scores, data_set_scores, scores_of

SIZE = (480, 854)


def test_every_figure_of_the_official_scripts_is_ours_to_the_last_digit(data: Path):
    golden = json.loads((data / "golden" / "tracking.json").read_text())
    names = {
        "success": "ostrack_auc",
        "precision": "ostrack_prec20",
        "normalised_precision": "ostrack_normprec20",
        "ao": "got10k_ao",
        "sr50": "got10k_sr50",
        "sr75": "got10k_sr75",
    }
    for clip, track in golden["tracks"].items():
        truth = np.array(track["gt_xywh"], float)
        has_target = (truth[:, 2:] > 0).all(1)
        scores = clip_scores(clip, np.array(track["pred_xywh"]), truth, has_target, SIZE)
        ours = {name: value[0] for name, value in scores_of([scores], np.ones((1, 1))).items()}
        official = golden["per_sequence"][clip]
        for name, key in names.items():
            share = 100 if key.startswith("got10k") else 1
            assert float(ours[name]) == official[key] * share, (clip, name)


def test_frames_without_the_target_are_out_or_missed():
    truth = np.tile([10.0, 10, 20, 20], (4, 1))
    truth[2] = np.nan
    has_target = np.array([True, True, False, True])
    found = np.tile([10.0, 10, 20, 20], (4, 1))
    out = clip_scores("a", found, truth, has_target, SIZE)
    assert out.precision == 1
    assert out.success[0] == 1
    assert len(out.overlaps) == 2
    missed = clip_scores("a", found, truth, has_target, SIZE, absent="missed")
    assert missed.precision == 0.75
    assert missed.success[0] == 0.75


def test_clips_weigh_alike_in_success_and_frames_in_ao():
    truth = np.tile([10.0, 10, 20, 20], (11, 1))
    good = clip_scores("long", truth, truth, np.ones(11, bool), SIZE)
    bad = clip_scores(
        "short", truth[:2] + np.array([300, 0, 0, 0]), truth[:2], np.ones(2, bool), SIZE
    )
    scores = data_set_scores([good, bad])
    assert scores["ao"][0] == pytest.approx(1000 / 11)
    # the first frame counts as found: one of two frames of the bad clip; no overlap is above 1
    assert scores["success"][0] == pytest.approx(100 * (20 / 21 + 10 / 21) / 2)
    assert scores["ao"][1] == 0
    assert scores["ao"][2] == 100


def test_boxes_that_are_no_boxes_are_refused():
    truth = np.tile([10.0, 10, 20, 20], (2, 1))
    with pytest.raises(ValueError, match="not finite, or of negative size"):
        clip_scores("a", truth * [1, 1, -1, 1], truth, np.ones(2, bool), SIZE)
    with pytest.raises(ValueError, match="expected one a frame"):
        clip_scores("a", truth[:1], truth, np.ones(2, bool), SIZE)
    with pytest.raises(ValueError, match="at least one clip"):
        data_set_scores([])
