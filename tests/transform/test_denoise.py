"""The mean positional artifact is estimated, kept in a file, and refused on another encoder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from regiontok.core.frame import Frame
from regiontok.settings import registry
from regiontok.transform.denoise import (
    Denoise,
    load_artifact,
    mean_artifact,
    resampled,
    save_artifact,
)
from samples.grids import grid_of


@dataclass(frozen=True)
class Eye:
    """What the artifact's file asks of an encoder."""

    layer: int = -1
    size: int = 64
    weights: str = "w1"
    version: ClassVar[int] = 1

    @property
    def identity(self):
        return self.weights

    @property
    def layer_name(self):
        return str(self.layer)


def pattern(h=6, w=8, d=5):
    """An artifact with mean zero over positions."""
    values = torch.from_numpy(np.random.default_rng(0).normal(size=(h, w, d)))
    return values - values.mean((0, 1))


def images(count, artifact, seed=1):
    rng = np.random.default_rng(seed)
    return [
        grid_of(artifact + 2 + torch.from_numpy(rng.normal(size=artifact.shape)))
        for _ in range(count)
    ]


def test_by_hand():
    """Images of one row: what is at a position above the mean of its image, averaged."""
    first, second = torch.tensor([[[1.0], [3.0]]]), torch.tensor([[[10.0], [14.0]]])
    assert mean_artifact([grid_of(first), grid_of(second)]).tolist() == [[[-1.5], [1.5]]]
    assert mean_artifact(grid_of(features) for features in (first, second)).tolist() == [
        [[-1.5], [1.5]]
    ], "from a generator too"


@pytest.mark.parametrize("count", [10, 160])
def test_an_artifact_is_found_again_up_to_one_over_the_images(count):
    error = (mean_artifact(images(count, pattern())) - pattern()).square().mean()
    assert float(error) == pytest.approx(1 / count, rel=0.25)


def test_subtracting_it_leaves_the_content(tmp_path):
    path = save_artifact(tmp_path / "a.safetensors", mean_artifact(images(400, pattern())))
    with_it, without = images(1, pattern(), seed=9)[0], images(1, 0 * pattern(), seed=9)[0]
    after = Denoise(str(path)).one(with_it).features
    before_error, after_error = (
        (features - without.features).square().mean() for features in (with_it.features, after)
    )
    assert float(after_error) < 0.01 * float(before_error)


def test_padding_is_not_part_of_it():
    frame = Frame.letterbox((12, 24), (12, 12), (2, 2))
    features = torch.ones(6, 6, 2)
    features[2, 3] = 19
    features[~frame.valid] = 500
    artifact = mean_artifact([grid_of(features, frame)])
    assert bool((artifact[~frame.valid] == 0).all())
    assert float(artifact[frame.valid].sum()) == pytest.approx(0, abs=1e-4)
    assert float(artifact[2, 3, 0]) > 15


def test_another_grid_gets_it_resampled(tmp_path):
    ramp = torch.linspace(-1, 1, 8)[None, :, None].repeat(4, 1, 2)
    path = save_artifact(tmp_path / "a.safetensors", ramp)
    halved = Denoise(str(path)).one(grid_of(torch.zeros(2, 4, 2))).features
    torch.testing.assert_close(
        -halved[0, 1:3, 0], ramp[0].view(4, 2, 2).mean(1)[1:3, 0], atol=0.02, rtol=0
    )
    doubled = -Denoise(str(path)).one(grid_of(torch.zeros(8, 16, 2))).features
    assert bool((doubled[0, 1:, 0] >= doubled[0, :-1, 0]).all())
    assert torch.equal(resampled(ramp, (4, 8)), ramp)


def test_the_file_knows_its_encoder(tmp_path):
    name = str(save_artifact(tmp_path / "a.safetensors", pattern(), Eye(), images=7))
    known = load_artifact(name)
    assert torch.equal(known.values, pattern().float())
    assert (known.weights, known.layer, known.images) == ("w1", "-1", 7)
    Denoise(name).check(Eye())
    Denoise(name).check(Eye(size=128))
    for other in (Eye(weights="w2"), Eye(layer=-2)):
        with pytest.raises(
            ValueError,
            match=r"was estimated on .*layer=-1.*, but the encoder is .*: estimate it anew",
        ):
            Denoise(name).check(other)
    # not told, so not refused
    Denoise(str(save_artifact(tmp_path / "b.safetensors", pattern()))).check(Eye())


def test_identity_is_of_the_numbers_not_of_the_path(tmp_path):
    denoise, copy, other = (Denoise(str(tmp_path / f"{name}.safetensors")) for name in "abc")
    save_artifact(denoise.artifact, pattern(), Eye())
    save_artifact(copy.artifact, pattern())
    save_artifact(other.artifact, 2 * pattern())
    assert denoise.identity == copy.identity != other.identity
    assert len(denoise.identity) == 32


def test_a_file_written_anew_is_read_anew(tmp_path):
    path = tmp_path / "a.safetensors"
    for level in (1.0, 2.0):
        save_artifact(path, torch.full((1, int(level), 3), level))
        assert Denoise(str(path)).one(grid_of(torch.zeros(2, 2, 3))).features.unique().tolist() == [
            -level
        ]


def test_a_clip_goes_frame_by_frame(tmp_path):
    path = save_artifact(tmp_path / "a.safetensors", pattern())
    clip = torch.zeros(3, 6, 8, 5)
    assert torch.equal(
        Denoise(str(path)).one(grid_of(clip)).features, -pattern().float().expand(3, 6, 8, 5)
    )


def test_refusals(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(
        ValueError,
        match=r"no such file; regiontok\.transform\.denoise\.mean_artifact and save_artifact "
        r"make one",
    ):
        Denoise(str(path)).one(grid_of(pattern()))
    path.write_text("nothing of the kind")
    with pytest.raises(ValueError, match="is no artifact that save_artifact wrote"):
        load_artifact(path)
    save_artifact(path, pattern(d=4))
    with pytest.raises(
        ValueError,
        match="has a width of 4, the features 5: it was estimated on another encoder or layer",
    ):
        Denoise(str(path)).one(grid_of(pattern()))
    with pytest.raises(
        ValueError,
        match=r"expected images on one grid \[h w d\], got \(6, 8, 5\) and \(8, 6, 5\): an "
        r"artifact is of positions",
    ):
        mean_artifact([grid_of(pattern()), grid_of(pattern(8, 6))])
    with pytest.raises(ValueError, match="got none"):
        mean_artifact([])
    with pytest.raises(
        ValueError, match=r"expected images on one grid \[h w d\], got \(2, 3, 3, 4\)"
    ):
        mean_artifact([grid_of(torch.zeros(2, 3, 3, 4))])
    with pytest.raises(ValueError, match=r"expected a finite artifact \[h w d\], got \[3\]"):
        save_artifact(path, torch.ones(3))


def test_spec_names_the_file():
    assert (
        registry.render(registry.build("transform", "denoise('a.safetensors')"))
        == "denoise('a.safetensors')"
    )
    assert replace(Denoise("a"), artifact="b") == Denoise("b")
