"""Where `regiontok masks` finds images: folders, lists, WebDataset shards, LLaVA's JSON."""

from __future__ import annotations

import io
import json
import tarfile

import pytest
from PIL import Image

from regiontok.core.picture import Picture, PictureError
from regiontok.data.collect import NoImages
from regiontok.data.walk import tars_below
from regiontok.jobs.masks.image_sources import ImageSource, image_sources

CUT_TAR = "00.tar: damaged, or a compressed tar (it does not end as a tar does); 1 images"


class TestFilesAndFolders:
    def test_a_folder_gives_each_file_once(self, photos):
        sources = image_sources([str(photos), str(photos / "0.png")])
        names = [source.path.name for source in sources]
        assert names == ["0.png", "1.png", "2.png", "3.png", "copy.png"]
        assert Picture.of(sources[0].read()).size == (64, 64)

    def test_a_list_keeps_its_order(self, photos):
        lines = io.StringIO(f"{photos / '3.png'}\n{photos / '1.png'}\n")
        assert [source.path.name for source in image_sources(["-"], stdin=lines)] == [
            "3.png",
            "1.png",
        ]

    def test_nothing_is_refused(self, tmp_path):
        with pytest.raises(NoImages, match="no image given"):
            image_sources([])
        with pytest.raises(NoImages, match="no images in this folder"):
            image_sources([str(tmp_path)])

    def test_a_file_too_large_and_one_cut_off(self, tmp_path, monkeypatch):
        path = tmp_path / "a.png"
        path.write_bytes(b"x" * 100)
        with pytest.raises(PictureError, match="cut off after 60 of 100 bytes"):
            ImageSource("a", path, 40, 100).read()
        monkeypatch.setattr("regiontok.jobs.masks.image_sources.MAX_BYTES", 99)
        with pytest.raises(PictureError, match="MiB an image may have"):
            ImageSource("a", path).read()


class TestWebDataset:
    def test_tars_that_this_project_wrote_are_left_out_below_a_folder(
        self, photos, tmp_path, write_tar
    ):
        picture = {"0.png": (photos / "0.png").read_bytes()}
        shards, run = tmp_path / "shards", tmp_path / "rice"
        (run / "data").mkdir(parents=True)
        shards.mkdir()
        write_tar(shards / "images-000000.tar", picture)
        (shards / "images-000000.regions.json").write_text("{}")
        write_tar(shards / "theirs.tar", picture)
        (shards / "theirs.regions.json").write_text("{}")  # a side-car beside another's tar
        write_tar(run / "data" / "00000.tar", picture)
        for name in ("provenance.json", "resolved.toml"):
            (run / name).write_text("")
        assert [tar.name for tar in tars_below(tmp_path)] == ["theirs.tar"]
        assert [tar.name for tar in tars_below(shards)] == ["images-000000.tar", "theirs.tar"]

    def test_members_are_read_where_they_lie(self, photos, tmp_path, write_tar):
        shards = tmp_path / "shards"
        shards.mkdir()
        data = [(photos / f"{seed}.png").read_bytes() for seed in range(3)]
        write_tar(shards / "00.tar", {"a/0.png": data[0], "a/0.json": b"{}", "1.png": data[1]})
        write_tar(shards / "01.tar", {"2.png": data[2], "._2.png": b"x"})
        sources = image_sources([str(shards)])
        assert [source.name for source in sources] == [
            f"{shards}/00.tar/a/0.png",
            f"{shards}/00.tar/1.png",
            f"{shards}/01.tar/2.png",
        ]
        assert [source.read() for source in sources] == data
        assert image_sources([str(shards / "*.tar")]) == sources
        assert image_sources([str(shards / "00.tar"), str(shards / "01.tar")]) == sources

    def test_a_folder_with_shards_and_images_gives_both(self, photos, write_tar):
        write_tar(photos / "00.tar", {"2.png": b"x"})
        assert len(image_sources([str(photos)])) == 6

    @pytest.mark.parametrize(
        ("length", "messages"),
        [
            (0, [CUT_TAR]),
            (300, [CUT_TAR]),
            (
                700,
                [
                    "00.tar/1.png: cut off after 188 of",
                    "00.tar: damaged, or a compressed tar (unexpected end of data); 2 images",
                ],
            ),
        ],
        ids=["between members", "in a header", "in an image"],
    )
    def test_a_damaged_tar_gives_what_it_has_and_says_so(
        self, photos, tmp_path, write_tar, length, messages
    ):
        data = (photos / "0.png").read_bytes()
        path = write_tar(tmp_path / "00.tar", {"0.png": data, "1.png": data})
        first_member = 512 + -(-len(data) // 512) * 512
        path.write_bytes(path.read_bytes()[: first_member + length])
        whole, *damaged = image_sources([str(path)])
        assert whole.read() == data
        assert len(damaged) == len(messages)
        for source, message in zip(damaged, messages, strict=True):
            with pytest.raises(PictureError) as error:
                source.read()
            assert message in str(error.value)

    def test_a_compressed_tar_is_refused(self, tmp_path):
        with tarfile.open(tmp_path / "00.tar", "w:gz") as archive:
            archive.addfile(tarfile.TarInfo("0.png"), io.BytesIO())
        (source,) = image_sources([str(tmp_path / "00.tar")])
        with pytest.raises(PictureError, match=r"00.tar: damaged, or a compressed tar"):
            source.read()

    def test_a_tar_without_images_says_so(self, tmp_path, write_tar):
        (source,) = image_sources([str(write_tar(tmp_path / "00.tar", {"0.txt": b"x"}))])
        with pytest.raises(PictureError, match="no images in this tar"):
            source.read()


class TestLlavaJson:
    def test_records_have_one_image_several_or_none(self, photos, tmp_path):
        records = [
            {"image": "0.png"},
            {"id": 1},
            {"image": ["1.png", "0.png"]},
            {"image": "gone.png"},
        ]
        (tmp_path / "llava.json").write_text(json.dumps(records))
        sources = image_sources([str(tmp_path / "llava.json")], photos)
        assert [source.name for source in sources] == ["0.png", "1.png", "gone.png"]
        with pytest.raises(PictureError, match=r"gone.png: no such file"):
            sources[2].read()

    @pytest.mark.parametrize(
        ("text", "error", "message"),
        [
            ("{", ValueError, "llava.json: cannot be read as JSON"),
            ('{"image": "a"}', ValueError, "expected a list of records"),
            (
                '[{"image": 3}]',
                ValueError,
                "record 0: image must be a path relative to --images, got 3",
            ),
            ('[{"image": "/etc/passwd"}]', ValueError, "record 0: image must be a path relative"),
            ('[{"id": 3}]', NoImages, "no record has an image"),
        ],
    )
    def test_another_json_is_refused(self, tmp_path, text, error, message):
        (tmp_path / "llava.json").write_text(text)
        with pytest.raises(error, match=message):
            image_sources([str(tmp_path / "llava.json")], tmp_path)

    def test_a_json_needs_a_folder_of_images_and_nothing_else_takes_one(self, tmp_path, photos):
        (tmp_path / "llava.json").write_text("[]")
        with pytest.raises(ValueError, match="say --images FOLDER"):
            image_sources([str(tmp_path / "llava.json")])
        with pytest.raises(ValueError, match="no such folder"):
            image_sources([str(tmp_path / "llava.json")], tmp_path / "gone")
        with pytest.raises(ValueError, match="goes with a LLaVA JSON"):
            image_sources([str(photos)], tmp_path)


def test_the_pixels_of_a_source_are_known_from_its_head(tmp_path):
    file = io.BytesIO()
    Image.new("RGB", (300, 20)).save(file, "PNG")
    (tmp_path / "a.png").write_bytes(file.getvalue())
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.add(tmp_path / "a.png", "a.png")
    sources = image_sources([str(tmp_path / "a.png"), str(tmp_path / "s.tar")])
    assert [source.announced_pixels() for source in sources] == [6000, 6000]
    assert ImageSource("gone", tmp_path / "gone").announced_pixels() == 0
