"""Clips: which frames are taken, in which order, and what is refused."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from regiontok.core import clip as module
from regiontok.core.animation import is_animated
from regiontok.core.clip import Clip, ClipError, frame_files, natural_key
from regiontok.core.picture import Picture, PictureError
from regiontok.system.need import MissingPackage

LOSSLESS = "ffv1", "bgr0"


def numbered(count: int, size=(16, 24)) -> list[np.ndarray]:
    """Frame i is one grey of level 10 i."""
    return [np.full((*size, 3), 10 * i, np.uint8) for i in range(count)]


def levels(clip: Clip) -> list[int]:
    """Which of `numbered` the frames are."""
    return [round(int(frame.pixels[0, 0, 0]) / 10) for frame in clip.frames]


@pytest.fixture
def film(tmp_path):
    """Writes a video: film(name, frames, codec=, rate=, options=, rotation=) -> its path."""
    av = pytest.importorskip("av", reason="videos need PyAV: pip install 'regiontok[video]'")

    def write(name, frames, codec=LOSSLESS, rate=10, options=None, rotation=None, times=None):
        path = tmp_path / name
        with av.open(str(path), "w", options=options or {}) as container:
            stream = container.add_stream(codec[0], rate=rate)
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = codec[1]
            if rotation is not None:
                stream.set_display_rotation(rotation)
            for index, pixels in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(
                    np.ascontiguousarray(pixels), format="rgb24"
                ).reformat(format=codec[1])
                frame.pts = index if times is None else times[index]
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return write


def noise(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (48, 64, 3)).astype(np.uint8) for _ in range(count)]


def test_an_array_is_its_frames():
    clip = Clip.of(np.stack(numbered(3)), fps=2)
    assert (len(clip), clip.size, clip.fps, clip.times) == (3, (16, 24), 2, (0.0, 0.5, 1.0))
    assert levels(clip) == [0, 1, 2]
    assert clip.frames[2].name == "clip frame 2"


def test_a_list_a_tensor_and_pictures_are_the_same_clip():
    frames = numbered(3)
    array = Clip.of(np.stack(frames))
    assert array.fps is None
    assert array.times == ()
    assert Clip.of(frames).key == array.key
    assert Clip.of([Picture.of(frame) for frame in frames]).key == array.key
    assert Clip.of(torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)).key == array.key
    assert Clip.of(array) is array


def test_the_key_is_that_of_the_frames_in_their_order():
    frames = numbered(3)
    assert Clip.of(frames).key == Clip.of(frames, fps=3, name="other").key
    assert Clip.of(frames).key != Clip.of(frames[::-1]).key
    assert Clip.of(frames).key != Clip.of(frames[:2]).key


def test_a_folder_is_read_in_natural_order(tmp_path):
    for number in (10, 2, 1):
        Image.fromarray(numbered(11)[number]).save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    (tmp_path / ".hidden.png").write_bytes(b"")
    assert [path.name for path in frame_files(tmp_path)] == [
        "frame1.png",
        "frame2.png",
        "frame10.png",
    ]
    assert levels(Clip.of(tmp_path)) == [1, 2, 10]
    assert levels(Clip.of(str(tmp_path), fps=5)) == [1, 2, 10]


def test_numbers_stand_before_words_in_natural_order():
    assert sorted(["b1", "a10b10", "a", "a10b2", "10", "9"], key=natural_key) == [
        "9",
        "10",
        "a",
        "a10b2",
        "a10b10",
        "b1",
    ]


@pytest.mark.parametrize(
    ("fps", "taken"),
    [
        (None, range(10)),
        (10, range(10)),
        (5, (0, 2, 4, 6, 8)),
        (4, (0, 2, 5, 7)),
        (1, (0,)),
        (0.1, (0,)),
        (99, range(10)),
    ],
)
def test_frames_of_a_known_rate_are_those_on_screen(fps, taken):
    clip = Clip.of(numbered(10), fps, rate=10)
    assert levels(clip) == list(taken)
    assert clip.times == tuple(index / 10 for index in taken)
    assert clip.fps == min(fps or 10, 10)


@pytest.mark.parametrize("name", ["a.mkv", "a.avi"])
@pytest.mark.parametrize(
    ("fps", "taken"), [(None, range(10)), (5, (0, 2, 4, 6, 8)), (4, (0, 2, 5, 7)), (99, range(10))]
)
def test_a_video_is_sampled_as_its_frames_are(film, name, fps, taken):
    clip = Clip.of(film(name, numbered(10)), fps)
    assert levels(clip) == list(taken)
    assert clip.times == pytest.approx([index / 10 for index in taken])
    assert clip.fps == min(fps or 10, 10)
    assert clip.damage == ""


def test_matroska_rounds_timestamps_and_no_frame_is_lost_by_it(film):
    assert levels(Clip.of(film("a.mkv", numbered(20), rate=30), 30)) == list(range(20))
    assert levels(Clip.of(film("b.mkv", numbered(20), rate=30), 15)) == list(range(0, 20, 2))


def test_a_long_frame_stands_for_all_moments_it_is_on_screen_but_once(film):
    path = film("a.mkv", numbered(4), times=[0, 1, 8, 9])  # the second frame stays for 0.7 s
    clip = Clip.of(path, 5)
    assert levels(clip) == [0, 1, 2]  # on screen at 0, at 0.2 to 0.6, and at 0.8
    assert clip.times == pytest.approx([0, 0.1, 0.8])


def test_lossless_frames_come_out_as_they_went_in(film):
    frames = noise(3)
    clip = Clip.of(film("a.mkv", frames))
    assert all(
        np.array_equal(frame.pixels, pixels)
        for frame, pixels in zip(clip.frames, frames, strict=True)
    )
    assert Clip.of(film("b.mkv", frames)).key == clip.key == Clip.of(frames).key


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_rotation_is_undone(film, turn):
    frame = np.zeros((32, 48, 3), np.uint8)
    frame[:8, :24] = 255  # the left half of the top
    clip = Clip.of(film("a.mp4", [frame] * 2, ("mpeg4", "yuv420p"), rotation=turn))
    # Counterclockwise, as the display matrix counts.
    upright = np.rot90(frame[..., 0] > 128, turn // 90)
    assert clip.size == upright.shape
    assert ((clip.frames[0].pixels[..., 0] > 128) == upright).mean() > 0.98


def test_the_matrix_of_a_phone_held_upright_is_a_turn_clockwise(film):
    path = film("a.mp4", numbered(2, (32, 48)), ("mpeg4", "yuv420p"), rotation=270)
    data = path.read_bytes()
    start = data.index(b"tkhd") + 4 + 4 + 20 + 16
    matrix = np.frombuffer(data[start : start + 36], ">i4") / 65536
    assert matrix[:5].tolist() == [0, 1, 0, -1, 0]  # a phone's; QuickTime: x' = -y, y' = x
    assert Clip.of(path).size == (48, 32)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
@pytest.mark.parametrize("share", [0.97, 0.6, 0.3])
def test_a_cut_video_is_an_error_or_its_whole_frames(film, name, share):
    frames = noise(20)
    codec, options = (
        (("mpeg4", "yuv420p"), {"movflags": "faststart"}) if name == "a.mp4" else (LOSSLESS, {})
    )
    path = film(name, frames, codec, options=options)
    whole = Clip.of(path)
    assert len(whole) == 20
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(
        ClipError,
        match=r"cut off or damaged after \d+ frames .*cut='keep' takes those that are whole",
    ):
        Clip.of(path)
    clip = Clip.of(path, cut="keep")
    assert 0 < len(clip) < 20
    assert [frame.key for frame in clip.frames] == [
        frame.key for frame in whole.frames[: len(clip)]
    ]
    assert clip.damage


def test_a_video_cut_before_its_first_frame_has_none(film):
    path = film("a.mkv", noise(20))
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ClipError, match="no frames"):
        Clip.of(path, cut="keep")


def test_an_mp4_without_its_index_is_one_clear_error(film):
    path = film("a.mp4", noise(5), ("mpeg4", "yuv420p"))  # the index stands at the end
    path.write_bytes(path.read_bytes()[:-1200])
    with pytest.raises(
        ClipError,
        match=r"a\.mp4: (no video of a known format, or one cut off at its head|no frames)",
    ):
        Clip.of(path, cut="keep")


def test_sound_alone_has_no_frames(tmp_path):
    av = pytest.importorskip("av", reason="videos need PyAV: pip install 'regiontok[video]'")
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 800), np.int16), format="s16", layout="mono"
        )
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(ClipError, match="no frames: it has no video stream"):
        Clip.of(path)


@pytest.mark.parametrize(
    "data",
    [
        b"hello" * 100,
        b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\nOTHER\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile 'OTHER'\n",
    ],
    ids=["text", "HLS playlist", "concat list"],
)
def test_what_is_no_video_is_refused_and_playlists_open_nothing(film, tmp_path, data):
    other = film("other.mkv", noise(3))
    path = tmp_path / "a.mp4"
    path.write_bytes(data.replace(b"OTHER", str(other).encode()))
    with pytest.raises(ClipError, match=r"a\.mp4: no video of a known format"):
        Clip.of(path)


# --- animations


def animation(path: Path, frames, durations, **options) -> Path:
    first, *others = (Image.fromarray(frame) for frame in frames)
    first.save(path, save_all=True, append_images=others, duration=durations, loop=0, **options)
    return path


@pytest.mark.parametrize(("name", "options"), [("a.gif", {}), ("a.webp", {"lossless": True})])
def test_an_animation_is_its_frames_at_their_times(name, options, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)  # no decoder of videos is asked
    path = animation(tmp_path / name, numbered(6), [100, 100, 200, 100, 300, 100], **options)
    clip = Clip.of(path)
    np.testing.assert_allclose(clip.times, [0, 0.1, 0.2, 0.4, 0.5, 0.8])
    assert (levels(clip), clip.fps, clip.damage) == ([0, 1, 2, 3, 4, 5], pytest.approx(6 / 0.9), "")
    assert clip.key == Clip.of(np.stack(numbered(6))).key
    slower = Clip.of(path, fps=5)  # at 0, 0.2, 0.4, 0.6 and 0.8 s
    assert (levels(slower), slower.fps) == ([0, 2, 3, 4, 5], 5)
    with pytest.raises(ClipError, match=rf"{name}: more than 3 frames; take fewer a second"):
        Clip.of(path, most=3)


def test_frames_without_a_duration_last_a_tenth_of_a_second(tmp_path):
    assert Clip.of(animation(tmp_path / "a.gif", numbered(3), 0)).times == pytest.approx(
        (0, 0.1, 0.2)
    )


def test_what_is_see_through_lies_over_white(tmp_path):
    frames = [np.dstack([frame, np.full((16, 24), 255, np.uint8)]) for frame in numbered(2)]
    for frame in frames:
        frame[:, :12, 3] = 0
    clip = Clip.of(animation(tmp_path / "a.gif", frames, 100, disposal=2))
    assert [frame.pixels[0, [0, 12], 0].tolist() for frame in clip.frames] == [[255, 0], [255, 10]]


@pytest.mark.parametrize("name", ["one.gif", "one.webp"])
def test_an_animation_of_one_frame_is_a_picture(name, tmp_path):
    Image.fromarray(numbered(2)[1]).save(tmp_path / name, lossless=True)
    assert not is_animated(tmp_path / name)
    with pytest.raises(
        ClipError,
        match=rf"{name}: one frame, so it is a picture and no clip; tokenize it as an image",
    ):
        Clip.of(tmp_path / name)
    assert Picture.of(tmp_path / name).pixels[0, 0, 0] == 10


def test_a_gif_cut_anywhere_is_an_error_or_its_whole_frames(tmp_path):
    path = animation(tmp_path / "a.gif", noise(5), 100)
    whole, frames = path.read_bytes(), Clip.of(path).frames
    cut, lengths = tmp_path / "cut.gif", []
    for end in [*range(20, len(whole) - 1, 397), len(whole) - 1]:
        cut.write_bytes(whole[:end])
        with pytest.raises(
            ClipError,
            match=r"cut\.gif: (cut off or damaged after|"
            "no GIF or WebP that can be read, or one cut)",
        ):
            Clip.of(cut)
        with contextlib.suppress(ClipError):  # before the first frame is whole
            clip = Clip.of(cut, cut="keep")
            assert clip.damage
            assert all(
                np.array_equal(a.pixels, b.pixels)
                for a, b in zip(clip.frames, frames, strict=False)
            )
            lengths.append(len(clip))
    assert (set(lengths), lengths) == ({1, 2, 3, 4, 5}, sorted(lengths))


def test_what_follows_the_end_of_a_gif_does_not_matter_and_a_cut_webp_is_none(tmp_path):
    path = animation(tmp_path / "a.gif", numbered(3), 100)
    path.write_bytes(path.read_bytes() + b"more")
    assert len(Clip.of(path)) == 3
    path = animation(tmp_path / "a.webp", noise(3), 100)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ClipError, match=r"a\.webp: no GIF or WebP that can be read"):
        Clip.of(path, cut="keep")


def test_an_animation_that_is_too_much_is_refused(tmp_path, monkeypatch):
    path = animation(tmp_path / "a.gif", numbered(3), 100)
    with monkeypatch.context() as few:
        few.setattr("regiontok.core.clip.MAX_DECODED", 2)
        with pytest.raises(ClipError, match="more than 2 frames; cut the animation first"):
            Clip.of(path, fps=1)
    monkeypatch.setattr("regiontok.core.clip.MAX_PIXELS", 16 * 24 * 2)
    with pytest.raises(ClipError, match="3 frames of 24 x 16 are more than 768 pixels"):
        Clip.of(path, most=3)
    monkeypatch.setattr("regiontok.core.animation.MAX_BYTES", 2**20 - 1)
    (tmp_path / "c.gif").write_bytes(path.read_bytes() + bytes(2**20))
    with pytest.raises(ClipError, match="an animation may have 0 MiB; write it as a video"):
        Clip.of(tmp_path / "c.gif")


def test_a_photo_is_no_video(tmp_path):
    pytest.importorskip("av", reason="videos need PyAV: pip install 'regiontok[video]'")
    file = io.BytesIO()
    Image.fromarray(noise(1)[0]).save(file, "JPEG")
    (tmp_path / "a.jpg").write_bytes(file.getvalue())
    with pytest.raises(ClipError, match="no video of a known format"):
        Clip.of(tmp_path / "a.jpg")


def test_paths_that_hold_no_clip(tmp_path):
    with pytest.raises(ClipError, match=r"gone\.mp4: no such file or folder"):
        Clip.of(tmp_path / "gone.mp4")
    (tmp_path / "empty.mp4").write_bytes(b"")
    with pytest.raises(ClipError, match=r"empty\.mp4: empty \(0 bytes\)"):
        Clip.of(tmp_path / "empty.mp4")
    (tmp_path / "none").mkdir()
    with pytest.raises(ClipError, match="none: no frames: no images lie in this folder"):
        Clip.of(tmp_path / "none")


def test_without_pyav_the_error_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingPackage, match=r"pip install 'regiontok\[video\]'"):
        Clip.of(tmp_path / "a.mp4")


def test_a_broken_frame_is_named(tmp_path):
    Image.fromarray(numbered(1)[0]).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"no image")
    with pytest.raises(PictureError, match=r"2\.png"):
        Clip.of(tmp_path)


def test_frames_of_two_sizes_are_refused():
    with pytest.raises(
        ClipError, match=r"one size, but frame 2 is \(8, 8\) and frame 0 is \(16, 24\)"
    ):
        Clip.of([*numbered(2), np.zeros((8, 8, 3), np.uint8)])


def test_no_frames():
    with pytest.raises(ClipError, match="no frames"):
        Clip.of([])
    with pytest.raises(ClipError, match="no frames"):
        Clip.of(np.zeros((0, 4, 4, 3), np.uint8))


def test_more_frames_than_allowed_are_an_error_never_a_shorter_clip(film):
    assert len(Clip.of(numbered(5), most=5)) == 5
    with pytest.raises(
        ClipError, match=r"more than 5 frames; take fewer a second \(fps\), or allow more \(most\)"
    ):
        Clip.of(numbered(6), most=5)
    path = film("a.mkv", numbered(6))
    with pytest.raises(ClipError, match="more than 5 frames"):
        Clip.of(path, most=5)
    assert len(Clip.of(path, 5, most=5)) == 3


def test_frames_that_are_too_large_together_are_refused(film, monkeypatch):
    path = film("a.mkv", numbered(6))
    monkeypatch.setattr(module, "MAX_PIXELS", 4 * 16 * 24)
    for source in (path, numbered(6)):
        with pytest.raises(
            ClipError, match=r"5 frames of 24 x 16 are more than 1536 pixels; take fewer"
        ):
            Clip.of(source)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ClipError, match="frames of 24 x 16 have more than 0 million pixels"):
        Clip.of(path)


def test_a_video_that_never_ends_is_refused(film, monkeypatch):
    monkeypatch.setattr(module, "MAX_DECODED", 5)
    with pytest.raises(ClipError, match="more than 5 frames; cut the video first"):
        Clip.of(film("a.mkv", numbered(8)), 0.1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"fps": 0}, "fps must be a positive number"),
        ({"fps": float("nan")}, "fps must be a positive number"),
        ({"rate": -1}, "rate must be a positive number"),
        ({"most": 0}, "at least one frame, got most=0"),
        ({"cut": "mend"}, "cut must be 'error' or 'keep', not 'mend'"),
    ],
)
def test_words_out_of_range(words, message):
    with pytest.raises(ValueError, match=message):
        Clip.of(numbered(2), **words)


def test_sources_of_another_kind():
    with pytest.raises(TypeError, match="expected a video file, a folder of frames"):
        Clip.of(3)
    with pytest.raises(TypeError, match="got bytes"):
        Clip.of(b"frames")
    with pytest.raises(
        ClipError, match=r"expected an array of frames \[T H W 3\], got shape \[4, 4, 3\]"
    ):
        Clip.of(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ClipError, match="2 frames need as many times, got 1"):
        Clip(Clip.of(numbered(2)).frames, 1, "key", times=(0.0,))
