"""Rows, tables and scores of the region probe, on colours whose answer is known."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.measures.knn import LabelledRegions
from regiontok.probe.regions import table as tables
from regiontok.probe.regions.features import Subject, rows_of_grid
from regiontok.probe.regions.judge import frequent_classes, judged, split_images
from regiontok.probe.regions.labelled import LabelledImage, LabelledSet
from regiontok.probe.regions.table import joined_tables, kept_table


class Halves(LabelledSet):
    """Pictures whose left half is dark and whose right half is light; the third is broken."""

    identity = "halves"

    def __len__(self) -> int:
        return 3

    def name(self, index: int) -> str:
        return f"half {index}"

    def read(self, index: int, left_out: Counter[str]) -> LabelledImage:
        if index == 2:
            raise ValueError("half 2 is broken")
        pixels = np.zeros((4, 8, 3), np.uint8)
        pixels[:, 4:] = 200
        masks = np.zeros((2, 4, 8), bool)
        masks[0, :, :4] = masks[1, :, 4:] = True
        return LabelledImage(Picture.of(pixels), PixelMasks.from_dense(masks), ("dark", "light"))


class Colours(Subject):
    """The mean colour of patches of two pixels, and how often it was asked."""

    title, fingerprint, asked = "colours", "colours", 0

    def rows(self, image, rng, most):
        self.asked += 1
        pixels = torch.from_numpy(image.picture.pixels.copy()).float()
        features = pixels.unflatten(0, (2, 2)).unflatten(2, (4, 2)).mean((1, 3))
        frame = Frame.stretch((4, 8), (4, 8), (2, 2))
        return rows_of_grid(PatchGrid(features, frame), image, rng, most)


def test_rows_are_means_by_area_and_patches_take_the_label_that_covers_most():
    frame = Frame.stretch((2, 8), (2, 8), (2, 2))
    features = torch.tensor([[[0.0], [1.0], [2.0], [3.0]]])
    masks = np.zeros((2, 2, 8), bool)
    masks[0, :, :3] = True  # the first patch and half of the second
    masks[1, :, 2:8] = True  # the others
    image = LabelledImage(
        Picture.of(np.zeros((2, 8, 3), np.uint8)), PixelMasks.from_dense(masks), ("a", "b")
    )
    rows = rows_of_grid(PatchGrid(features, frame), image, np.random.default_rng(0), 9)
    assert rows.rows[:, 0].tolist() == pytest.approx([1 / 3, 2.0])
    assert rows.of_patch.tolist() == [0, 1, 1, 1]
    few = rows_of_grid(PatchGrid(features, frame), image, np.random.default_rng(0), 2)
    assert len(few.patches) == 2


def test_a_table_is_made_once_and_a_damaged_file_is_made_anew(tmp_path):
    subject = Colours()
    table = kept_table(subject, Halves(), cache=tmp_path, most=3)
    assert table.rows[:, 0].tolist() == [0, 200, 0, 200]
    assert table.images.tolist() == [0, 0, 1, 1]
    assert table.classes == ("dark", "light")
    assert table.failed == [{"image": "half 2", "error": "half 2 is broken"}]
    again = kept_table(subject, Halves(), cache=tmp_path, most=3)
    assert subject.asked == 2
    assert torch.equal(again.rows, table.rows)
    assert again.failed == table.failed
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    assert torch.equal(kept_table(subject, Halves(), cache=tmp_path, most=3).rows, table.rows)
    assert subject.asked == 4
    both = joined_tables(table, table, 3)
    assert both.images.tolist() == [0, 0, 1, 1, 3, 3, 4, 4]


def test_a_set_without_a_usable_region_is_refused(monkeypatch):
    class Broken(Halves):
        def read(self, index, left_out):
            raise ValueError("no photo")

    with pytest.raises(ValueError, match=r"no labelled region among 3 images.*3 images cannot be"):
        kept_table(Colours(), Broken())
    assert tables.FORM == 1


def data(noise: float, seed: int = 0) -> LabelledRegions:
    rng = np.random.default_rng(seed)
    labels = torch.arange(240) % 3
    features = torch.eye(3)[labels] + noise * torch.from_numpy(rng.normal(size=(240, 3))).float()
    return LabelledRegions(features, labels, torch.arange(240) // 6)


@pytest.mark.parametrize("probe", ["knn", "logistic", "ridge"])
def test_classes_are_found_and_noise_is_at_chance_within_its_interval(probe):
    names = ("a", "b", "c")
    good, bad = (
        judged(data(noise), data(noise, 1), names, probe=probe, resamples=200)
        for noise in (0.1, 100.0)
    )
    assert good.accuracy.value == good.class_accuracy.value == 1
    assert {score.mistaken for score in good.classes} == {""}
    assert bad.accuracy.low < 1 / 3 < bad.accuracy.high
    assert bad.chance == pytest.approx(1 / 3)
    assert (bad.train, bad.test, bad.images) == (240, 240, 40)
    assert sum(score.regions for score in bad.classes) == 240


def test_the_interval_is_over_images_not_over_regions():
    # every image is wholly right or wholly wrong: six times fewer things vary than there are rows
    train = LabelledRegions(torch.eye(2), torch.tensor([0, 1]), torch.tensor([0, 1]))
    features = torch.eye(2)[torch.arange(120) // 60]
    test = LabelledRegions(features, torch.zeros(120).long(), 2 + torch.arange(120) // 6)
    score = judged(train, test, ("a", "b"), k=1, resamples=1000)
    assert score.accuracy.value == 0.5
    assert score.accuracy.high - score.accuracy.low > 0.35  # 0.18 over 120 independent regions


def test_splits_take_whole_images_and_follow_the_seed():
    images = torch.arange(40) // 4
    train, test = split_images(images, 0.3, seed=0)
    assert not set(images[train].tolist()) & set(images[test].tolist())
    assert len(images[test].unique()) == 3
    assert torch.equal(test, split_images(images, 0.3, seed=0)[1])
    assert not torch.equal(test, split_images(images, 0.3, seed=1)[1])
    with pytest.raises(ValueError, match="1 images with labelled regions cannot be divided"):
        split_images(torch.zeros(4), 0.5, seed=0)


def test_rare_classes_and_classes_that_are_never_trained_are_left_out():
    rows = LabelledRegions(torch.eye(4), torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 1, 2]))
    assert frequent_classes(rows, 2).labels.tolist() == [0, 0, 0, -1]
    score = judged(rows, rows, ("a", "b"), k=1, resamples=0)
    assert score.test == 4
    without = LabelledRegions(torch.eye(4), torch.tensor([0, 0, 2, 1]), torch.arange(4))
    assert judged(rows, without, ("a", "b", "c"), k=1, resamples=0).test == 3
