"""The commands as a user meets them: outputs, tables, resume, bad input, exit statuses."""

from __future__ import annotations

import errno
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from regiontok.core.tokens import Tokens
from regiontok.data import collect as collecting
from regiontok.data.collect import NoImages, collect
from regiontok.miniworld.scenes import make_scene
from samples.command_line import closing_line, run

FAST = ["--encoder", "filters", "--regions", "windows(4)", "--no-picture"]


@pytest.fixture
def photos(tmp_path):
    """A folder of three scenes, one of them in a sub-folder."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for index, name in enumerate(["a.png", "b.jpg", "more/c.png"]):
        Image.fromarray(make_scene(index, (80, 100)).pixels).save(folder / name)
    return folder


class TestTokenize:
    def test_writes_tokens_regions_and_a_report_for_every_image(self, photos, tmp_path):
        result = run("tokenize", photos, *FAST, "--regions", "patches", "--out", tmp_path / "out")
        assert result.exit_code == 0, result.output
        summary = closing_line(result)
        assert (summary["images"], summary["set_aside"]) == (3, 0)
        assert [row["spec"] for row in summary["settings"]] == ["windows(4)", "patches"]
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
        content = json.loads((folder / "windows-4.regions.json").read_text())
        report = json.loads((folder / "report.json").read_text())
        patches = sorted(patch for region in content["regions"] for patch in region["patches"])
        assert patches == list(range(report["patches"]))
        assert report["size"] == [80, 100]
        assert set(report["settings"][0]["ms"]) == {
            "decode",
            "segment",
            "encode",
            "regions",
            "pool",
        }

    def test_the_default_regions_are_the_encoders_own(self, photos, tmp_path):
        result = run(
            "tokenize",
            photos / "a.png",
            "--encoder",
            "filters",
            "--out",
            tmp_path / "out",
            "--dry-run",
        )
        assert result.exit_code == 0
        assert closing_line(result)["specs"][0].startswith("merge(0.")

    def test_specs_whose_file_names_would_be_the_same_get_different_ones(self, photos, tmp_path):
        specs = ["merge(0.5)", "merge(-0.5)", "merge(threshold=0.5)"]
        words = [word for text in specs for word in ("--regions", text)]
        result = run(
            "tokenize",
            photos / "a.png",
            "--encoder",
            "filters",
            "--no-picture",
            *words,
            "--out",
            tmp_path / "out",
        )
        assert [row["spec"] for row in closing_line(result)["settings"]] == [
            "merge(0.5)",
            "merge(-0.5)",
        ]
        written_specs = {
            json.loads(path.read_text())["spec"]
            for path in (tmp_path / "out" / "a.png").glob("*.regions.json")
        }
        assert written_specs == {"merge(0.5)", "merge(-0.5)"}

    def test_a_picture_is_drawn(self, photos, tmp_path):
        result = run(
            "tokenize",
            photos / "a.png",
            "--encoder",
            "filters",
            "--regions",
            "merge(k=6)",
            "--out",
            tmp_path,
        )
        assert result.exit_code == 0, result.output
        with Image.open(tmp_path / "a.png" / "regions.png") as drawn:
            assert drawn.width > 1.5 * drawn.height

    def test_names(self, photos, tmp_path):
        result = run(
            "tokenize",
            photos / "a.png",
            "--regions",
            "merge(k=3)",
            "--name",
            "--no-picture",
            "--out",
            tmp_path,
        )
        assert result.exit_code == 0, result.output
        content = json.loads((tmp_path / "a.png" / "merge-k-3.regions.json").read_text())
        assert all(
            region["name"] and 0 < region["name_share"] <= 1 for region in content["regions"]
        )

    def test_names_need_a_classifier(self, photos, tmp_path):
        result = run("tokenize", photos, *FAST, "--name", "--out", tmp_path / "out")
        assert result.exit_code == 2
        assert "--name needs an encoder with a classifier of its own, say lite" in result.stderr

    def test_what_rle_writes_the_stored_segmenter_reads(self, photos, tmp_path):
        first = run(
            "tokenize",
            photos / "a.png",
            "--encoder",
            "filters",
            "--regions",
            "merge(k=5)",
            "--rle",
            "--no-picture",
            "--out",
            tmp_path / "x",
        )
        assert first.exit_code == 0, first.output
        masks = tmp_path / "masks"
        masks.mkdir()
        (masks / "a.json").write_bytes(
            (tmp_path / "x" / "a.png" / "merge-k-5.regions.json").read_bytes()
        )
        again = run(
            *(
                "tokenize",
                photos / "a.png",
                "--encoder",
                "filters",
                "--no-picture",
                "--out",
                tmp_path / "y",
            ),
            *("--segmenter", f"stored({str(masks)!r})", "--regions", "segments(0.5)"),
        )
        assert again.exit_code == 0, again.output
        direct, stored = (
            json.loads((tmp_path / place / "a.png" / name).read_text())["regions"]
            for place, name in (("x", "merge-k-5.regions.json"), ("y", "segments-0.5.regions.json"))
        )
        assert [region["patches"] for region in direct] == [region["patches"] for region in stored]

    def test_a_list_on_standard_input_and_globs(self, photos, tmp_path):
        listed = run(
            "tokenize",
            "-",
            *FAST,
            "--out",
            tmp_path / "1",
            stdin=f"{photos / 'a.png'}\n\n{photos / 'b.jpg'}\n",
        )
        assert (listed.exit_code, closing_line(listed)["images"]) == (0, 2)
        globbed = run("tokenize", photos / "*.png", *FAST, "--out", tmp_path / "2")
        assert (globbed.exit_code, closing_line(globbed)["images"]) == (0, 1)

    def test_two_images_of_one_name_get_two_folders(self, photos, tmp_path):
        (photos / "more" / "a.png").write_bytes((photos / "a.png").read_bytes())
        result = run(
            "tokenize",
            photos / "a.png",
            photos / "more" / "a.png",
            *FAST,
            "--out",
            tmp_path / "out",
        )
        assert result.exit_code == 0
        assert (
            len([path for path in (tmp_path / "out").iterdir() if path.name.startswith("a.png~")])
            == 2
        )


class TestResume:
    def test_skips_what_is_done_and_only_that(self, photos, tmp_path):
        words = ["tokenize", photos, *FAST, "--out", tmp_path / "out"]
        run(*words)
        written = (tmp_path / "out" / "a.png" / "report.json").stat().st_mtime_ns
        again = run(*words, "--resume")
        assert (closing_line(again)["resumed"], closing_line(again)["images"]) == (3, 3)
        assert (tmp_path / "out" / "a.png" / "report.json").stat().st_mtime_ns == written

    def test_other_settings_or_other_bytes_are_done_again(self, photos, tmp_path):
        words = [
            "tokenize",
            photos,
            "--encoder",
            "filters",
            "--no-picture",
            "--out",
            tmp_path / "out",
            "--resume",
        ]
        run(*words, "--regions", "windows(4)")
        Image.fromarray(make_scene(9, (80, 100)).pixels).save(photos / "a.png")
        assert closing_line(run(*words, "--regions", "windows(4)"))["resumed"] == 2
        assert closing_line(run(*words, "--regions", "windows(5)"))["resumed"] == 0

    def test_what_a_run_did_not_write_is_written_when_it_is_asked_for(self, photos, tmp_path):
        words = ["tokenize", photos / "a.png", *FAST, "--out", tmp_path / "out", "--resume"]
        run(*words)
        assert closing_line(run(*words, "--rle"))["resumed"] == 0
        assert "masks" in json.loads(
            (tmp_path / "out" / "a.png" / "windows-4.regions.json").read_text()
        )
        assert closing_line(run(*words, "--rle"))["resumed"] == 1

    def test_a_broken_report_is_done_again(self, photos, tmp_path):
        words = ["tokenize", photos, *FAST, "--out", tmp_path / "out", "--resume"]
        run(*words)
        (tmp_path / "out" / "a.png" / "report.json").write_text("{")
        assert closing_line(run(*words))["resumed"] == 2

    def test_ctrl_c_leaves_whole_folders_and_says_how_to_go_on(self, photos, tmp_path, monkeypatch):
        from regiontok.jobs.tokenize import output

        saved, count = output.save_file, iter(range(100))

        def interrupted(*args, **kwargs):
            if next(count) == 1:
                saved(*args, **kwargs)
                raise KeyboardInterrupt
            return saved(*args, **kwargs)

        monkeypatch.setattr(output, "save_file", interrupted)
        result = run("tokenize", photos, *FAST, "--out", tmp_path / "out")
        assert result.exit_code == 130
        assert "stopped: 1 of 3 images are done; go on with --resume" in result.stderr
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]
        monkeypatch.undo()
        assert (
            closing_line(run("tokenize", photos, *FAST, "--out", tmp_path / "out", "--resume"))[
                "resumed"
            ]
            == 1
        )


def png_claiming(width, height):
    """A PNG whose header claims a size that its data does not have."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b""))
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
        result = run("tokenize", photos, *FAST, "--out", tmp_path / "out")
        assert result.exit_code == 1
        summary = closing_line(result)
        assert (summary["images"], summary["set_aside"]) == (3, 4)
        reasons = {Path(failure["image"]).name: failure["error"] for failure in summary["failed"]}
        assert "damaged or truncated" in reasons["truncated.jpg"]
        assert "empty (0 bytes)" in reasons["empty.jpg"]
        assert "not an image of a known format" in reasons["text.png"]
        assert "million pixels" in reasons["bomb.png"]
        assert not any((tmp_path / "out" / name).exists() for name in bad)

    def test_odd_but_good_images_are_done(self, tmp_path):
        folder = tmp_path / "odd"
        folder.mkdir()
        colour = Image.fromarray(make_scene(0, (64, 80)).pixels)
        Image.fromarray(np.full((1, 1, 3), 9, np.uint8)).save(folder / "one.png")
        Image.fromarray(np.zeros((10, 20000, 3), np.uint8)).save(folder / "long.png")
        Image.fromarray((np.arange(64 * 80).reshape(64, 80) * 12).astype(np.uint16)).save(
            folder / "grey16.png"
        )
        colour.convert("CMYK").save(folder / "cmyk.jpg")
        colour.convert("P").save(folder / "palette.png")
        colour.convert("RGBA").save(folder / "alpha.png")
        exif = Image.Exif()
        exif[0x0112] = 6
        colour.save(folder / "rotated.jpg", exif=exif)
        result = run(
            "tokenize", folder, "--encoder", "filters", "--out", tmp_path / "out", "--no-picture"
        )
        assert result.exit_code == 0, result.output
        report = json.loads((tmp_path / "out" / "rotated.jpg" / "report.json").read_text())
        assert report["size"] == [80, 64]

    def test_masks_of_another_size_set_the_image_aside(self, photos, tmp_path):
        masks = tmp_path / "masks"
        masks.mkdir()
        for name, size in (("a", (80, 100)), ("b", (40, 50)), ("c", (80, 100))):
            np.savez(masks / f"{name}.npz", labels=np.zeros(size, np.int64))
        words = [
            "tokenize",
            photos,
            "--encoder",
            "filters",
            "--no-picture",
            "--out",
            tmp_path / "out",
        ]
        result = run(
            *words, "--segmenter", f"stored({str(masks)!r})", "--regions", "segments(0.07)"
        )
        assert result.exit_code == 1
        summary = closing_line(result)
        assert summary["images"] == 2
        assert "b.jpg" in summary["failed"][0]["image"]
        assert "(40, 50)" in summary["failed"][0]["error"]

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
            (["{empty}"], "no images in this folder"),
        ],
    )
    def test_a_mistake_is_one_line_and_status_2(self, photos, tmp_path, words, message):
        (tmp_path / "empty").mkdir()
        words = [word.format(photos=photos, empty=tmp_path / "empty") for word in words]
        result = run("tokenize", *words, "--out", tmp_path / "out")
        assert result.exit_code == 2
        assert message in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
        assert "Traceback" not in result.output
        assert not (tmp_path / "out").exists()

    def test_an_unreadable_folder_is_named(self, photos, monkeypatch):
        def refused(folder, onerror):
            onerror(PermissionError(errno.EACCES, "Permission denied", str(folder)))
            return iter(())

        monkeypatch.setattr(collecting.os, "walk", refused)
        with pytest.raises(NoImages, match="photos: cannot be read \\(Permission denied\\)"):
            collect([str(photos)])

    def test_no_disk_space_is_one_line_and_leaves_nothing_half_written(
        self, photos, tmp_path, monkeypatch
    ):
        from regiontok.jobs.tokenize import output

        def full(tensors, path, **kwargs):
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

        monkeypatch.setattr(output, "save_file", full)
        result = run("tokenize", photos, *FAST, "--out", tmp_path / "out")
        assert result.exit_code == 2
        assert "No space left on device" in result.stderr
        assert list((tmp_path / "out").iterdir()) == []

    def test_an_output_that_is_a_file_is_one_line(self, photos, tmp_path):
        (tmp_path / "out").write_text("in the way")
        result = run("tokenize", photos, *FAST, "--out", tmp_path / "out")
        assert result.exit_code == 2
        assert len(result.stderr.strip().splitlines()) == 1

    def test_a_missing_package_names_the_extra(self, photos, tmp_path, monkeypatch):
        import sys

        monkeypatch.setitem(sys.modules, "transformers", None)
        result = run("tokenize", photos, "--encoder", str(tmp_path), "--out", tmp_path / "out")
        assert result.exit_code == 2
        assert "pip install 'regiontok[hub]'" in result.stderr


class TestOtherCommands:
    def test_ls_names_every_kind(self):
        result = run("ls")
        assert result.exit_code == 0
        for word in ("lite", "felzenszwalb", "merge", "attend", "mlp", "regiontok ls recipes"):
            assert word in result.stdout
        assert "quick/cluster" in run("ls", "recipes").stdout

    def test_ls_of_one_kind(self):
        result = run("ls", "steps")
        assert "merge" in result.stdout
        assert "felzenszwalb" not in result.stdout

    def test_ls_of_an_unknown_kind(self):
        result = run("ls", "stepp")
        assert result.exit_code == 2
        assert "did you mean 'step'?" in result.stderr

    def test_show_method(self):
        result = run("show", "merge")
        assert result.exit_code == 0
        assert "step merge(threshold" in result.stdout
        assert "Differs:" in result.stdout

    def test_show_recipe_with_an_override_and_a_scale(self):
        result = run(
            "show", "study/table1_clip_cluster_rms", "tokenizer.pool=mean", "--scale", "paper"
        )
        assert result.exit_code == 0, result.output
        assert 'pool = "mean"' in result.stdout
        assert "openai/clip-vit-large-patch14-336" in result.stdout

    def test_show_what_is_not_there(self):
        result = run("show", "quick/clustr")
        assert result.exit_code == 2
        assert "did you mean 'quick/cluster'?" in result.stderr

    def test_show_an_output_folder(self, photos, tmp_path):
        run("tokenize", photos / "a.png", *FAST, "--out", tmp_path / "out")
        result = run("show", tmp_path / "out" / "a.png")
        assert "windows(4): 4 tokens (patches 576 -> windows(4) 4)" in " ".join(
            result.stdout.split()
        )
        assert run("show", tmp_path).exit_code == 2


def test_demo_writes_a_contact_sheet_and_names_the_cat(tmp_path):
    result = run("demo", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "contact_sheet.png") as sheet:
        assert sheet.width >= 1500
    summary = closing_line(result)
    assert summary["images"] >= 3
    assert len(summary["settings"]) == 4
    names = json.loads((tmp_path / "cat" / "patches.regions.json").read_text())["regions"]
    assert any("cat" in region["name"] or "tabby" in region["name"] for region in names)


def test_tokens_of_a_stored_file_are_safe_to_load(photos, tmp_path):
    run("tokenize", photos / "a.png", *FAST, "--out", tmp_path / "out")
    tensors = load_file(tmp_path / "out" / "a.png" / "windows-4.safetensors")
    assert set(tensors) == {"values", "image", "view", "region", "patch", "kind", "images"}
    assert tensors["values"].dtype == torch.float32
