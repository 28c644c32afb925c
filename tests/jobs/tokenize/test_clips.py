"""`tokenize` on clips: which words are clips, what is written, resume, bad clips."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco
from safetensors.torch import load_file

from regiontok.core.tokens import Tokens
from regiontok.data.collect import Item, NoImages
from regiontok.jobs.show import show_output
from regiontok.jobs.tables import results, summary
from regiontok.jobs.tokenize.clips import Sampling, divide, tokenize_clips
from regiontok.jobs.tokenize.images import Job, tokenize
from regiontok.settings.recipe import TokenizerSettings

SPEC = "merge(k=3)"


@pytest.fixture(scope="module")
def job():
    return Job(TokenizerSettings(encoder="filters(size=128, patch=16)"), [SPEC, "windows(2)"])


@pytest.fixture
def frames(tmp_path):
    """A folder of four frames: a red square that goes right."""
    folder = tmp_path / "walk"
    folder.mkdir()
    for index in range(4):
        pixels = np.full((64, 96, 3), (40, 150, 60), np.uint8)
        pixels[16:48, 12 * index : 12 * index + 36] = (200, 40, 40)
        Image.fromarray(pixels).save(folder / f"{index + 8}.png")
    return folder


def write_video(path, count=8):
    av = pytest.importorskip("av", reason="videos need PyAV: pip install 'regiontok[video]'")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=8)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "bgr0"
        for index in range(count):
            pixels = np.full((64, 96, 3), 20 * index, np.uint8)
            container.mux(
                stream.encode(
                    av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="bgr0")
                )
            )
        container.mux(stream.encode())
    return path


def do(job, path, out, *rest, **options):
    return list(tokenize_clips(job, [Item(path, path.name)], out, *rest, **options))


def test_words_of_a_command_line_are_divided(tmp_path):
    for name in ("a.mp4", "b.MKV", "c.gif", "d.jpg"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "frames.mp4").mkdir()
    words = [str(tmp_path / name) for name in ("a.mp4", "b.MKV", "c.gif", "d.jpg", "frames.mp4")]
    clips, rest = divide([*words, "-", "*.png"])
    assert [item.name for item in clips] == ["a.mp4", "b.MKV"]
    assert rest == [*words[2:], "-", "*.png"]
    clips, rest = divide([words[4], words[2]], clips=True)
    assert ([item.name for item in clips], rest) == (["frames.mp4", "c.gif"], [])
    clips, rest = divide(["-"], clips=True, stdin=io.StringIO(f"{words[0]}\n\n{words[4]}\n"))
    assert [item.name for item in clips] == ["a.mp4", "frames.mp4"]


def write_gif(path, count):
    first, *rest = (
        Image.fromarray(np.full((64, 96, 3), 20 * index, np.uint8)) for index in range(count)
    )
    first.save(path, save_all=True, append_images=rest, duration=100)
    return path


def test_an_animation_named_by_itself_is_a_clip_and_one_of_one_frame_an_image(job, tmp_path):
    words = [
        str(write_gif(tmp_path / name, count))
        for name, count in (("a.gif", 4), ("b.GIF", 2), ("c.webp", 4), ("d.gif", 1))
    ]
    clips, rest = divide(words)
    assert ([item.name for item in clips], rest) == (["a.gif", "b.GIF", "c.webp"], words[3:])
    assert divide([str(tmp_path)]) == ([], [str(tmp_path)])
    (done,) = do(job, tmp_path / "a.gif", tmp_path / "out", Sampling(fps=5))
    assert done.report is not None
    assert (done.report["frames"], done.report["fps"], done.report["times"]) == (2, 5, [0.0, 0.2])
    (done,) = do(job, tmp_path / "d.gif", tmp_path / "out")
    assert str(done.error).endswith(
        "d.gif: one frame, so it is a picture and no clip; tokenize it as an image"
    )


def test_a_word_that_leads_nowhere(tmp_path):
    with pytest.raises(NoImages, match=r"gone\.mp4: no such file or folder"):
        divide([str(tmp_path / "gone.mp4")])
    with pytest.raises(NoImages, match="gone: no such file or folder"):
        divide([str(tmp_path / "gone")], clips=True)


def test_clips_of_one_name_get_their_own_folders(tmp_path):
    for parent in ("one", "two"):
        (tmp_path / parent / "frames").mkdir(parents=True)
    clips, _ = divide([str(tmp_path / parent / "frames") for parent in ("one", "two")], clips=True)
    assert len({item.name for item in clips}) == 2
    assert all(item.name.startswith("frames~") for item in clips)


def test_what_is_written_for_a_folder_of_frames(job, frames, tmp_path):
    (done,) = do(job, frames, tmp_path / "out", Sampling(fps=4))
    assert done.error is None
    folder = tmp_path / "out" / "walk"
    assert sorted(path.name for path in folder.iterdir()) == [
        "merge-k-3.regions.json",
        "merge-k-3.safetensors",
        "regions.png",
        "report.json",
        "windows-2.regions.json",
        "windows-2.safetensors",
    ]
    report = json.loads((folder / "report.json").read_text())
    assert report == done.report
    assert (report["frames"], report["fps"], report["times"], report["damage"]) == (
        4,
        4,
        [0, 0.25, 0.5, 0.75],
        "",
    )
    assert (report["size"], report["grid"], report["patches"]) == ([64, 96], [4, 8, 8], 256)
    assert [row["tokens"] for row in report["settings"]] == [3, 2]
    assert len(Tokens.from_tensors(load_file(folder / "merge-k-3.safetensors"))) == 3
    with Image.open(folder / "regions.png") as drawn:
        assert drawn.width > drawn.height


def test_a_region_says_where_it_is_on_each_frame(job, frames, tmp_path):
    do(job, frames, tmp_path / "out", Sampling(fps=4), rle=True, picture=False)
    assert not (tmp_path / "out" / "walk" / "regions.png").exists()
    content = json.loads((tmp_path / "out" / "walk" / "windows-2.regions.json").read_text())
    # bands of the raster over time: frames 0 and 1, frames 2 and 3
    first, second = content["regions"]
    assert (first["patches"], second["patches"]) == (list(range(128)), list(range(128, 256)))
    assert first["boxes"] == {"0": [0, 0, 96, 64], "1": [0, 0, 96, 64]}
    assert list(second["boxes"]) == ["2", "3"]
    assert second["box"] == [0, 0, 96, 64]
    assert [mask is None for mask in content["masks"][0]] == [False, False, True, True]
    assert coco.area(content["masks"][0][1]) == 64 * 96
    areas = np.zeros((4, 64, 96), int)
    for masks in json.loads((tmp_path / "out" / "walk" / "merge-k-3.regions.json").read_text())[
        "masks"
    ]:
        for index, mask in enumerate(masks):
            areas[index] += coco.decode(mask) if mask else 0
    assert (areas == 1).all()  # every pixel of every frame lies in one region


def test_a_video_and_its_frames_in_a_folder_give_the_same_tokens(job, tmp_path):
    path = write_video(tmp_path / "a.mkv")
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(0, 8, 2):
        Image.fromarray(np.full((64, 96, 3), 20 * index, np.uint8)).save(folder / f"{index}.png")
    (video,), (pictures,) = (
        do(job, each, tmp_path / "out", Sampling(fps=4), picture=False) for each in (path, folder)
    )
    assert video.report["times"] == pictures.report["times"] == [0, 0.25, 0.5, 0.75]
    ours, theirs = (
        load_file(tmp_path / "out" / name / "merge-k-3.safetensors")["values"]
        for name in ("a.mkv", "frames")
    )
    assert torch.equal(ours, theirs)


def test_resume_skips_what_was_done_with_the_same_settings(job, frames, tmp_path):
    do(job, frames, tmp_path / "out", Sampling(fps=4))
    (again,) = do(job, frames, tmp_path / "out", Sampling(fps=4), resume=True)
    assert again.resumed
    (other,) = do(job, frames, tmp_path / "out", Sampling(fps=2), resume=True)
    assert not other.resumed
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(frames / "8.png")
    (changed,) = do(job, frames, tmp_path / "out", Sampling(fps=2), resume=True)
    assert not changed.resumed


def test_a_bad_clip_is_set_aside_and_the_others_are_done(job, frames, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"")
    items = [Item(tmp_path / "bad.mp4", "bad.mp4"), Item(frames, "walk")]
    bad, good = tokenize_clips(job, items, tmp_path / "out", Sampling())
    assert bad.error.endswith("bad.mp4: empty (0 bytes)")
    assert good.error is None
    assert not (tmp_path / "out" / "bad.mp4").exists()


def test_the_frames_themselves_are_never_replaced(job, frames):
    (done,) = do(job, frames, frames.parent)
    assert done.error.endswith(
        "walk is there and is no output of tokenize; choose another output folder"
    )
    assert len(list(frames.glob("*.png"))) == 4


def test_nor_is_a_photo(job, frames):
    before = (frames / "8.png").read_bytes()
    (done,) = tokenize(job, [Item(frames / "8.png", "8.png")], frames)
    assert done.error.endswith(
        "8.png is there and is no output of tokenize; choose another output folder"
    )
    assert (frames / "8.png").read_bytes() == before


def test_a_cut_video_is_set_aside_or_kept_with_a_note(job, tmp_path):
    path = write_video(tmp_path / "a.mkv")
    path.write_bytes(path.read_bytes()[:-300])
    (refused,) = do(job, path, tmp_path / "out")
    assert "cut off or damaged" in refused.error
    (rescued,) = do(job, path, tmp_path / "out", Sampling(cut="keep"), picture=False)
    assert rescued.report["frames"] < 8
    assert "promised" in rescued.report["damage"]


def test_tables_and_show_read_a_clip_as_they_read_an_image(job, frames, tmp_path):
    (done,) = do(job, frames, tmp_path / "out", Sampling(fps=4), picture=False)
    report = {**done.report, "name": "walk"}
    (table,) = results([report])
    assert table.title == "walk: 96 × 64 px, grid 4 × 8 × 8, 256 patches"
    assert summary([report])[0]["tokens"] == 3
    (setting, regions), _ = show_output(tmp_path / "out" / "walk")
    assert setting["spec"] == SPEC
    assert len(regions) == 3


def test_regions_of_a_clip_are_named(frames, tmp_path):
    job = Job(TokenizerSettings(encoder="lite(size=128, patch=16)"), [SPEC], name=True)
    do(job, frames, tmp_path / "out", picture=False)
    content = json.loads((tmp_path / "out" / "walk" / "merge-k-3.regions.json").read_text())
    assert all(region["name"] in job.encoder.classes for region in content["regions"])
