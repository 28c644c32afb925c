"""Pictures of tokens: a clip's PCA, the sphere and its page, distances; and the three commands."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from regiontok.cli.app import app
from regiontok.core.clip import Clip
from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.jobs.probe import distances
from regiontok.jobs.probe.clip_pca import coloured_clip, save_clip
from regiontok.jobs.probe.sphere import Sphere, sphere_of
from regiontok.jobs.probe.sphere_page import sphere_page
from regiontok.measures.knn import LabelledRegions
from regiontok.methods import Encoder
from regiontok.system.drawn import is_drawn


class Colours(Encoder):
    """Patches of eight pixels by their mean colour."""

    width = 3

    def frame(self, size):
        return Frame.stretch(size, (32, 48), (8, 8))

    def encode(self, pictures):
        grids = []
        for picture in pictures:
            frame = self.frame(picture.size)
            pixels = torch.from_numpy(frame.place(picture)).float()
            features = pixels.unflatten(0, (4, 8)).unflatten(2, (6, 8)).mean((1, 3))
            grids.append(PatchGrid(features, frame, key=picture.key))
        return grids


@pytest.fixture
def clip():
    """A bright square that moves to the right over a dark gradient."""
    frames = np.zeros((4, 32, 48, 3), np.uint8)
    frames[..., 2] = np.arange(48)
    for number in range(4):
        frames[number, 8:24, 8 * number : 8 * number + 16] = [220, 60, 20]
    return Clip.of(frames, 2)


@pytest.mark.parametrize("fitted", ["joint", "first"])
def test_what_moves_keeps_its_colour(clip, fitted):
    coloured = coloured_clip(Colours(), clip, fitted=fitted)
    colours = [coloured.basis.colours(grid.pooled) for grid in coloured.grids]
    square = torch.stack([frame[1, number] for number, frame in enumerate(colours)])
    assert (square - square[0]).abs().max() < 0.02
    assert (colours[0][1, 0] - colours[3][1, 0]).abs().max() > 0.5  # it has moved away


def test_an_animation_has_all_frames_and_a_sheet_some(clip, tmp_path):
    coloured = coloured_clip(Colours(), clip)
    save_clip(coloured, tmp_path / "a.webp", title="x", most=2, longest=96)
    with Image.open(tmp_path / "a.webp") as animation:
        assert (animation.n_frames, animation.size) == (4, (2 * 96 + 8, 64))
    save_clip(coloured, tmp_path / "a.png", title="x", most=2, longest=96)
    assert is_drawn(tmp_path / "a.png")
    assert is_drawn(tmp_path / "a.webp")
    with pytest.raises(ValueError, match=r"\.webp, \.gif or \.png"):
        save_clip(coloured, tmp_path / "a.bmp", title="x", most=2, longest=96)


def clusters(count: int = 45) -> LabelledRegions:
    rng = np.random.default_rng(0)
    labels = torch.arange(count) % 3
    features = 3 * torch.eye(3)[labels] + 0.1 * torch.from_numpy(rng.normal(size=(count, 3)))
    return LabelledRegions(features, labels, torch.arange(count) // 3)


@pytest.mark.slow
def test_regions_of_a_class_lie_together_on_the_sphere():
    pytest.importorskip("sklearn")
    images = tuple(f"{number}.jpg" for number in range(15))
    sphere = sphere_of("lite", clusters(), ("a", "b", "c"), images, most=30)
    assert np.allclose(np.linalg.norm(sphere.points, axis=1), 1)
    same = np.equal.outer(np.array(sphere.classes), np.array(sphere.classes))
    cosine = sphere.points @ sphere.points.T
    assert cosine[same].mean() > cosine[~same].mean() + 0.5
    assert len(sphere.points) == 30
    with pytest.raises(ValueError, match="needs 8 labelled regions, got 6"):
        sphere_of("lite", clusters(6), ("a", "b", "c"), images)


def test_the_page_asks_no_network_and_no_label_ends_its_script():
    points = np.eye(3)
    name = "</script><b>"
    sphere = Sphere("lite", points, (name, "red", name), ("1.jpg", "2.jpg", "1.jpg"))
    page = sphere_page([sphere], data="a & b")
    assert page.count("</script>") == 1
    assert not re.search(r"(?:src|href)=|https?:|@import|fetch\(", page)
    assert "a &amp; b" in page
    data = json.loads(re.search(r"const DATA = (.*);\n", page)[1])
    assert data["names"] == [name, "red"]
    assert data["spheres"][0]["points"] == [1000, 0, 0, 0, 1000, 0, 0, 0, 1000]
    assert data["spheres"][0]["images"] == [0, 1, 0]


def test_distances_of_images_and_of_classes(clip):
    tokens = distances.token_distances("colours", Colours(), clip.frames)
    assert (tokens.sets, tokens.pairs) == (4, 4 * 24 * 23)
    classes = distances.class_distances("colours", clusters())
    assert (classes.sets, classes.of) == (3, "regions of a class")
    assert float(classes.scaled.sum()) == pytest.approx(1)
    assert classes.mean < 0.1
    lines = distances.comma_separated([tokens, classes]).splitlines()
    assert len(lines) == 1 + 4 * 1000
    alone = LabelledRegions(torch.eye(2), torch.tensor([0, 1]), torch.arange(2))
    with pytest.raises(ValueError, match="no class has two regions"):
        distances.class_distances("colours", alone)


@pytest.mark.slow
def test_the_commands_from_end_to_end(clip, tmp_path):
    pytest.importorskip("matplotlib")
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, frame in enumerate(clip.frames):
        Image.fromarray(frame.pixels).save(photos / f"{number}.png")
    encoder = "filters(size=64, fourier=0)"
    scenes = ["--data", "scenes(6, size=64, labels='colour')"]
    commands = {
        "pca.png": ["pca", str(photos), "--encoder", encoder, "--solver", "randomised"],
        "sphere.html": ["sphere", encoder, *scenes, "--fewest", "2"],
        "distances": ["distances", encoder, "--images", str(photos), *scenes],
    }
    for name, words in commands.items():
        result = CliRunner().invoke(
            app, ["probe", "pictures", *words, "--out", str(tmp_path / name)]
        )
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout.strip().splitlines()[-1])["out"].endswith(name)
        assert (tmp_path / name).exists()
    assert (tmp_path / "distances/distances.png").is_file()
