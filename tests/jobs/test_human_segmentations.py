"""Human segmentations: of BSDS500, of label pictures, and of what is neither."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from regiontok.jobs.human_segmentations import read_human_segmentations


def test_all_annotators_of_a_mat_file_and_the_one_of_a_picture(tmp_path):
    maps = [np.array([[1, 2, 2]], np.uint16), np.array([[3, 3, 1]], np.uint16)]
    cell = np.empty(2, object)
    for index, labels in enumerate(maps):
        cell[index] = {"Segmentation": labels}
    savemat(tmp_path / "a.mat", {"groundTruth": cell})
    assert [labels.tolist() for labels in read_human_segmentations(tmp_path, Path("a.jpg"))] == [
        labels.tolist() for labels in maps
    ]
    Image.fromarray(maps[0].astype(np.uint8)).save(tmp_path / "b.png")
    (labels,) = read_human_segmentations(tmp_path, Path("b.jpg"))
    assert labels.tolist() == [[1, 2, 2]]


def test_files_that_hold_no_human_segmentation(tmp_path):
    with pytest.raises(
        ValueError, match=r"holds neither c\.mat nor c\.png, the human segmentation of c\.jpg"
    ):
        read_human_segmentations(tmp_path, tmp_path / "c.jpg")
    Image.new("RGB", (3, 2)).save(tmp_path / "c.png")
    with pytest.raises(
        ValueError,
        match=r"c\.png holds no human segmentation \(expected one label a pixel, "
        r"got shape \(2, 3, 3\)\)",
    ):
        read_human_segmentations(tmp_path, tmp_path / "c.jpg")
    savemat(tmp_path / "d.mat", {"groundTruth": np.zeros((60, 60))}, do_compression=True)
    whole = (tmp_path / "d.mat").read_bytes()
    for data in (whole[:20], whole[:-10], whole[:140] + bytes(20) + whole[160:], whole):
        (tmp_path / "d.mat").write_bytes(data)
        with pytest.raises(ValueError, match=r"d\.mat holds no human segmentation"):
            read_human_segmentations(tmp_path, tmp_path / "d.jpg")
    savemat(tmp_path / "e.mat", {"other": 1})
    with pytest.raises(ValueError, match=r"e\.mat holds no human segmentation \('groundTruth'\)"):
        read_human_segmentations(tmp_path, tmp_path / "e.jpg")
