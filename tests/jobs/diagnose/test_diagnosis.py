"""`regiontok diagnose` end to end, on encoders whose right order is known."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.data.collect import collect
from regiontok.encoders.filters import Filters
from regiontok.encoders.lite import Lite
from regiontok.jobs.diagnose.columns import COLUMNS, formatted, summary, terminal_tables, value
from regiontok.jobs.diagnose.diagnosis import VARIANTS, Diagnosis, Options
from regiontok.jobs.diagnose.journal import Journal
from regiontok.jobs.diagnose.photo import Photo
from regiontok.jobs.diagnose.subjects import Subject, subjects
from regiontok.methods import CanvasEncoder
from regiontok.miniworld.scenes import make_scene

ENCODER = "filters(size=112, patch=14, fourier=0)"
WIDTH = 32


@dataclass(frozen=True)
class Field(CanvasEncoder):
    """An encoder made to be judged, by what it tells of the colour of each patch.

    `smooth` tells that alone; `noisy` adds noise; `registers` and `artifacts` add a few long
    vectors, at places that the photo or that nothing decides; `global_` adds the whole photo's mean
    colour to every patch; `placed` tells where the patch lies, too.
    """

    kind: str
    size: int = 96
    weights: str = "made"
    threshold: ClassVar[float] = 0.7
    identity: ClassVar[str] = "none"
    version: ClassVar[int] = 1
    width: ClassVar[int] = 4

    @property
    def is_untrained(self):
        return self.weights == "random"

    def untrained(self):
        return self.but(weights="random")

    def frame(self, size):
        return Frame.stretch(size, (self.size, self.size), (8, 8))

    def encode(self, pictures):
        return [self._one(picture) for picture in pictures]

    def _one(self, picture):
        frame = self.frame(picture.size)
        h, w = frame.grid
        rng = np.random.default_rng(int(Picture.of(np.array(picture.pixels)).key[:8], 16))
        cells = np.asarray(picture.pil.resize((w, h), Image.Resampling.BOX), np.float64) / 255 - 0.5
        if self.kind == "global_":
            cells = cells + cells.mean((0, 1))
        fixed = np.random.default_rng(0)
        # waves of the colour: all of nearly one length, alike where colours are
        values = np.cos(
            cells @ fixed.standard_normal((3, WIDTH)) * 4 + fixed.uniform(0, 6.3, WIDTH)
        )
        if self.kind == "noisy":
            values = values + rng.standard_normal(values.shape)
        if self.kind in ("registers", "artifacts"):
            places = (rng if self.kind == "registers" else np.random.default_rng(1)).permutation(
                h * w
            )[:5]
            values.reshape(-1, WIDTH)[places] = 40.0
        if self.kind == "placed":
            values[..., 0], values[..., 1] = np.linspace(-3, 3, h)[:, None], np.linspace(-3, 3, w)
        return PatchGrid(torch.from_numpy(values).float(), frame, key=picture.key)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six scenes, each with its own label map as a human segmentation."""
    root = tmp_path_factory.mktemp("diagnose")
    (root / "humans").mkdir()
    (root / "photos").mkdir()
    for seed in range(6):
        scene = make_scene(seed, (96, 128))
        Image.fromarray(scene.pixels).save(root / "photos" / f"{seed}.png")
        Image.fromarray(scene.labels.astype(np.uint8)).save(root / "humans" / f"{seed}.png")
    return root


def photos(folder, count=6):
    return collect([str(folder / "photos" / f"{seed}.png") for seed in range(count)])


def run(folder, out, encoders=(ENCODER,), count=3, layers="", **options):
    chosen = subjects(list(encoders), layers)
    diagnosis = Diagnosis(
        chosen,
        photos(folder, count),
        Options(
            out=out, humans=folder / "humans", date="2026-01-02", about="six scenes", **options
        ),
    )
    return diagnosis, diagnosis.run()


def diagnosis_of(folder, out, *kinds, variants=("raw",)):
    """Rows of made-up encoders by kind and variant."""
    chosen = [Subject(Field(kind), kind) for kind in kinds]
    results = Diagnosis(
        chosen, photos(folder), Options(out=out, humans=folder / "humans", variants=variants)
    ).run()
    return {(row["encoder"], row["variant"]): row for row in results["rows"]}


@pytest.fixture(scope="module")
def results(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    ticks = []
    diagnosis = Diagnosis(
        subjects([ENCODER]),
        photos(folder, 3),
        Options(out=out, humans=folder / "humans", date="2026-01-02"),
    )
    written = diagnosis.run(lambda: ticks.append(1))
    assert len(ticks) == diagnosis.total == 6  # one pass to measure, one for the artifact
    assert json.loads((out / "results.json").read_text()) == written
    return written


def test_every_variant_has_a_row_with_every_number(results):
    assert [row["variant"] for row in results["rows"]] == list(VARIANTS)
    raw = results["rows"][0]
    assert (raw["grid"], raw["width"], raw["photos"], raw["human_photos"]) == ([8, 8], 64, 3, 3)
    assert {column.key for column in COLUMNS if value(raw, column.key) is None} <= {
        "outlier_fixed",
        "outlier_border",
    }
    assert list(raw["regions"]) == ["0.5", "0.6", "0.7", "0.8", "0.9"]
    assert list(raw["regions"].values()) == sorted(raw["regions"].values())
    assert all(0 < share < 1 for share in raw["covering"].values())
    assert list(raw["decay"]) == ["1", "2", "3", "4", "6"]
    assert sum(raw["norm_histogram"]) == pytest.approx(1, abs=1e-3)
    assert (np.array(raw["outlier_map"]).shape, results["date"]) == ((8, 8), "2026-01-02")
    assert results["photos"]["with_humans"] == results["photos"]["count"] == 3


def test_rms_leaves_cosines_and_evens_norms(results):
    raw, rms = results["rows"][:2]
    assert rms["metrics"]["neighbour_cosine"] == pytest.approx(
        raw["metrics"]["neighbour_cosine"], abs=1e-4
    )
    assert rms["metrics"]["norm_spread"] < 1e-3 < raw["metrics"]["norm_spread"]


def test_table_and_closing_line(results):
    [table] = terminal_tables(results)
    assert table.row_count == len(VARIANTS)
    line = json.loads(json.dumps(summary(results), allow_nan=False))
    assert (line["command"], line["set_aside"], len(line["rows"])) == ("diagnose", 0, len(VARIANTS))
    assert line["rows"][0]["border_auc"] == results["rows"][0]["metrics"]["border_auc"]


def test_negative_and_missing_numbers_are_shown(results):
    column = next(column for column in COLUMNS if column.key == "outlier_fixed")
    row = {"metrics": {"outlier_fixed": -0.125}}
    assert (formatted(row, column), formatted({"metrics": {}}, column)) == ("−0.12", "–")


@pytest.mark.slow
def test_resume_measures_nothing_again_and_other_settings_everything(folder, tmp_path, monkeypatch):
    encoded = []
    encode = Filters.encode
    monkeypatch.setattr(
        Filters,
        "encode",
        lambda self, pictures: encoded.append(len(pictures)) or encode(self, pictures),
    )
    _, first = run(folder, tmp_path)
    # the artifact; each photo with and without its block; position
    assert sum(encoded) == 3 + 2 * 3 + 3
    encoded.clear()
    _, again = run(folder, tmp_path, resume=True)
    assert encoded == []
    assert again == first
    _, seeded = run(folder, tmp_path, resume=True, seed=1, overwrite=True)
    assert sum(encoded) == 2 * 3  # other blocks; position is of the same photos
    assert seeded["rows"][0]["metrics"]["leak"] != first["rows"][0]["metrics"]["leak"]
    encoded.clear()
    _, afresh = run(folder, tmp_path, overwrite=True)
    assert sum(encoded) == 12
    assert afresh == first


@pytest.mark.slow
def test_a_stopped_run_goes_on_and_a_new_photo_costs_only_what_it_changes(
    folder, tmp_path, monkeypatch
):
    _, complete = run(folder, tmp_path / "whole")
    encoded = []
    encode = Filters.encode

    def stopping(self, pictures):
        encoded.append(len(pictures))
        if sum(encoded) > 6:
            raise KeyboardInterrupt
        return encode(self, pictures)

    monkeypatch.setattr(Filters, "encode", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "part")
    journal = tmp_path / "part" / "measured.jsonl"
    journal.write_bytes(journal.read_bytes() + b'{"key": "torn')
    monkeypatch.setattr(
        Filters,
        "encode",
        lambda self, pictures: encoded.append(len(pictures)) or encode(self, pictures),
    )
    encoded.clear()
    _, resumed = run(folder, tmp_path / "part", resume=True)
    assert resumed == complete
    assert sum(encoded) == 2 * 2 + 3  # the artifact and the first photo were done
    assert all(json.loads(line) for line in journal.read_text().splitlines())
    encoded.clear()
    run(folder, tmp_path / "part", resume=True, count=4, variants=("raw", "rms"))
    # the old photos' own numbers stay; position is of four photos now
    assert sum(encoded) == 2 * 1 + 4


def test_another_human_segmentation_is_measured_anew(folder, tmp_path):
    humans = tmp_path / "humans"
    humans.mkdir()
    for seed in range(2):
        Image.fromarray(np.eye(96, 128, dtype=np.uint8)).save(humans / f"{seed}.png")
    options = Options(out=tmp_path / "out", humans=humans, variants=("raw",), resume=True)
    first = Diagnosis(subjects([ENCODER]), photos(folder, 2), options).run()["rows"][0]
    for seed in range(2):
        (humans / f"{seed}.png").write_bytes((folder / "humans" / f"{seed}.png").read_bytes())
    second = Diagnosis(subjects([ENCODER]), photos(folder, 2), options).run()["rows"][0]
    assert second["metrics"]["border_auc"] != first["metrics"]["border_auc"]


@pytest.mark.slow
@pytest.mark.parametrize("change", ["overwritten", "gone"])
def test_a_photo_that_changes_during_the_run_leaves_no_number_behind(
    folder, tmp_path, monkeypatch, change
):
    copied = tmp_path / "photos"
    shutil.copytree(folder / "photos", copied)
    items, encoder = collect([str(copied)])[:3], [Subject(Field("smooth"), "smooth")]
    options = Options(out=tmp_path / "out", sample=2)
    clean = Diagnosis(encoder, items, Options(out=tmp_path / "clean", sample=2)).run()
    diagnosis = Diagnosis(encoder, items, options)
    last = diagnosis.photos[-1].item.path
    content, encode = last.read_bytes(), Field.encode

    def changing(self, pictures):
        if change == "gone":
            last.unlink(missing_ok=True)
        else:
            last.write_bytes((folder / "photos" / "3.png").read_bytes())
        return encode(self, pictures)

    monkeypatch.setattr(Field, "encode", changing)
    results = diagnosis.run()
    assert results["rows"][0]["photos"] == 2
    assert "changed during the run" in results["failed"][0]["error"]
    assert len(results["pictures"]) == 2 - (last in [p.item.path for p in diagnosis._sample])
    monkeypatch.setattr(Field, "encode", encode)
    last.write_bytes(content)
    resumed = Diagnosis(encoder, items, replace(options, resume=True)).run()
    assert resumed["rows"] == clean["rows"]
    assert resumed["shown"] == clean["shown"]


def test_bad_photos_are_set_aside(folder, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    (tmp_path / "copy.png").write_bytes((folder / "photos" / "0.png").read_bytes())
    items = [
        *photos(folder, 2),
        *collect([str(tmp_path / "broken.jpg"), str(tmp_path / "copy.png")]),
    ]
    results = Diagnosis(
        subjects([ENCODER]), items, Options(out=tmp_path / "out", variants=("raw",))
    ).run()
    assert results["photos"]["count"] == 2
    errors = [failure["error"] for failure in results["failed"]]
    assert "not an image of a known format" in errors[0]
    assert "the same bytes as" in errors[1]
    assert len(errors) == 2
    [table] = terminal_tables(results)
    assert table.row_count == 1
    with pytest.raises(
        ValueError, match=r"none of 1 photos can be read; the first: .*not an image"
    ):
        Diagnosis(
            subjects([ENCODER]),
            collect([str(tmp_path / "broken.jpg")]),
            Options(out=tmp_path / "out"),
        )


def test_a_photo_that_the_encoder_refuses_is_set_aside(folder, tmp_path, monkeypatch):
    encode, bad = Field.encode, Picture.of(folder / "photos" / "1.png").key

    def refusing(self, pictures):
        if pictures[0].key == bad or self.kind == "global_":
            raise ValueError("features are NaN")
        return encode(self, pictures)

    monkeypatch.setattr(Field, "encode", refusing)
    result = Diagnosis(
        [Subject(Field("smooth"), "smooth")], photos(folder, 3), Options(out=tmp_path)
    ).run()
    assert [row["photos"] for row in result["rows"][:4]] == [2, 2, 2, 2]
    assert [failure["error"] for failure in result["failed"]] == ["smooth: features are NaN"]
    with pytest.raises(
        ValueError,
        match="global_ could be measured on none of 3 photos; the first: features are NaN",
    ):
        Diagnosis(
            [Subject(Field("global_"), "global_")],
            photos(folder, 3),
            Options(out=tmp_path / "other"),
        ).run()


def test_photos_without_human_borders_take_the_segmenters(folder, tmp_path):
    results = Diagnosis(
        subjects([ENCODER]), photos(folder, 2), Options(out=tmp_path, variants=("raw",))
    ).run()
    row = results["rows"][0]
    assert (row["covering"], row["covering_at_budget"], results["photos"]["with_humans"]) == (
        {},
        None,
        0,
    )
    assert row["metrics"]["border_auc"] > 0.5


@pytest.mark.slow
def test_smooth_noisy_registers_and_artifacts_are_told_apart(folder, tmp_path):
    rows = diagnosis_of(folder, tmp_path, "smooth", "noisy", "registers", "artifacts")
    smooth, noisy, registers, artifacts = (
        rows[kind, "raw"] for kind in ("smooth", "noisy", "registers", "artifacts")
    )
    for key in ("neighbour_gain", "border_auc"):
        assert value(smooth, key) > value(noisy, key) + 0.05
        assert value(smooth, key) > value(registers, key) > value(noisy, key)
    assert value(smooth, "covering_suggested") > value(noisy, "covering_suggested") + 0.1
    assert (
        value(smooth, "regions_suggested")
        < value(registers, "regions_suggested")
        < value(noisy, "regions_suggested")
    )
    assert (
        value(registers, "outlier_share")
        == value(artifacts, "outlier_share")
        == pytest.approx(5 / 144, abs=1e-4)
    )
    assert value(artifacts, "outlier_fixed") == 1
    assert value(registers, "outlier_fixed") < 0.3
    assert np.max(registers["outlier_map"]) < np.max(artifacts["outlier_map"]) == 1
    decay = list(smooth["decay"].values())
    assert decay[0] == max(decay)
    assert decay[0] - decay[-1] > 2 * (noisy["decay"]["1"] - noisy["decay"]["8"]) > 0


@pytest.mark.slow
def test_leaks_and_places_are_found(folder, tmp_path):
    rows = diagnosis_of(folder, tmp_path, "smooth", "global_", "placed")
    leak = {kind: value(rows[kind, "raw"], "leak") for kind in ("smooth", "global_")}
    assert leak["smooth"] < 1e-6 < 0.01 < leak["global_"]
    assert value(rows["placed", "raw"], "position_r2") > 0.99
    assert value(rows["smooth", "raw"], "position_r2") < 0.7


@pytest.mark.slow
def test_remedies_mend_what_they_are_for(folder, tmp_path):
    rows = diagnosis_of(
        folder, tmp_path, "artifacts", "placed", variants=("raw", "outliers filled", "denoise")
    )
    assert (
        value(rows["artifacts", "outliers filled"], "outlier_share")
        < value(rows["artifacts", "raw"], "outlier_share") / 2
    )
    raw, filled = (
        value(rows["artifacts", name], "neighbour_gain") for name in ("raw", "outliers filled")
    )
    assert filled > raw + 0.005
    assert value(rows["artifacts", "denoise"], "outlier_share") < value(
        rows["artifacts", "raw"], "outlier_share"
    )
    assert value(rows["placed", "denoise"], "position_r2") < 0.7


@pytest.mark.slow
def test_layers_stages_and_controls():
    lite = subjects(["lite"], "1,-1")
    assert [(subject.name, subject.layer, subject.encoder.stages) for subject in lite] == [
        ("lite", "stage 1", (1,)),
        ("lite", "stage 6", (6,)),
    ]
    assert [subject.encoder.stages for subject in subjects([Lite()], "all:3")] == [(0,), (3,), (6,)]
    assert [subject.title for subject in subjects([ENCODER, "lite"], "all")][:2] == [
        "filters(112, fourier=0)",
        "lite [stage 0]",
    ]
    deep = subjects(["timm('vit_tiny_patch16_224', weights='random')"], "-1, 0, -1")
    assert [(subject.name, subject.layer, subject.control) for subject in deep] == [
        ("timm('vit_tiny_patch16_224', weights='random')", "-1", True),
        ("timm('vit_tiny_patch16_224', weights='random')", "0", True),
    ]


def test_controls_are_the_same_networks_with_random_weights(folder, tmp_path):
    import regiontok.jobs.diagnose.subjects as module

    encoders = [Field("smooth"), Filters()]
    controls = module.subjects(encoders, control=True)
    assert [(subject.encoder, subject.control) for subject in controls] == [
        (encoders[0], False),
        (replace(encoders[0], weights="random"), True),
        (encoders[1], False),
    ]
    with pytest.raises(
        ValueError,
        match=r"no random-weight control of filters: only encoders with the field weights='random'",
    ):
        module.subjects(["filters"], control=True)


def test_bad_requests(tmp_path):
    with pytest.raises(ValueError, match="name at least one encoder"):
        subjects([])
    with pytest.raises(
        ValueError,
        match=r"expected layers as numbers with commas \(-1,-2\), all, or all:4; got 'last'",
    ):
        subjects(["lite"], "last")
    with pytest.raises(ValueError, match="expected all or all:N with N from 1 on, got 'all:0'"):
        subjects(["lite"], "all:0")
    with pytest.raises(ValueError, match="stages must be ascending numbers of blocks, 0 to 6"):
        subjects(["lite"], "9")
    with pytest.raises(
        ValueError,
        match=r"unknown variant 'denoised' \(did you mean 'denoise'\?\); known: raw, rms",
    ):
        Options(out=tmp_path, variants=("denoised",))
    with pytest.raises(ValueError, match="expected a variant and a sample of 2 photos or more"):
        Options(out=tmp_path, sample=1)


def test_journal_refuses_a_file_of_another_kind(tmp_path):
    path = tmp_path / "measured.jsonl"
    path.write_text('{"key": "a", "value": 1}\nhello\n')
    with pytest.raises(ValueError, match=r"line 2, is no measurement; move the file away"):
        Journal(path, resume=True)
    assert "a" not in Journal(path, resume=False)


def test_a_run_that_starts_afresh_loses_nothing_before_it_has_measured(tmp_path):
    path = tmp_path / "measured.jsonl"
    Journal(path, resume=False).add("a", 1)
    afresh = Journal(path, resume=False)
    assert "a" not in afresh
    afresh.add("b", 2)
    afresh.add("c", 3, keep=False)
    assert afresh["c"] == 3
    stopped = Journal(path, resume=True)
    assert (stopped["a"], stopped["b"], "c" in stopped) == (1, 2, False)
    afresh.finish()
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["b"]


def test_the_block_lies_on_what_the_photo_shows():
    picture = Picture.of(np.full((50, 100, 3), 9, np.uint8))
    frame = Frame.letterbox((50, 100), (96, 96), (8, 8))
    for seed in range(5):
        covered, touched = Photo(picture).occluded(frame, seed)
        assert (covered.pixels == 127).any()
        assert touched.any()
        assert not (touched & ~frame.valid).any()
    with pytest.raises(ValueError, match="no human drew borders, and there are no segments"):
        Photo(picture).labels(frame)
