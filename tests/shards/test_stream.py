"""Shards on disk: format, random access, resume, ranks and workers.

What is missing, cut off or damaged is tried too.
"""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from regiontok.core.masks import PixelMasks
from regiontok.shards.image_regions import ImageRegions
from regiontok.shards.loading import load_steps
from regiontok.shards.report import FailedImage, config_hash, read_report, report_path
from regiontok.shards.sidecar import read_row_group, write_sidecar
from regiontok.shards.sources import ShardSource, find_shards
from regiontok.shards.stream import ShardViews
from regiontok.shards.tar import ShardError, open_index, write_tar
from regiontok.shards.views import LabelSpace, NoRegion, ViewSettings

pytest.importorskip("pyarrow")
LABELS = LabelSpace(classes=1000)
SETTINGS = ViewSettings((16, 16), regions=3)


def photo(number: int, size=(24, 32)) -> bytes:
    """One colour, by which a test knows the image."""
    stream = io.BytesIO()
    Image.new("RGB", size[::-1], (number % 256, number // 256, 77)).save(stream, "PNG")
    return stream.getvalue()


def make(folder, name: str, numbers, errors=(), regions=2):
    """A shard whose image i has the colour and the label numbers[i]."""
    folder.mkdir(parents=True, exist_ok=True)
    tar = folder / f"{name}.tar"
    files = [pair for n in numbers for pair in ((f"{n:06}.png", photo(n)), (f"{n:06}.json", b"{}"))]
    write_tar(tar, files)
    boxes = np.array([[1, 2, 20, 20], [10, 5, 32, 24], [0, 0, 5, 5]], np.float32)[:regions]
    rows = [
        ImageRegions(index, f"{n:06}", (24, 32), boxes, labels=np.full(regions, n))
        for index, n in enumerate(numbers)
        if n not in errors
    ]
    failures = [
        FailedImage(index, f"{n:06}", "why") for index, n in enumerate(numbers) if n in errors
    ]
    return tar, write_sidecar(tar, rows, config={"segmenter": "x"}, errors=failures)


def views_of(folder, **options) -> ShardViews:
    return ShardViews([ShardSource(folder)], options.pop("settings", SETTINGS), LABELS, **options)


def contents(batches) -> list[tuple]:
    """Everything of every view, in order."""
    return [
        (
            batch.images[row],
            batch.pixels[row].numpy().tobytes(),
            batch.boxes[row].tolist(),
            batch.labels[row, :, 0].tolist(),
        )
        for batch in batches
        for row in range(len(batch))
    ]


def test_the_index_finds_every_image_and_is_kept(tmp_path):
    tar, _ = make(tmp_path, "s-0", range(5))
    index = open_index(tar, tmp_path)
    assert index.names == tuple(f"{n:06}.png" for n in range(5))
    assert [index.read(position) for position in (3, 0, 4)] == [photo(3), photo(0), photo(4)]
    index_file = tmp_path / "s-0.tar.index.json"
    text = index_file.read_text()
    assert open_index(tar, tmp_path).spans.tolist() == index.spans.tolist()
    assert index_file.read_text() == text
    for wrong in (
        "{",
        json.dumps({"format": "other"}),
        json.dumps(json.loads(text) | {"bytes": 1}),
    ):
        index_file.write_text(wrong)
        assert open_index(tar, tmp_path).names == index.names
        assert index_file.read_text() == text


def test_tars_as_others_write_them(tmp_path):
    """GNU and old formats, long names, folders, and files of one sample that are no image."""
    for number, form in enumerate((tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT)):
        path = tmp_path / f"{number}.tar"
        names = ["a.jpg", "a.txt", f"long/{'x' * 90}/b.c.PNG"]
        with tarfile.open(path, "w", format=form) as archive:
            archive.addfile(tarfile.TarInfo("long/"))
            for name in names:
                member = tarfile.TarInfo(name)
                member.size = len(name)
                archive.addfile(member, io.BytesIO(name.encode()))
        index = open_index(path, tmp_path)
        assert index.names == (names[0], names[2])
        assert index.key(1) == f"long/{'x' * 90}/b"
        assert [index.read(0), index.read(1)] == [names[0].encode(), names[2].encode()]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.55, 0.97])
def test_a_tar_cut_off_anywhere_is_named(tmp_path, share):
    tar = tmp_path / "s-1.tar"
    write_tar(tar, [(f"{n}.png", photo(n) * 9) for n in range(20)])
    data = tar.read_bytes()
    data = data[: data.rindex(b"19.png")] if share == 0.97 else data[: int(share * len(data))]
    tar.write_bytes(data)
    with pytest.raises(ShardError, match=r"s-1\.tar: cut off"):
        open_index(tar, tmp_path)


def test_a_tar_cut_between_two_files_is_named(tmp_path):
    tar = tmp_path / "s-1.tar"
    write_tar(tar, [("0.png", bytes(1000)), ("1.png", bytes(1000))])
    tar.write_bytes(tar.read_bytes()[: 512 + 1024])
    with pytest.raises(ShardError, match=r"cut off: 1536 bytes, and no end of the archive"):
        open_index(tar, tmp_path)


def test_a_compressed_tar_is_refused(tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.png"), io.BytesIO())
    with pytest.raises(ShardError, match="not an uncompressed tar"):
        open_index(tmp_path / "s.tar", tmp_path)


def test_a_side_car_comes_back_as_it_was(tmp_path):
    tar = tmp_path / "s-2.tar"
    write_tar(tar, [("a.png", photo(0)), ("b.png", photo(1))])
    mask = PixelMasks.from_dense(np.eye(24, 32)[None]).counts[0]
    full = ImageRegions(
        1,
        "b",
        (24, 32),
        [[0, 0, 9.5, 8], [1, 1, 3, 3]],
        [0, 1],
        [17, -1],
        [mask, b""],
        ["", "héllo"],
        [0.5, 0.25],
    )
    report = write_sidecar(
        tar, [full, ImageRegions(0, "a", (24, 32), np.zeros((0, 4)))], config={"k": 1}
    )
    group = read_row_group(tmp_path / "s-2.regions.parquet", 0)
    empty, back = group[0], group[1]
    assert (empty.index, len(empty)) == (0, 0)
    assert (back.index, back.key, back.size) == (1, "b", (24, 32))
    assert [list(back.masks), list(back.texts)] == [[mask, b""], ["", "héllo"]]
    for name in ("boxes", "kinds", "labels", "confidences"):
        assert np.array_equal(getattr(back, name), getattr(full, name))
        assert getattr(back, name).dtype == getattr(full, name).dtype
    assert read_report(report_path(tmp_path, "s-2")) == report
    assert (report.images, report.regions, report.texts, report.masks) == (2, 2, 1, 1)
    assert report.config_hash == config_hash({"k": 1})
    first = (tmp_path / "s-2.regions.parquet").read_bytes()
    write_sidecar(tar, [ImageRegions(0, "a", (24, 32), np.zeros((0, 4))), full], config={"k": 1})
    assert (tmp_path / "s-2.regions.parquet").read_bytes() == first


def test_a_side_car_is_there_whole_or_not_at_all(tmp_path):
    tar, _ = make(tmp_path, "s-0", range(3))

    def rows():
        yield ImageRegions(0, "000000", (24, 32), [[0, 0, 1, 1]])
        raise KeyboardInterrupt

    before = (tmp_path / "s-0.regions.parquet").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        write_sidecar(tar, rows(), config={})
    assert (tmp_path / "s-0.regions.parquet").read_bytes() == before
    # as a writer leaves it that is killed between its two files
    report_path(tmp_path, "s-0").unlink()
    with pytest.raises(ShardError, match=r"s-0\.regions\.json: cannot be read"):
        find_shards(ShardSource(tmp_path))
    make(tmp_path, "s-0", range(3))
    (tmp_path / "s-0.regions.parquet").unlink()
    with pytest.raises(ShardError, match=r"s-0\.regions\.parquet: the side-car is missing"):
        find_shards(ShardSource(tmp_path))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"boxes": [[0, 0, 33, 5]]},
            r"image 3 \(k\): box 0 \[0.0, 0.0, 33.0, 5.0\] is no xyxy box within",
        ),
        ({"boxes": [[4, 4, 4, 8]]}, "is no xyxy box within"),
        ({"boxes": [[0, 0, float("nan"), 5]]}, "is no xyxy box within"),
        ({"kinds": [2]}, "kinds must be 0"),
        (
            {"masks": [PixelMasks.from_dense(np.ones((1, 5, 5))).counts[0]]},
            "describes 25 pixels, the image has 768",
        ),
    ],
)
def test_the_writer_refuses_wrong_regions(tmp_path, fields, message):
    tar, _ = make(tmp_path, "s-0", [1])
    with pytest.raises(ValueError, match=message):
        write_sidecar(
            tar, [ImageRegions(3, "k", (24, 32), **({"boxes": [[0, 0, 5, 5]]} | fields))], config={}
        )
    with pytest.raises(ValueError, match="image 3 has 1 boxes and 2 labels"):
        ImageRegions(3, "k", (24, 32), [[0, 0, 5, 5]], labels=[1, 2])
    with pytest.raises(ValueError, match="image 3 has two rows"):
        write_sidecar(tar, [ImageRegions(3, "k", (24, 32), [[0, 0, 5, 5]])] * 2, config={})


def test_every_view_is_of_its_image(tmp_path):
    # 138 rows: two row groups, numbers with gaps
    make(tmp_path, "s-0", range(300, 440), errors=(301, 377))
    make(tmp_path, "s-1", range(440, 450))
    views = views_of(tmp_path)
    assert views.order.samples == 148
    seen = []
    for batch in load_steps(views, batch=37, start=0, stop=4):
        for pixels, labels, (shard, index) in zip(
            batch.pixels, batch.labels, batch.images, strict=True
        ):
            number = int(pixels[0, 8, 8]) + 256 * int(pixels[1, 8, 8])
            assert (shard, index) == (
                ("s-0", number - 300) if number < 440 else ("s-1", number - 440)
            )
            assert labels[:, 0].tolist() == [number] * 3
            seen.append(number)
    assert sorted(seen) == sorted(set(range(300, 450)) - {301, 377})


def test_ranks_and_workers_see_the_same_samples_and_any_step_resumes(tmp_path):
    make(tmp_path / "a", "s-0", range(13))
    make(tmp_path / "b", "t-0", range(100, 109))
    sources = [ShardSource(tmp_path / "a"), ShardSource(tmp_path / "b", weight=0.5)]
    views = ShardViews(sources, ViewSettings((16, 16), regions=3, patch=8), LABELS, seed=2)
    state = torch.get_rng_state()
    # two epochs of 17 or 18
    whole = [contents([batch]) for batch in load_steps(views, batch=6, start=0, stop=6)]
    assert len({str(step) for step in whole}) == 6
    for ranks in (1, 2, 3):
        for workers in (0, 2):
            shares = [
                [
                    contents([batch])
                    for batch in load_steps(
                        views, batch=6, start=2, stop=5, rank=r, ranks=ranks, workers=workers
                    )
                ]
                for r in range(ranks)
            ]
            assert [
                [view for share in step for view in share] for step in zip(*shares, strict=True)
            ] == whole[2:5]
    assert [contents([batch]) for batch in load_steps(views, batch=6, start=5, stop=6)] == whole[5:]
    assert torch.equal(torch.get_rng_state(), state)


def test_another_epoch_draws_other_views(tmp_path):
    make(tmp_path, "s-0", range(1, 9), regions=3)
    views = views_of(tmp_path)
    first, second = (
        {image: view for image, *view in contents(load_steps(views, batch=8, start=e, stop=e + 1))}
        for e in (0, 1)
    )
    assert first.keys() == second.keys()
    assert all(first[image] != second[image] for image in first)


def test_side_cars_in_another_folder(tmp_path):
    tar, _ = make(tmp_path / "mixed", "s-0", range(4))
    (tmp_path / "tars").mkdir()
    tar.rename(tmp_path / "tars" / tar.name)
    views = ShardViews([ShardSource(tmp_path / "tars", tmp_path / "mixed")], SETTINGS, LABELS)
    assert len(contents(load_steps(views, batch=4, start=0, stop=1))) == 4
    # nothing is written beside the images
    assert [path.name for path in (tmp_path / "tars").iterdir()] == ["s-0.tar"]


def test_shards_missing_or_cut_off_are_named_or_left_out(tmp_path):
    for number in range(3):
        make(tmp_path, f"s-{number}", range(4))
    (tmp_path / "s-0.tar").unlink()
    with pytest.raises(ShardError, match=r"s-0\.tar: the shard is missing"):
        views_of(tmp_path)
    tar = tmp_path / "s-1.tar"
    tar.write_bytes(tar.read_bytes()[:-700])
    views = views_of(tmp_path, skip=True)
    assert [shard.name for shard in views.shards[0]] == ["s-2"]
    assert "s-0.tar: the shard is missing" in views.left_out[0]
    assert "s-1.tar: cut off: 9540 bytes, its side-car was made of 10240" in views.left_out[1]
    tar.write_bytes(bytes(20000))
    for path in tmp_path.glob("s-0.*"):
        path.unlink()
    with pytest.raises(ShardError, match=r"s-1\.tar: another tar: 20000 bytes"):
        find_shards(ShardSource(tmp_path))
    (tmp_path / "s-2.tar").unlink()
    with pytest.raises(
        ShardError, match=r"no shard with a side-car .*s-2\.tar: the shard is missing"
    ):
        views_of(tmp_path, skip=True)


def test_damage_met_while_reading_is_named_or_passed_over(tmp_path):
    tar, _ = make(tmp_path, "s-0", range(6))
    data = bytearray(tar.read_bytes())
    start = data.index(photo(2))
    data[start : start + 40] = bytes(40)
    tar.write_bytes(bytes(data))
    with pytest.raises(
        ShardError, match=r"s-0, image 2 \(000002\): not an image of a known format"
    ):
        contents(load_steps(views_of(tmp_path), batch=6, start=0, stop=1))
    (batch,) = load_steps(views_of(tmp_path, skip=True), batch=6, start=0, stop=1)
    assert [reason.split(":")[0] for reason in batch.skipped] == ["s-0, image 2 (000002)"]
    assert {index for _, index in batch.images} == {0, 1, 3, 4, 5}
    assert len(batch) == 6
    path = tmp_path / "s-0.regions.parquet"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ShardError, match=r"s-0\.regions\.parquet: corrupt"):
        views_of(tmp_path)[0]
    with pytest.raises(
        ShardError, match=r"100 images in a row cannot be used, the last: .*corrupt"
    ):
        views_of(tmp_path, skip=True)[0]


def test_a_side_car_of_another_tar_is_found(tmp_path):
    make(tmp_path / "a", "s-0", range(4))
    make(tmp_path / "b", "s-0", range(10, 14))  # the same names and lengths
    (tmp_path / "b" / "s-0.tar").replace(tmp_path / "a" / "s-0.tar")
    with pytest.raises(
        ShardError,
        match=r"another tar: image \d is '00000\d' .*, the tar has '00001\d'",
    ):
        views_of(tmp_path / "a")[0]


def test_images_without_regions_give_their_place_to_the_next(tmp_path):
    tar, _ = make(tmp_path, "s-0", range(4))
    rows = [
        ImageRegions(
            number,
            f"{number:06}",
            (24, 32),
            [[1, 1, 9, 9]] if number else np.zeros((0, 4)),
            labels=[number][: number and 1],
        )
        for number in range(4)
    ]
    write_sidecar(tar, rows, config={})
    (batch,) = load_steps(views_of(tmp_path), batch=4, start=0, stop=1)
    assert {index for _, index in batch.images} == {1, 2, 3}
    assert len(batch.skipped) == 1
    assert "image 0 (000000): no region in view" in batch.skipped[0]
    with pytest.raises(NoRegion, match=r"image 0 \(000000\)"):
        contents(
            load_steps(
                views_of(tmp_path, settings=ViewSettings((16, 16), empty="error")),
                batch=4,
                start=0,
                stop=1,
            )
        )


def test_a_label_out_of_range_is_an_error_also_where_damage_is_skipped(tmp_path):
    make(tmp_path, "s-0", [1000])
    with pytest.raises(
        ShardError, match=r"s-0, image 0 \(001000\): region 0 has the label 1000, expected 0..999"
    ):
        views_of(tmp_path, skip=True)[0]


def test_a_batch_moves_as_one(tmp_path):
    make(tmp_path, "s-0", range(4))
    (batch,) = load_steps(views_of(tmp_path), batch=4, start=0, stop=1)
    moved = batch.to("meta")
    assert {moved.pixels.device.type, moved.labels.device.type} == {"meta"}
    assert moved.shares is None
    assert moved.images == batch.images
