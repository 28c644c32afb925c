"""`tokenize` on clips: which words are clips, what is written, resume, bad clips."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco
from safetensors.torch import load_file

from regiontok.core.clip import Clip
from regiontok.core.tokens import Tokens
from regiontok.data.collect import NamedPath, NoImages
from regiontok.jobs.show import show_output
from regiontok.jobs.tokenize.clips import Sampling, separate_clips, tokenize_clips
from regiontok.jobs.tokenize.command import tokenize
from regiontok.jobs.tokenize.earlier import Writing
from regiontok.jobs.tokenize.images import tokenize_images
from regiontok.jobs.tokenize.report import summarise
from regiontok.jobs.tokenize.tokenizer_set import TokenizerSet
from regiontok.settings.recipe import TokenizerSettings
from regiontok.system.drawn import is_drawn

SPEC = "merge(k=3)"
EVERY_FRAME = Sampling()
UNDRAWN = Writing(picture="")


@pytest.fixture(scope="module")
def tokenizers():
    settings = TokenizerSettings(encoder="filters(size=128, patch=16)")
    return TokenizerSet(settings, [SPEC, "windows(2)"])


@pytest.fixture
def frames(tmp_path):
    """A folder of four frames: a red square that goes right."""
    folder = tmp_path / "walk"
    folder.mkdir()
    for number in range(4):
        pixels = np.full((64, 96, 3), (40, 150, 60), np.uint8)
        pixels[16:48, 12 * number : 12 * number + 36] = (200, 40, 40)
        Image.fromarray(pixels).save(folder / f"{number + 8}.png")
    return folder


def grey(number):
    """The pixels of one frame of a clip that brightens."""
    return np.full((64, 96, 3), 20 * number, np.uint8)


def write_video(path, count=8):
    av = pytest.importorskip("av", reason="videos need PyAV: pip install 'regiontok[video]'")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=8)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "bgr0"
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(grey(number), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="bgr0")))
        container.mux(stream.encode())
    return path


def write_animation(path, count):
    first, *others = (Image.fromarray(grey(number)) for number in range(count))
    first.save(path, save_all=True, append_images=others, duration=100)
    return path


def run(tokenizers, path, out, sampling=EVERY_FRAME, **options):
    """What becomes of one clip."""
    clips = [NamedPath(path, path.name)]
    (outcome,) = tokenize_clips(tokenizers, clips, out, sampling, writing=Writing(**options))
    return outcome


def table_of(folder, name):
    return json.loads((folder / f"{name}.regions.json").read_text())


def test_words_of_a_command_line_are_divided(tmp_path):
    for name in ("a.mp4", "b.MKV", "c.gif", "d.jpg"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "frames.mp4").mkdir()
    words = [str(tmp_path / name) for name in ("a.mp4", "b.MKV", "c.gif", "d.jpg", "frames.mp4")]
    clips, others = separate_clips([*words, "-", "*.png"])
    assert [clip.name for clip in clips] == ["a.mp4", "b.MKV"]
    assert others == [*words[2:], "-", "*.png"]
    clips, others = separate_clips([words[4], words[2]], all_clips=True)
    assert ([clip.name for clip in clips], others) == (["frames.mp4", "c.gif"], [])
    lines = io.StringIO(f"{words[0]}\n\n{words[4]}\n")
    clips, others = separate_clips(["-"], all_clips=True, stdin=lines)
    assert [clip.name for clip in clips] == ["a.mp4", "frames.mp4"]


def test_an_animation_named_by_itself_is_a_clip_and_one_of_one_frame_an_image(tokenizers, tmp_path):
    words = [
        str(write_animation(tmp_path / name, count))
        for name, count in (("a.gif", 4), ("b.GIF", 2), ("c.webp", 4), ("d.gif", 1))
    ]
    clips, others = separate_clips(words)
    assert ([clip.name for clip in clips], others) == (["a.gif", "b.GIF", "c.webp"], words[3:])
    assert separate_clips([str(tmp_path)]) == ([], [str(tmp_path)])
    report = run(tokenizers, tmp_path / "a.gif", tmp_path / "out", Sampling(fps=5)).report
    assert report is not None
    assert (report["frames"], report["fps"], report["times"]) == (2, 5, [0.0, 0.2])
    outcome = run(tokenizers, tmp_path / "d.gif", tmp_path / "out")
    assert str(outcome.error).endswith(
        "d.gif: one frame, so it is a picture and no clip; tokenize it as an image"
    )


def test_a_word_that_leads_nowhere(tmp_path):
    with pytest.raises(NoImages, match=r"gone\.mp4: no such file or folder"):
        separate_clips([str(tmp_path / "gone.mp4")])
    with pytest.raises(NoImages, match="gone: no such file or folder"):
        separate_clips([str(tmp_path / "gone")], all_clips=True)


def test_clips_of_one_name_never_share_a_folder(tokenizers, frames, tmp_path):
    other = tmp_path / "more" / "walk"
    shutil.copytree(frames, other)
    clips, _ = separate_clips([str(frames), str(other)], all_clips=True)
    outcomes = list(tokenize(tokenizers, [], tmp_path / "out", clips=clips, writing=UNDRAWN))
    assert {str(outcome.source.path): bool(outcome.error) for outcome in outcomes} == {
        str(frames): False,
        str(other): True,
    }


def test_what_is_written_for_a_folder_of_frames(tokenizers, frames, tmp_path):
    outcome = run(tokenizers, frames, tmp_path / "out", Sampling(fps=4))
    assert outcome.error is None
    folder = tmp_path / "out" / "walk"
    assert sorted(path.name for path in folder.iterdir()) == [
        "merge-k-3.regions.json",
        "merge-k-3.safetensors",
        "regions-video.webp",
        "regions.webp",
        "report.json",
        "windows-2.regions.json",
        "windows-2.safetensors",
    ]
    report = json.loads((folder / "report.json").read_text())
    assert report == outcome.report
    shutil.copy(folder / "regions.webp", frames / "0.webp")  # a drawing is no frame
    assert Clip.of(frames).key == report["key"]
    assert (report["frames"], report["fps"], report["damage"]) == (4, 4, "")
    assert report["times"] == [0, 0.25, 0.5, 0.75]
    assert (report["size"], report["grid"], report["patches"]) == ([64, 96], [4, 8, 8], 256)
    assert [entry["tokens"] for entry in report["settings"]] == [3, 2]
    assert len(Tokens.from_tensors(load_file(folder / "merge-k-3.safetensors"))) == 3
    with Image.open(folder / "regions.webp") as drawing:
        assert drawing.width > drawing.height
    with Image.open(folder / "regions-video.webp") as video:
        assert video.n_frames == 4
    assert is_drawn(folder / "regions-video.webp"), "no walk takes it for a clip"


def test_a_region_says_where_it_is_on_each_frame(tokenizers, frames, tmp_path):
    run(tokenizers, frames, tmp_path / "out", Sampling(fps=4), rle=True, picture="")
    folder = tmp_path / "out" / "walk"
    assert not (folder / "regions.webp").exists()
    windows = table_of(folder, "windows-2")
    # bands of the raster over time: frames 0 and 1, frames 2 and 3
    first, second = windows["regions"]
    assert (first["patches"], second["patches"]) == (list(range(128)), list(range(128, 256)))
    assert first["boxes"] == {"0": [0, 0, 96, 64], "1": [0, 0, 96, 64]}
    assert list(second["boxes"]) == ["2", "3"]
    assert second["box"] == [0, 0, 96, 64]
    assert [mask is None for mask in windows["masks"][0]] == [False, False, True, True]
    assert coco.area(windows["masks"][0][1]) == 64 * 96
    regions_at_pixel = np.zeros((4, 64, 96), int)
    for masks in table_of(folder, "merge-k-3")["masks"]:
        for number, mask in enumerate(masks):
            regions_at_pixel[number] += coco.decode(mask) if mask else 0
    assert (regions_at_pixel == 1).all()


def test_a_video_and_its_frames_in_a_folder_give_the_same_tokens(tokenizers, tmp_path):
    video = write_video(tmp_path / "a.mkv")
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(0, 8, 2):
        Image.fromarray(grey(number)).save(folder / f"{number}.png")
    reports = [
        run(tokenizers, path, tmp_path / "out", Sampling(fps=4), picture="").report
        for path in (video, folder)
    ]
    assert reports[0]["times"] == reports[1]["times"] == [0, 0.25, 0.5, 0.75]
    of_video, of_frames = (
        load_file(tmp_path / "out" / name / "merge-k-3.safetensors")["values"]
        for name in ("a.mkv", "frames")
    )
    assert torch.equal(of_video, of_frames)


@pytest.mark.slow
def test_resume_skips_what_was_done_with_the_same_settings(tokenizers, frames, tmp_path):
    out, slower = tmp_path / "out", Sampling(fps=2)
    run(tokenizers, frames, out, Sampling(fps=4))
    assert run(tokenizers, frames, out, Sampling(fps=4), resume=True).resumed
    assert run(tokenizers, frames, out, Sampling(fps=4, most=99), resume=True).resumed
    other = run(tokenizers, frames, out, slower, resume=True).error
    assert "was made with other settings: clip {'fps': 4" in other
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(frames / "8.png")
    other = run(tokenizers, frames, out, Sampling(fps=4), resume=True).error
    assert "holds the tokens of another picture" in other
    assert not run(tokenizers, frames, out, slower, resume=True, overwrite=True).resumed
    assert run(tokenizers, frames, out, slower, resume=True).resumed


def test_a_bad_clip_is_set_aside_and_the_others_are_done(tokenizers, frames, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"")
    clips = [NamedPath(tmp_path / "bad.mp4", "bad.mp4"), NamedPath(frames, "walk")]
    bad, good = tokenize_clips(tokenizers, clips, tmp_path / "out")
    assert bad.error.endswith("bad.mp4: empty (0 bytes)")
    assert good.error is None
    assert not (tmp_path / "out" / "bad.mp4").exists()


def test_the_frames_themselves_are_never_replaced(tokenizers, frames):
    outcome = run(tokenizers, frames, frames.parent)
    assert outcome.error.endswith(
        "walk is there and is no output of tokenize; choose another output folder"
    )
    assert len(list(frames.glob("*.png"))) == 4


def test_a_photo_is_never_replaced(tokenizers, frames):
    photo = frames / "8.png"
    data = photo.read_bytes()
    (outcome,) = tokenize_images(tokenizers, [NamedPath(photo, "8.png")], frames)
    assert outcome.error.endswith(
        "8.png is there and is no output of tokenize; choose another output folder"
    )
    assert photo.read_bytes() == data


def test_a_cut_video_is_set_aside_or_kept_with_a_note(tokenizers, tmp_path):
    path = write_video(tmp_path / "a.mkv")
    path.write_bytes(path.read_bytes()[:-300])
    assert "cut off or damaged" in run(tokenizers, path, tmp_path / "out").error
    report = run(tokenizers, path, tmp_path / "out", Sampling(cut="keep"), picture="").report
    assert report["frames"] < 8
    assert "promised" in report["damage"]


def test_summary_and_show_read_a_clip_as_they_read_an_image(tokenizers, frames, tmp_path):
    outcome = run(tokenizers, frames, tmp_path / "out", Sampling(fps=4), picture="")
    assert summarise([outcome.report])[0]["tokens"] == 3
    (entry, regions), _ = show_output(tmp_path / "out" / "walk")
    assert entry["spec"] == SPEC
    assert len(regions) == 3


@pytest.mark.slow
def test_regions_of_a_clip_are_named(frames, tmp_path):
    settings = TokenizerSettings(encoder="lite(size=128, patch=16)")
    tokenizers = TokenizerSet(settings, [SPEC], name_regions=True)
    run(tokenizers, frames, tmp_path / "out", picture="")
    regions = table_of(tmp_path / "out" / "walk", "merge-k-3")["regions"]
    assert all(region["name"] in tokenizers.encoder.classes for region in regions)
