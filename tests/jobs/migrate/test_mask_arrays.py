"""Boolean arrays out of .npy files; `test_og_llava.py` has the files that are refused."""

from __future__ import annotations

import numpy as np
import pytest

from regiontok.jobs.migrate.mask_arrays import read_mask_array


@pytest.mark.parametrize(
    ("array", "shape"),
    [
        (np.zeros((0, 5, 6), bool), (0, 5, 6)),
        (np.array([]), (0, 0, 0)),
        (np.ones((5, 6), bool), (1, 5, 6)),
        (np.ones((2, 5, 6), bool, order="F"), (2, 5, 6)),
    ],
    ids=["no mask", "an empty list", "a mask", "two masks by column"],
)
def test_one_mask_several_and_none(tmp_path, array, shape):
    np.save(tmp_path / "a_masks.npy", array)
    masks = read_mask_array(tmp_path / "a_masks.npy")
    assert (masks.shape, masks.dtype) == (shape, bool)
    assert masks.all()
