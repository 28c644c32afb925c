"""PCA to RGB: scikit-learn's components, one sign, one scale, and what is foreground."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from regiontok.measures.pca import pca_rgb


def drawn(*shapes, d=6, seed=0):
    rng = np.random.default_rng(seed)
    spread = np.arange(d, 0, -1) ** 2.0
    return [torch.from_numpy(rng.normal(size=(*shape, d)) * spread) for shape in shapes]


def test_by_hand():
    """Two patches on a line end at 0 and 1 of the first colour; the rest has no variance."""
    (colours,) = pca_rgb([torch.tensor([[[0.0, 1.0], [0.0, 4.0]]])])
    assert colours.tolist() == [[[0.0, 0.5, 0.5], [1.0, 0.5, 0.5]]]


def test_components_are_scikit_learns_up_to_sign():
    images = drawn((7, 9), (5, 8))
    colours = torch.cat([image.flatten(0, 1) for image in pca_rgb(images)]).numpy()
    flat = torch.cat([image.flatten(0, 1) for image in images]).numpy()
    model = PCA(3).fit(flat)
    signs = np.sign(model.components_[range(3), np.abs(model.components_).argmax(1)])
    scores = model.transform(flat) * signs
    # 103 patches: one at either end is cut
    lowest, highest = (np.sort(scores, 0)[1], np.sort(scores, 0)[-2])
    np.testing.assert_allclose(
        colours, np.clip((scores - lowest) / (highest - lowest), 0, 1), atol=1e-9
    )


def test_the_order_of_images_changes_nothing():
    images = drawn((7, 9), (5, 8), (6, 6))
    for colours, other in zip(pca_rgb(images), pca_rgb(images[::-1])[::-1], strict=True):
        torch.testing.assert_close(colours, other, rtol=0, atol=1e-9)


def test_sign_is_fixed():
    """A copy in another rounding has the same colours, not their negatives."""
    images = drawn((7, 9))
    torch.testing.assert_close(
        pca_rgb([images[0].float()])[0], pca_rgb(images)[0], rtol=0, atol=1e-5
    )


def test_joint_colours_mean_equal_features_and_per_image_ones_do_not():
    images = drawn((4, 5), (6, 5))
    images[1][2, 3] = images[0][1, 1]
    images[1] = images[1] * 0.5 + 3
    images[1][0, 0] = images[0][2, 2]
    joint, apart = pca_rgb(images), pca_rgb(images, joint=False)
    torch.testing.assert_close(joint[0][2, 2], joint[1][0, 0])
    assert not torch.allclose(apart[0][2, 2], apart[1][0, 0])
    torch.testing.assert_close(apart[1], pca_rgb(images[1:])[0])


def test_an_outlier_does_not_leave_the_rest_grey():
    (image,) = drawn((20, 20))
    image[3, 4, 0] = 1e4
    (colours,) = pca_rgb([image])
    assert colours.flatten(0, 1).std(0).min() > 0.15


def centred(shift=0.0):
    """An object of 4 x 4 in a background of 10 x 10; they lie far apart."""
    rng = np.random.default_rng(3)
    image = torch.from_numpy(rng.normal(size=(10, 10, 6)) * 0.3) + shift
    image[3:7, 3:7, 2] += 10
    return image


@pytest.mark.parametrize("sign", [1, -1])
def test_foreground_is_what_is_not_like_the_border(sign):
    (colours,) = pca_rgb([sign * centred()], foreground=True)
    coloured = (colours > 0).any(-1)
    inside = torch.zeros(10, 10, dtype=torch.bool)
    inside[3:7, 3:7] = True
    assert not coloured[~inside].any()
    # a patch with all three colours at their lowest is black as well
    assert coloured[inside].float().mean() > 0.9
    assert colours[3:7, 3:7].flatten(0, 1).std(0).min() > 0.15


def test_foreground_of_one_feature_is_none():
    (colours,) = pca_rgb([torch.ones(3, 3, 4)], foreground=True)
    assert (colours == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_flat_tiny_and_narrow_inputs(dtype):
    for image in (torch.full((3, 4, 5), 0.1), torch.ones(1, 1, 5), torch.zeros(2, 2, 1)):
        (colours,) = pca_rgb([image.to(dtype)])
        assert colours.shape == (*image.shape[:2], 3)
        assert (colours == 0.5).all()
    assert pca_rgb([]) == []


def test_range_and_shapes():
    for joint in (True, False):
        for foreground in (True, False):
            colours = pca_rgb(drawn((4, 5), (1, 7)), joint, foreground)
            assert [tuple(image.shape) for image in colours] == [(4, 5, 3), (1, 7, 3)]
            assert all(0 <= float(image.min()) <= float(image.max()) <= 1 for image in colours)


def test_refusals():
    with pytest.raises(ValueError, match=r"images of one encoder have one width, got \[5, 6\]"):
        pca_rgb([*drawn((2, 2)), *drawn((2, 2), d=5)])
    with pytest.raises(ValueError, match="NaN or infinite at 4 of 4 patches"):
        pca_rgb([torch.full((2, 2, 3), float("nan"))])
