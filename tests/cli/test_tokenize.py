"""`regiontok demo` and `tokenize`: outputs, tables, resume, bad input, exit statuses."""

from __future__ import annotations

import errno
import json
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.core.tokens import Tokens
from regiontok.jobs.tokenize import output
from regiontok.miniworld.scenes import make_scene
from regiontok.system.lease import folder_lease
from regiontok.system.shipped_models import best_model
from samples.command_line import STATUS, regiontok, stop_at

PLAIN = ["--encoder", "filters", "--no-picture"]
FAST = [*PLAIN, "--regions", "windows(4)"]


class TestOutput:
    @pytest.mark.slow
    def test_writes_tokens_regions_and_a_report_for_every_image(self, photos, tmp_path):
        result = regiontok(
            "tokenize", photos, *FAST, "--regions", "patches", "--out", tmp_path / "out"
        )
        assert result.exit_code == 0, result.output
        assert (result.report["images"], result.report["set_aside"]) == (3, 0)
        assert [entry["spec"] for entry in result.report["settings"]] == ["windows(4)", "patches"]
        folder = tmp_path / "out" / "more" / "c.png"
        assert sorted(path.name for path in folder.iterdir()) == [
            "patches.regions.json",
            "patches.safetensors",
            "report.json",
            "windows-4.regions.json",
            "windows-4.safetensors",
        ]
        tokens = Tokens.from_tensors(load_file(folder / "windows-4.safetensors"))
        assert (len(tokens), tokens.images) == (4, 1)
        table = json.loads((folder / "windows-4.regions.json").read_text())
        report = json.loads((folder / "report.json").read_text())
        patches = sorted(patch for region in table["regions"] for patch in region["patches"])
        assert patches == list(range(report["patches"]))
        assert report["size"] == [80, 100]
        stages = {"decode", "segment", "encode", "regions", "pool"}
        assert set(report["settings"][0]["ms"]) == stages

    @pytest.mark.slow
    def test_a_photo_may_have_any_name(self, photos, odd_names, tmp_path):
        words = ["tokenize", photos, *FAST, "--out", tmp_path / "out"]
        result = regiontok(*words)
        assert (result.exit_code, result.report["images"]) == (0, 3 + len(odd_names))
        for name in odd_names:
            assert (tmp_path / "out" / name / "report.json").is_file(), name
        for line in result.stdout.splitlines():
            assert line.isprintable()
        assert "cat [bold] [draft].png: 100 × 80 px" in result.stdout
        again = regiontok(*words, "--resume")
        assert (again.exit_code, again.report["resumed"]) == (0, 3 + len(odd_names))

    @pytest.mark.parametrize("more", [[], ["--dry-run"]])
    def test_a_wrong_path_of_masks_is_one_error(self, photos, tmp_path, more):
        words = ["--segmenter", "stored('nowhere')", "--regions", "segments(0.07)", *more]
        result = regiontok("tokenize", photos, *PLAIN, *words, "--out", tmp_path / "out")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == "regiontok: nowhere: no such file or folder\n"

    def test_the_default_regions_are_the_encoders_own(self, photos, tmp_path):
        result = regiontok(
            "tokenize", photos / "a.png", *PLAIN, "--out", tmp_path / "out", "--dry-run"
        )
        assert result.exit_code == 0
        assert result.report["specs"][0].startswith("merge(0.")

    @pytest.mark.slow
    def test_specs_whose_file_names_would_be_the_same_get_different_ones(self, photos, tmp_path):
        specs = ["merge(0.5)", "merge(-0.5)", "merge(threshold=0.5)"]
        words = [word for spec in specs for word in ("--regions", spec)]
        result = regiontok("tokenize", photos / "a.png", *PLAIN, *words, "--out", tmp_path / "out")
        written = [entry["spec"] for entry in result.report["settings"]]
        assert written == ["merge(0.5)", "merge(-0.5)"]
        paths = (tmp_path / "out" / "a.png").glob("*.regions.json")
        assert {json.loads(path.read_text())["spec"] for path in paths} == set(written)

    @pytest.mark.slow
    def test_a_picture_is_drawn(self, photos, tmp_path):
        words = ["--encoder", "filters", "--regions", "merge(k=6)", "--out", tmp_path]
        result = regiontok("tokenize", photos / "a.png", *words)
        assert result.exit_code == 0, result.output
        with Image.open(tmp_path / "a.png" / "regions.webp") as drawing:
            assert drawing.width > 1.5 * drawing.height
        again = regiontok("tokenize", photos / "a.png", *words, "--picture-format", "png")
        assert again.exit_code == 0
        assert {path.name for path in (tmp_path / "a.png").glob("regions.*")} == {"regions.png"}

    @pytest.mark.slow
    def test_regions_are_named(self, photos, tmp_path):
        words = ["--regions", "merge(k=3)", "--name", "--no-picture", "--out", tmp_path]
        result = regiontok("tokenize", photos / "a.png", *words)
        assert result.exit_code == 0, result.output
        table = json.loads((tmp_path / "a.png" / "merge-k-3.regions.json").read_text())
        assert all(region["name"] and 0 < region["name_share"] <= 1 for region in table["regions"])

    def test_names_need_a_classifier(self, photos, tmp_path):
        result = regiontok("tokenize", photos, *FAST, "--name", "--out", tmp_path / "out")
        assert result.exit_code == 2
        assert "--name needs an encoder with a classifier of its own, say lite" in result.stderr

    def test_what_rle_writes_the_stored_segmenter_reads(self, photos, tmp_path):
        words = [*PLAIN, "--regions", "merge(k=5)", "--rle", "--out", tmp_path / "first"]
        first = regiontok("tokenize", photos / "a.png", *words)
        assert first.exit_code == 0, first.output
        written = tmp_path / "first" / "a.png" / "merge-k-5.regions.json"
        masks = tmp_path / "masks"
        masks.mkdir()
        (masks / "a.json").write_bytes(written.read_bytes())
        words = ["--segmenter", f"stored({str(masks)!r})", "--regions", "segments(0.5)"]
        again = regiontok("tokenize", photos / "a.png", *PLAIN, *words, "--out", tmp_path / "again")
        assert again.exit_code == 0, again.output
        read_back = tmp_path / "again" / "a.png" / "segments-0.5.regions.json"
        regions, regions_read_back = (
            json.loads(path.read_text())["regions"] for path in (written, read_back)
        )
        assert [region["patches"] for region in regions] == [
            region["patches"] for region in regions_read_back
        ]

    def test_a_list_on_standard_input_and_globs(self, photos, tmp_path):
        lines = f"{photos / 'a.png'}\n\n{photos / 'b.jpg'}\n"
        listed = regiontok("tokenize", "-", *FAST, "--out", tmp_path / "1", stdin=lines)
        assert (listed.exit_code, listed.report["images"]) == (0, 2)
        matched = regiontok("tokenize", photos / "*.png", *FAST, "--out", tmp_path / "2")
        assert (matched.exit_code, matched.report["images"]) == (0, 1)

    @pytest.mark.slow
    def test_two_images_of_one_name_never_share_a_folder(self, photos, tmp_path):
        other = photos / "more" / "a.png"
        other.write_bytes((photos / "b.jpg").read_bytes())
        words = [photos / "a.png", other, *FAST, "--out", tmp_path / "out", "--overwrite"]
        result = regiontok("tokenize", *words)
        assert (result.exit_code, result.report["images"]) == (1, 1)
        reason = result.report["failed"][0]["error"]
        assert reason.startswith(f"{other}: its output has the same name, a.png, as that of")
        report = json.loads((tmp_path / "out" / "a.png" / "report.json").read_text())
        assert report["key"] == Picture.of(photos / "a.png").key
        # the folder above both keeps them apart
        result = regiontok("tokenize", photos, *FAST, "--out", tmp_path / "out")
        assert (result.exit_code, result.report["images"]) == (0, 4)

    def test_tokens_of_a_stored_file_are_safe_to_load(self, photos, tmp_path):
        regiontok("tokenize", photos / "a.png", *FAST, "--out", tmp_path / "out")
        tensors = load_file(tmp_path / "out" / "a.png" / "windows-4.safetensors")
        assert set(tensors) == {"values", "image", "view", "region", "patch", "kind", "images"}
        assert tensors["values"].dtype == torch.float32

    @pytest.mark.slow
    def test_own_outputs_are_no_inputs(self, photos, monkeypatch):
        monkeypatch.chdir(photos)
        words = ["tokenize", ".", "--encoder", "filters(size=56)", "--regions", "windows(4)"]
        for turn in range(2):
            report = regiontok(*words, "--resume").report
            assert (report["images"], report["resumed"]) == (3, 3 * turn)
        regiontok(*words[2:], "--picture-format", "jpg")
        for turn in range(2):
            report = regiontok("masks", ".", "--segmenter", "slic(4)", "--out", "store").report
            assert (report["named"], report["resumed"]) == (3, 3 * turn)

    def test_a_folder_that_another_process_writes_is_one_line_and_status_2(self, photos, tmp_path):
        with folder_lease(tmp_path / "out"):
            result = regiontok("tokenize", photos, *FAST, "--out", tmp_path / "out")
        assert result.exit_code == 2
        assert f"out is being written by process {os.getpid()} on " in result.stderr

    def test_names_and_scores_of_masks_reach_the_table_and_show(self, photos, tmp_path):
        left = np.zeros((80, 100), np.uint8)
        left[:, :50] = 1
        masks = PixelMasks.from_dense(np.stack([left, 1 - left])).to_coco()
        names = [(mask, 0.75 - 0.5 * index) for index, mask in enumerate(masks)]
        coco = {
            "images": [{"id": 1, "file_name": "a.png", "height": 80, "width": 100}],
            "categories": [{"id": 1, "name": "zebra"}, {"id": 2, "name": "grass"}],
            "annotations": [
                {
                    "id": index,
                    "image_id": 1,
                    "category_id": index + 1,
                    "segmentation": mask,
                    "score": score,
                    "area": 4000,
                    "bbox": [0, 0, 50, 80],
                    "iscrowd": 0,
                }
                for index, (mask, score) in enumerate(names)
            ],
        }
        (tmp_path / "coco.json").write_text(json.dumps(coco))
        words = ["--segmenter", f"stored({str(tmp_path / 'coco.json')!r})", "--out", tmp_path]
        words += ["--encoder", "filters(size=56)", "--regions", "segments(0.5)"]
        result = regiontok("tokenize", photos / "a.png", *words)
        assert result.exit_code == 0, result.output
        table = json.loads((tmp_path / "a.png" / "segments-0.5.regions.json").read_text())
        named = [(row["mask_name"], row.get("mask_score")) for row in table["regions"]]
        assert named == [("zebra", 0.75), ("grass", 0.25)]
        assert "zebra 0.75" in regiontok("show", tmp_path / "a.png").stdout


class TestResume:
    def test_skips_what_is_done_and_only_that(self, photos, tmp_path):
        words = ["tokenize", photos, *FAST, "--out", tmp_path / "out"]
        regiontok(*words)
        report = tmp_path / "out" / "a.png" / "report.json"
        written = report.stat().st_mtime_ns
        again = regiontok(*words, "--resume").report
        assert (again["resumed"], again["images"]) == (3, 3)
        assert report.stat().st_mtime_ns == written

    @pytest.mark.slow
    def test_another_spec_stands_beside_and_other_bytes_are_refused(self, photos, tmp_path):
        words = ["tokenize", photos, *PLAIN, "--out", tmp_path / "out", "--resume", "--regions"]
        regiontok(*words, "windows(4)")
        assert regiontok(*words, "windows(5)").report["resumed"] == 0
        Image.fromarray(make_scene(9, (80, 100)).pixels).save(photos / "a.png")
        changed = regiontok(*words, "windows(4)")
        assert (changed.report["resumed"], changed.report["set_aside"]) == (2, 1)
        reason = changed.report["failed"][0]["error"]
        assert "a.png holds the tokens of another picture" in reason
        assert "replace it with --overwrite, or choose another --out" in reason
        replaced = regiontok(*words, "windows(4)", "--overwrite")
        assert (replaced.report["resumed"], replaced.report["images"]) == (2, 3)

    @pytest.mark.slow
    def test_what_a_run_did_not_write_is_written_when_it_is_asked_for(self, photos, tmp_path):
        words = ["tokenize", photos / "a.png", *FAST, "--out", tmp_path / "out", "--resume"]
        regiontok(*words)
        assert regiontok(*words, "--rle").report["resumed"] == 0
        table = (tmp_path / "out" / "a.png" / "windows-4.regions.json").read_text()
        assert "masks" in json.loads(table)
        assert regiontok(*words, "--rle").report["resumed"] == 1

    @pytest.mark.slow
    def test_an_image_with_a_broken_report_is_done_again(self, photos, tmp_path):
        words = ["tokenize", photos, *FAST, "--out", tmp_path / "out", "--resume"]
        regiontok(*words)
        (tmp_path / "out" / "a.png" / "report.json").write_text("{")
        assert regiontok(*words).report["resumed"] == 2

    @pytest.mark.slow
    @pytest.mark.parametrize("number", STATUS)
    def test_a_stop_leaves_whole_folders_and_says_how_to_go_on(
        self, photos, tmp_path, monkeypatch, number
    ):
        monkeypatch.setattr(output, "save_file", stop_at(2, output.save_file, number))
        words = ["tokenize", photos, *FAST, "--out", tmp_path / "out"]
        result = regiontok(*words)
        assert result.exit_code == STATUS[number]
        assert "stopped: 1 of 3 images are done; go on with --resume" in result.stderr
        assert sorted(os.listdir(tmp_path / "out")) == [".index.jsonl", "a.png"]
        monkeypatch.undo()
        assert regiontok(*words, "--resume").report["resumed"] == 1


def png_claiming(width, height):
    """A PNG whose header claims a size that its data does not have."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in (
            (b"IHDR", header),
            (b"IDAT", zlib.compress(b"\0" * 100)),
            (b"IEND", b""),
        )
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


class TestBadInput:
    def test_bad_images_are_set_aside_named_and_counted_and_good_ones_are_done(
        self, photos, tmp_path
    ):
        jpeg = (photos / "b.jpg").read_bytes()
        bad = {
            "truncated.jpg": jpeg[: len(jpeg) // 2],
            "empty.jpg": b"",
            "text.png": b"this is not a picture\n",
            "bomb.png": png_claiming(60000, 60000),
        }
        for name, content in bad.items():
            (photos / name).write_bytes(content)
        result = regiontok("tokenize", photos, *FAST, "--out", tmp_path / "out")
        assert result.exit_code == 1
        assert (result.report["images"], result.report["set_aside"]) == (3, 4)
        reasons = {Path(image["image"]).name: image["error"] for image in result.report["failed"]}
        assert "damaged or truncated" in reasons["truncated.jpg"]
        assert "empty (0 bytes)" in reasons["empty.jpg"]
        assert "not an image of a known format" in reasons["text.png"]
        assert "million pixels" in reasons["bomb.png"]
        assert not any((tmp_path / "out" / name).exists() for name in bad)

    @pytest.mark.slow
    def test_odd_but_good_images_are_done(self, tmp_path):
        folder = tmp_path / "odd"
        folder.mkdir()
        colour = Image.fromarray(make_scene(0, (64, 80)).pixels)
        grey16 = (np.arange(64 * 80).reshape(64, 80) * 12).astype(np.uint16)
        Image.fromarray(np.full((1, 1, 3), 9, np.uint8)).save(folder / "pixel.png")
        Image.fromarray(np.zeros((10, 20000, 3), np.uint8)).save(folder / "long.png")
        Image.fromarray(grey16).save(folder / "grey16.png")
        colour.convert("CMYK").save(folder / "cmyk.jpg")
        colour.convert("P").save(folder / "palette.png")
        colour.convert("RGBA").save(folder / "alpha.png")
        exif = Image.Exif()
        exif[0x0112] = 6
        colour.save(folder / "rotated.jpg", exif=exif)
        result = regiontok("tokenize", folder, *PLAIN, "--out", tmp_path / "out")
        assert result.exit_code == 0, result.output
        report = json.loads((tmp_path / "out" / "rotated.jpg" / "report.json").read_text())
        assert report["size"] == [80, 64]

    def test_masks_of_another_size_set_the_image_aside(self, photos, tmp_path):
        masks = tmp_path / "masks"
        masks.mkdir()
        for name, size in (("a", (80, 100)), ("b", (40, 50)), ("c", (80, 100))):
            np.savez(masks / f"{name}.npz", labels=np.zeros(size, np.int64))
        words = ["--segmenter", f"stored({str(masks)!r})", "--regions", "segments(0.07)"]
        result = regiontok("tokenize", photos, *PLAIN, *words, "--out", tmp_path / "out")
        assert result.exit_code == 1
        assert result.report["images"] == 2
        assert "b.jpg" in result.report["failed"][0]["image"]
        assert "(40, 50)" in result.report["failed"][0]["error"]

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["missing.jpg"], "missing.jpg: no such file or folder"),
            (["nothing/*.jpg"], "no file matches"),
            (["{photos}", "--regions", "merg(0.5)"], "unknown step 'merg' (did you mean 'merge'?)"),
            (["{photos}", "--regions", "merge(treshold=0.5)"], "did you mean 'threshold'?"),
            (["{photos}", "--regions", "merge(7.0)"], "threshold 7.0 is no cosine"),
            (
                ["{photos}", "--regions", "merge('a lot')"],
                "threshold must be float or None, not 'a lot'",
            ),
            (["{photos}", "--regions", "merge(0.5"], "cannot read the spec"),
            (["{photos}", "--regions", "sort('centre')"], "order must be one of"),
            (["{photos}", "--regions", "segments(0.07)"], "name a segmenter"),
            (["{photos}", "--encoder", "filtres"], "did you mean 'filters' or 'lite'?"),
            (["{photos}", "--pool", "meen"], "did you mean 'mean'?"),
            (["{photos}", "--segmenter", "slik"], "did you mean 'slic'?"),
            (["{photos}", "--padding", "drap"], "padding"),
            (["{photos}", "--picture-format", "gif"], "a drawing is written as .png"),
            (["{empty}"], "no images in this folder"),
        ],
    )
    def test_a_mistake_is_one_line_and_status_2(self, photos, tmp_path, words, message):
        (tmp_path / "empty").mkdir()
        words = [word.format(photos=photos, empty=tmp_path / "empty") for word in words]
        result = regiontok("tokenize", *words, "--out", tmp_path / "out")
        assert result.exit_code == 2
        assert message in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
        assert "Traceback" not in result.output
        assert not (tmp_path / "out").exists()

    def test_no_disk_space_is_one_line_and_leaves_nothing_half_written(
        self, photos, tmp_path, monkeypatch
    ):
        def full(tensors, path, **kwargs):
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

        monkeypatch.setattr(output, "save_file", full)
        result = regiontok("tokenize", photos, *FAST, "--out", tmp_path / "out")
        assert result.exit_code == 2
        assert "No space left on device" in result.stderr
        assert list((tmp_path / "out").iterdir()) == []

    def test_an_output_that_is_a_file_is_one_line(self, photos, tmp_path):
        (tmp_path / "out").write_text("in the way")
        result = regiontok("tokenize", photos, *FAST, "--out", tmp_path / "out")
        assert result.exit_code == 2
        assert len(result.stderr.strip().splitlines()) == 1

    def test_a_missing_package_names_the_extra(self, photos, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "transformers", None)
        words = ["--encoder", tmp_path, "--out", tmp_path / "out"]
        result = regiontok("tokenize", photos, *words)
        assert result.exit_code == 2
        assert "pip install 'regiontok[hub]'" in result.stderr


@pytest.mark.slow
def test_demo_writes_a_contact_sheet_and_names_the_cat(tmp_path):
    result = regiontok("demo", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "contact_sheet.png") as sheet:
        assert sheet.width >= 1500
    assert result.report["images"] >= 3
    assert len(result.report["settings"]) == 4
    has_models = best_model() is not None
    assert bool(result.report["answers"]) == (tmp_path / "answers.png").is_file() == has_models
    regions = json.loads((tmp_path / "cat" / "patches.regions.json").read_text())["regions"]
    assert any("cat" in region["name"] or "tabby" in region["name"] for region in regions)


class TestSettings:
    def test_a_recipe_and_what_flags_change_of_it(self, photos, tmp_path):
        mine = tmp_path / "mine.toml"
        mine.write_text(
            'extends = "quick/budget"\nwhat = "Mine"\n[tokenizer]\nencoder = "filters"\n'
            'regions = "merge(k=7)"\npool = "select"'
        )
        words = ["tokenize", photos / "a.png", "--recipe", mine, "--no-picture", "--out", tmp_path]
        (entry,) = regiontok(*words).report["settings"]
        assert (entry["spec"], entry["regions"], entry["tokens"]) == ("merge(k=7)", 7, 576)
        (entry,) = regiontok(*words, "--pool", "mean", "--regions", "merge(k=3)").report["settings"]
        assert (entry["spec"], entry["tokens"]) == ("merge(k=3)", 3)

    def test_a_shipped_recipe(self, photos):
        result = regiontok("tokenize", photos, "--recipe", "quick/budget", "--dry-run")
        assert result.report["specs"] == ["merge(k=64) | sort"]
        assert result.report["budgets"][0]["failed"] == 0
        unknown = regiontok("tokenize", photos, "--recipe", "quick/budgt", "--dry-run")
        assert unknown.exit_code == 2
        assert "did you mean 'quick/budget'" in unknown.stderr
        assert "name one with --recipe" in regiontok("tokenize", photos, "--scale", "paper").stderr

    def test_transforms(self, photos, tmp_path):
        words = ["tokenize", photos / "a.png", *FAST, "--out", tmp_path]
        assert regiontok(*words, "--transforms", "rms").exit_code == 0
        wrong = regiontok(*words, "--transforms", "fill_outlier")
        assert wrong.exit_code == 2
        assert "did you mean 'fill_outliers'" in wrong.stderr

    def test_a_wrong_value_is_told_by_its_flag(self, photos):
        result = regiontok("tokenize", photos, "--norm", "rsm")
        assert result.exit_code == 2
        assert result.stderr == "regiontok: --norm: Input should be 'none' or 'rms', got 'rsm'\n"

    def test_a_dry_run_without_the_encoder_says_what_is_known(self, photos, tmp_path, monkeypatch):
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
        name = "study/table1_clip_cluster_rms"
        result = regiontok("tokenize", photos, "--recipe", name, "--scale", "paper", "--dry-run")
        assert result.exit_code == 0, result.stderr
        assert result.report["absent"] == "openai/clip-vit-large-patch14-336"
        assert "576 patches of width 1024" in result.stdout


@pytest.mark.slow
def test_a_dry_run_says_of_how_many_images_a_budget_cannot_be_met(photos, tmp_path):
    (photos / "bad.png").write_bytes(b"no image")
    specs = [
        f"segments(0.07, resolve='smallest') | cover('rest') | split{end}"
        for end in (" | merge(k=300)", "(least=300) | merge(k=300)")
    ]
    words = [word for spec in specs for word in ("--regions", spec)]
    result = regiontok(
        "tokenize",
        photos,
        *PLAIN,
        "--segmenter",
        "slic(9)",
        *words,
        "--regions",
        "windows(4)",
        "--dry-run",
        "--out",
        tmp_path / "out",
    )
    assert result.exit_code == 0, result.output
    missed, met, windows = result.report["budgets"]
    assert (missed["tried"], missed["failed"], missed["share"]) == (3, 3, 1.0)
    assert (met["failed"], met["fewest"], met["most"]) == (0, 300, 300)
    assert windows["failed"] == 0
    assert "3 of 3 images tried (100%) would be set aside: k=300 regions cannot be" in result.stderr
    assert not (tmp_path / "out").exists()
