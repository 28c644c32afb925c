"""Where shards lie and how they are found: offsets, older side-cars, manifests, object storage."""

from __future__ import annotations

import io
import json
import multiprocessing

import fsspec
import pyarrow.parquet as pq
import pytest
from PIL import Image

from regiontok.shards import sources
from regiontok.shards.image_regions import ImageRegions
from regiontok.shards.loading import load_steps
from regiontok.shards.manifest import write_manifest
from regiontok.shards.report import OLDER_FORMAT
from regiontok.shards.sidecar import GROUP, read_row_group, write_sidecar
from regiontok.shards.sources import FoundShards, ShardSource, find_shards
from regiontok.shards.stream import ShardViews
from regiontok.shards.tar import ShardError, open_index, write_tar
from regiontok.shards.views import LabelSpace, ViewSettings
from regiontok.system import storage
from regiontok.system.parquet import write_parquet

SETTINGS = ViewSettings((16, 16), regions=2)
LABELS = LabelSpace(classes=99)


def photo(number: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (32, 24), (number, 7, 77)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Two shards of five images; image n has the colour and the label n."""
    for shard in range(2):
        numbers = range(5 * shard, 5 * shard + 5)
        tar = tmp_path / f"s-{shard}.tar"
        write_tar(tar, [(f"{number:03}.png", photo(number)) for number in numbers])
        rows = [
            ImageRegions(index, f"{number:03}", (24, 32), [[1, 2, 20, 20]], labels=[number])
            for index, number in enumerate(numbers)
        ]
        write_sidecar(tar, rows, config={})
    return tmp_path


def make_older(folder, name: str) -> None:
    """Take the places out of a side-car, as earlier versions wrote it."""
    path = folder / f"{name}.regions.parquet"
    table = pq.read_table(path).drop_columns(["start", "length"])
    write_parquet(table, path, OLDER_FORMAT, group_rows=GROUP, metadata={})
    report = folder / f"{name}.regions.json"
    stated = json.loads(report.read_text())
    del stated["offsets"]
    report.write_text(json.dumps(stated | {"format": OLDER_FORMAT}))


def contents(place, workers: int = 0, **options) -> list:
    views = ShardViews([ShardSource(place)], SETTINGS, LABELS, seed=1, **options)
    return [
        (batch.images, batch.pixels.tolist(), batch.labels[..., 0].tolist(), batch.skipped)
        for batch in load_steps(views, batch=5, start=0, stop=3, workers=workers)
    ]


def test_a_side_car_says_where_its_images_lie(folder):
    index = open_index(folder / "s-1.tar", folder / "elsewhere")
    group = read_row_group(folder / "s-1.regions.parquet", 0)
    assert [list(group[row].span) for row in range(5)] == index.spans.tolist()
    contents(folder)
    assert not [*folder.glob("*.index.json")], "nothing is indexed"


def test_a_writer_refuses_rows_of_another_tar(folder):
    row = ImageRegions(7, "007", (24, 32), [[1, 2, 20, 20]])
    with pytest.raises(ValueError, match=r"image 7 is '007' in the side-car, the tar has only 5"):
        write_sidecar(folder / "s-1.tar", [row], config={})


def test_older_side_cars_are_indexed_once_before_training_and_it_is_said(folder):
    whole = contents(folder)
    make_older(folder, "s-0")
    views = ShardViews([ShardSource(folder)], SETTINGS, LABELS)
    assert [path.name for path in folder.glob("*.index.json")] == ["s-0.tar.index.json"]
    assert "1 of 2 side-cars do not say where the images lie" in views.notes[0]
    assert find_shards(ShardSource(folder)).notes == (), "once"
    assert contents(folder, workers=2) == whole


def test_a_tar_that_cannot_be_indexed_is_named_or_left_out(folder):
    make_older(folder, "s-0")
    tar = folder / "s-0.tar"
    tar.write_bytes(b"x" * 700 + tar.read_bytes()[700:])
    with pytest.raises(ShardError, match=r"s-0\.tar: cut off, or not an uncompressed tar"):
        find_shards(ShardSource(folder))
    found = find_shards(ShardSource(folder), skip=True)
    assert [shard.name for shard in found.shards] == ["s-1"]
    assert "s-0.tar: cut off" in found.problems[0]


def test_a_manifest_spares_the_reports_and_an_old_entry_is_not_believed(folder, monkeypatch):
    whole = find_shards(ShardSource(folder))
    write_manifest(folder)
    asked = []
    read_report = sources.read_report

    def counted(path):
        asked.append(path.name)
        return read_report(path)

    monkeypatch.setattr(sources, "read_report", counted)
    assert find_shards(ShardSource(folder)) == whole
    assert asked == []
    rows = [ImageRegions(0, "005", (24, 32), [[1, 2, 20, 20]])]
    write_sidecar(folder / "s-1.tar", rows, config={"other": 1})
    assert [shard.images for shard in find_shards(ShardSource(folder)).shards] == [5, 1]
    assert asked == ["s-1.regions.json"]
    (folder / "regions.manifest.json").write_text("[]")
    assert [shard.images for shard in find_shards(ShardSource(folder)).shards] == [5, 1]


def test_what_one_process_finds_another_can_use(folder):
    source = ShardSource(folder)
    found = find_shards(source)
    told = FoundShards.from_json(source, found.to_json())
    assert told == found
    assert contents(folder, shards_found=[told]) == contents(folder)


@pytest.fixture
def in_memory(folder):
    """The same shards in a store."""
    place = f"memory://{folder.name}"
    fsspec.filesystem("memory").put(f"{folder}/", f"{place}/", recursive=True)
    return place


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_store_gives_the_same_views_as_the_disk(folder, in_memory, workers):
    assert contents(in_memory, workers) == contents(folder)
    make_older(folder, "s-0")
    assert contents(f"file://{folder}") == contents(in_memory)


def test_a_store_that_fails_in_the_middle_of_a_read_is_asked_again_then_named(
    folder, in_memory, monkeypatch
):
    monkeypatch.setattr(storage, "FIRST_WAIT", 0.0)
    store = type(fsspec.filesystem("memory"))
    cat_file, failures = store.cat_file, [TimeoutError("no answer")] * 2

    def failing(self, path, start=None, end=None, **kwargs):
        if path.endswith(".tar") and failures:
            raise failures.pop()
        return cat_file(self, path, start, end, **kwargs)

    monkeypatch.setattr(store, "cat_file", failing)
    whole = contents(folder)
    assert contents(in_memory) == whole
    assert not failures
    failures += [TimeoutError("no answer")] * 999
    with pytest.raises(ShardError, match=r"memory://.*\.tar: .*tried 4 times \(no answer\)"):
        contents(in_memory)


def test_a_store_without_shards_or_with_a_cut_tar_is_named(folder, in_memory):
    with pytest.raises(ShardError, match=r"memory://nowhere: no shard with a side-car"):
        find_shards(ShardSource("memory://nowhere"))
    data = (folder / "s-0.tar").read_bytes()
    fsspec.filesystem("memory").pipe(f"{in_memory}/s-0.tar", data[:-600])
    with pytest.raises(ShardError, match=r"memory://.*s-0\.tar: cut off: \d+ bytes"):
        find_shards(ShardSource(in_memory))


def rewrite(folder, times: int) -> None:
    tar = folder / "s-0.tar"
    rows = [ImageRegions(0, "000", (24, 32), [[1, 2, 20, 20]])]
    for _ in range(times):
        write_sidecar(tar, rows, config={})


def test_two_writers_of_one_side_car_do_each_other_no_harm(folder):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=rewrite, args=(folder, 20)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert [shard.images for shard in find_shards(ShardSource(folder)).shards] == [1, 5]
    assert not [path.name for path in folder.iterdir() if ".part" in path.name]
