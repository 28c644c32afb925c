"""`check --weights`: tolerances, what is absent, what cannot be run, and the published slices."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from regiontok.jobs.check import weights
from regiontok.jobs.check.slices import SLICES, OutputSlice, SlicePhoto
from regiontok.jobs.check.weights import Verdict, check_weights, compare, weights_report

CLIP = OutputSlice(
    model="tiny/clip",
    runner="clip",
    expected={"logits per image": ((0.0, 0.0),)},
    photos=(SlicePhoto(("cat.png",), (300, 451)),),
    prompts={"texts": ("a photo of a cat", "blue circle")},
)


def test_a_number_just_beyond_the_tolerance_fails():
    published = OutputSlice(
        model="a/b",
        runner="features",
        expected={"x": ((1.0, -2.0),), "y": (3.0,)},
        rtol=0.01,
        atol=0.001,
    )
    near = {"x": torch.tensor([[1.0109, -2.0]]), "y": torch.tensor([3.0])}
    assert compare(published, near).state == "holds"
    verdict = compare(published, near | {"y": torch.tensor([3.0311])})
    assert verdict.state == "fails"
    assert verdict.off == pytest.approx(0.0311, abs=1e-5)
    assert compare(published, near | {"y": torch.tensor([float("nan")])}).state == "fails"
    other_shape = compare(published, near | {"y": torch.zeros(2)})
    assert other_shape.why == "y: shape (2,) where (1,) was published"


class TestWhatIsAbsent:
    def why(self, **options: Any) -> str:
        (verdict,) = check_weights([CLIP], **options)
        assert verdict.state == "not here"
        return verdict.why

    def test_weights_and_photo_are_both_named(self, photos):
        why = self.why()
        assert "weights are not on this machine (--download fetches them)" in why
        assert "no photo cat.png of 451 x 300 pixels (name a folder: --photos)" in why

    def test_a_photo_that_is_not_in_the_folder(self, checkpoints, tmp_path):
        Image.new("RGB", (300, 451)).save(tmp_path / "cat.png")  # another photo of that name
        why = self.why(checkpoints=checkpoints, photos=tmp_path)
        assert why == f"no photo cat.png of 451 x 300 pixels under {tmp_path}"

    def test_a_folder_without_safetensors(self, tmp_path, photos):
        (tmp_path / "clip").mkdir()
        (tmp_path / "clip" / "pytorch_model.bin").write_bytes(b"")
        why = self.why(checkpoints=tmp_path, photos=photos)
        assert why == f"{tmp_path / 'clip'} has no config.json and safetensors"

    def test_a_checkpoint_without_tokenizer(self, tmp_path, checkpoints, photos):
        """As the cache holds one that only `locate` has fetched."""
        shutil.copytree(
            checkpoints / "tiny" / "clip",
            tmp_path / "clip",
            ignore=shutil.ignore_patterns("tokenizer*"),
        )
        assert "has no tokenizer files" in self.why(checkpoints=tmp_path, photos=photos)

    def test_a_download_that_fails_is_said(self, monkeypatch, photos):
        library = pytest.importorskip("huggingface_hub")

        def fails(*_: Any, **__: Any) -> str:
            raise OSError("no route to the hub")

        monkeypatch.setattr(library, "snapshot_download", fails)
        why = self.why(photos=photos, download=True)
        assert why == "could not be fetched: no route to the hub"

    def test_nothing_is_fetched_unasked(self, monkeypatch, photos):
        library = pytest.importorskip("huggingface_hub")
        monkeypatch.setattr(
            library,
            "snapshot_download",
            lambda *_, **__: pytest.fail("a download nobody asked for"),
        )
        assert {verdict.state for verdict in check_weights(SLICES, photos=photos)} == {"not here"}

    def test_a_download_is_used(self, monkeypatch, checkpoints, photos):
        library = pytest.importorskip("huggingface_hub")
        monkeypatch.setattr(
            library, "snapshot_download", lambda model, **_: str(checkpoints / model)
        )
        (verdict,) = check_weights([CLIP], photos=photos, download=True)
        assert verdict.state == "fails"  # it ran


def test_what_cannot_be_run_is_a_result_and_the_next_slice_is_tried(photos, tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "clip"}')
    (folder / "model.safetensors").write_bytes(b"no tensors")
    (folder / "tokenizer.json").write_text("{}")
    slices = [CLIP, replace(CLIP, model="tiny/none")]
    verdicts = list(check_weights(slices, photos=photos, checkpoints=tmp_path))
    assert [verdict.state for verdict in verdicts] == ["broken", "not here"]
    assert "clip" in verdicts[0].why


def test_the_report_has_an_entry_a_slice():
    verdict = Verdict(SLICES[0], "fails", 0.25, "why not")
    assert weights_report([verdict]) == [
        {
            "model": "openai/clip-vit-base-patch32",
            "outputs": ["logits per image"],
            "state": "fails",
            "off": 0.25,
            "why": "why not",
        }
    ]


def test_the_slices_are_the_published_ones(data):
    rows = json.loads((data / "golden" / "model_slices_need_weights.json").read_text())["slices"]
    assert [(row["model"], row["atol"]) for row in rows] == [
        (published.model, published.atol) for published in SLICES
    ]
    for row, published in zip(rows, SLICES, strict=True):
        values = row["value"] if len(published.expected) > 1 else [row["value"]]
        for value, numbers in zip(values, published.expected.values(), strict=True):
            assert np.array_equal(np.array(value), np.array(numbers))
        prompts = published.prompts
        assert tuple(row.get("text", ())) == prompts.get("texts", ())
        for name in ("points", "boxes"):
            assert np.array_equal(np.array(row.get(name, [])), np.array(prompts.get(name, [])))


def test_the_photos_are_found_where_the_data_lies(data):
    for published in SLICES:
        for photo in published.photos:
            assert weights._find_photo(photo, data).name in photo.names
