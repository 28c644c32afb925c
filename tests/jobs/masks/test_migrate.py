"""migrate: the released project's mask folders into a store, and what strangers' files may hold."""

from __future__ import annotations

import io
import json
import os
import pickle

import numpy as np
import pytest
from PIL import Image, ImageOps

from regiontok.core.picture import Picture
from regiontok.jobs.masks.masks import info, set_aside
from regiontok.jobs.masks.migrate import folders, migrate, plan, read_array
from regiontok.maskstore.store import MaskStore
from regiontok.tokenizer.region_tokenizer import RegionTokenizer

pytest.importorskip("pyarrow")
NAME = "coco/train2017/000000033471.jpg"


def photo(path, seed=0, size=(30, 40), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def masks(count, seed=0, size=(30, 40)):
    return np.random.default_rng(seed).random((count, *size)) < 0.4


def release(root, name, arrays, partition=0):
    """What the released generator writes: one file a mask."""
    folder = root / f"partition_{partition}" / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, array in enumerate(arrays):
        np.save(folder / f"mask_{number}.npy", array)
    return folder


@pytest.fixture
def there(tmp_path):
    """One image with 12 masks, and its photo."""
    photo(tmp_path / "data" / NAME)
    release(tmp_path / "arrays", NAME, masks(12))
    return tmp_path


def run(there, out="store", **options):
    return list(migrate(there / "arrays", there / "data", there / out, **options))


def stored(there, name, out="store"):
    masks_of_picture = MaskStore(there / out).get(Picture.of(there / "data" / name).key)
    return masks_of_picture.dense().numpy()


def test_masks_come_by_number_and_are_found_by_the_bytes_of_their_photo(there):
    (done,) = run(there)
    assert (done.masks, done.error, done.resumed) == (12, None, False)
    assert done.size == sum(path.stat().st_size for path in (there / "arrays").rglob("*.npy"))
    assert np.array_equal(stored(there, NAME), masks(12))
    tokenizer = RegionTokenizer(
        "filters",
        "segments(0.5, unit='pixels', compare='>=')",
        segmenter=f"stored({str(there / 'store')!r})",
        pool="select",
    )
    assert len(tokenizer(there / "data" / NAME)) > 576


def test_the_order_of_the_release_is_that_of_names_as_text(there):
    run(there, order="name")
    as_text = sorted(range(12), key=lambda number: f"mask_{number}.npy")
    assert as_text[:4] == [0, 1, 10, 11]
    assert np.array_equal(stored(there, NAME), masks(12)[as_text])
    with pytest.raises(ValueError, match="holds masks of og_llava"):
        run(there)  # another order is another store


def test_one_array_of_all_masks_and_an_image_without_any(tmp_path):
    for number, array in enumerate((masks(3), np.array([]))):
        name = f"gqa/{number}.png"
        photo(tmp_path / "data" / name, number)
        folder = tmp_path / "arrays" / "partition_2" / name
        folder.mkdir(parents=True)
        np.save(folder / f"{number}_masks.npy", array)
    assert [done.masks for done in run(tmp_path)] == [3, 0]
    assert np.array_equal(stored(tmp_path, "gqa/0.png"), masks(3))
    assert stored(tmp_path, "gqa/1.png").shape == (0, 30, 40)


@pytest.mark.parametrize("form", ["one by one", "together"])
def test_arrays_may_hold_columns_as_those_of_sam_do(tmp_path, form):
    """SAM decodes its run lengths column by column and transposes.

    `np.save` writes such an array as it lies.
    """
    photo(tmp_path / "data" / "a.jpg")
    columns = [np.ascontiguousarray(mask.T).T for mask in masks(3)]
    if form == "one by one":
        folder = release(tmp_path / "arrays", "a.jpg", columns)
        assert b"'fortran_order': True" in (folder / "mask_0.npy").read_bytes()[:128]
    else:
        folder = release(tmp_path / "arrays", "a.jpg", [])
        np.save(folder / "a_masks.npy", np.asfortranarray(masks(3)))
    assert run(tmp_path)[0].error is None
    assert np.array_equal(stored(tmp_path, "a.jpg"), masks(3))


def test_a_second_run_goes_on_where_the_first_was_stopped(there):
    photo(there / "data" / "gqa/7.jpg", 7)
    release(there / "arrays", "gqa/7.jpg", masks(2, 7), partition=10)
    running = migrate(there / "arrays", there / "data", there / "store")
    next(running)
    running.close()
    again = run(there)
    assert [(done.folder.name, done.resumed) for done in again] == [
        (NAME, True),
        ("gqa/7.jpg", False),
    ]
    run(there, "other")
    files = [sorted((there / out).rglob("*.parquet")) for out in ("store", "other")]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
    assert len(files[0]) == 1


def test_a_partition_may_be_named_by_itself(there):
    (done,) = migrate(there / "arrays" / "partition_0", there / "data", there / "store")
    assert done.folder.name == NAME


def test_an_image_in_two_partitions_counts_once(there):
    release(there / "arrays", NAME, masks(3, 1), partition=3)
    first, second = run(there)
    assert first.masks == 12
    assert second.error == f"{NAME}: is in partition_0 too, which is taken"
    assert np.array_equal(stored(there, NAME), masks(12))


RELEASED_PREFIX = "/mnt/nushare2/data/baliao/multimodal/data/"


def test_names_whose_first_letters_the_release_stripped_off(tmp_path):
    """`str.strip` takes letters, not a prefix: "ocr_vqa" loses its o, "textvqa" its te."""
    for name, cut in (
        ("ocr_vqa/images/a.jpg", "cr_vqa/images/a.jpg"),
        ("textvqa/b.jpg", "xtvqa/b.jpg"),
    ):
        assert name.strip(RELEASED_PREFIX) == cut
        photo(tmp_path / "data" / name, len(name))
        release(tmp_path / "arrays", cut, masks(2))
    assert [done.error for done in run(tmp_path)] == [None, None]
    photo(tmp_path / "data" / "o/xtvqa/b.jpg")
    photo(tmp_path / "data" / "c/qa/b.jpg")
    release(tmp_path / "arrays", "qa/b.jpg", masks(2))  # "c" is no letter that strip takes
    release(tmp_path / "arrays", "vqa/b.jpg", masks(2))  # nor is the x of "textvqa"
    errors = {done.folder.name: done.error for done in run(tmp_path, "other")}
    assert "2 pictures may be meant (" in errors["xtvqa/b.jpg"]
    assert "no such picture below" in errors["qa/b.jpg"]
    assert "no such picture below" in errors["vqa/b.jpg"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_are_turned_with_a_photo_that_exif_turns(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo(tmp_path / "data" / "a.jpg", exif=exif)
    release(tmp_path / "arrays", "a.jpg", masks(2))
    run(tmp_path)
    for mask, raw in zip(stored(tmp_path, "a.jpg"), masks(2), strict=True):
        image = Image.fromarray(raw.astype(np.uint8))
        image.getexif()[0x0112] = orientation
        assert np.array_equal(mask, np.asarray(ImageOps.exif_transpose(image)) > 0)
    assert stored(tmp_path, "a.jpg").shape[1:] == Picture.of(tmp_path / "data" / "a.jpg").size


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def pickled(path, tmp_path):
    np.save(path, np.array([Attack(tmp_path / "pwned")], dtype=object), allow_pickle=True)


def header(path, text, data=b""):
    text = text.encode().ljust(117) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data)


BAD = {
    "an array of objects": (pickled, r"expected bool \[H W\] or \[k H W\], got object \[1\]"),
    "a bare pickle": (
        lambda path, tmp: path.write_bytes(pickle.dumps(Attack(tmp / "pwned"))),
        "no array that can be read",
    ),
    "nothing": (lambda path, tmp: path.write_bytes(b""), "no array that can be read"),
    "numbers": (lambda path, tmp: np.save(path, np.ones((30, 40))), "got float64"),
    "four axes": (
        lambda path, tmp: np.save(path, np.ones((1, 1, 30, 40), bool)),
        r"got bool \[1, 1, 30, 40\]",
    ),
    "another size": (
        lambda path, tmp: np.save(path, np.ones((31, 40), bool)),
        "masks of 31 x 40, the picture has 30 x 40",
    ),
    "cut off": (
        lambda path, tmp: path.write_bytes(npy()[:-5]),
        "1195 bytes for 1 x 30 x 40; it is cut off",
    ),
    "more behind it": (lambda path, tmp: path.write_bytes(npy() + b"x"), "or has more in it"),
    "no bool": (
        lambda path, tmp: path.write_bytes(npy()[:-1] + b"\x07"),
        "it says bool and holds other values",
    ),
    "a petabyte": (
        lambda path, tmp: header(
            path, "{'descr': '|b1', 'fortran_order': False, 'shape': (100000000, 10000000), }"
        ),
        "are more than 16384 of 268435456 pixels",
    ),
    "a header of code": (
        lambda path, tmp: header(path, f"__import__('os').mkdir({str(tmp / 'pwned')!r})"),
        "no array that can be read",
    ),
    "negative sizes": (
        lambda path, tmp: header(
            path, "{'descr': '|b1', 'fortran_order': False, 'shape': (-1, -1200), }", bytes(1200)
        ),
        "1 masks of -1 x -1200 are more than .* or none",
    ),
    "a link": (lambda path, tmp: path.symlink_to(tmp / "data" / NAME), "not a plain file"),
}


def npy():
    file = io.BytesIO()
    np.save(file, masks(1)[0])
    return file.getvalue()


@pytest.mark.parametrize("what", BAD)
def test_a_file_that_will_not_do_sets_its_image_aside_and_nothing_is_run(there, what):
    make, message = BAD[what]
    folder = release(there / "arrays", "gqa/1.jpg", masks(2))
    photo(there / "data" / "gqa/1.jpg", 1)
    (folder / "mask_1.npy").unlink()
    make(folder / "mask_1.npy", there)
    good, bad = run(there)
    assert (good.error, good.masks) == (None, 12)
    assert bad.error is not None
    assert bad.error.startswith("gqa/1.jpg: mask_1.npy: ")
    with pytest.raises(ValueError, match=message):
        raise ValueError(bad.error)
    assert not (there / "pwned").exists()
    assert info(there / "store")["images"] == 1
    assert set_aside(there / "store") == {"gqa/1.jpg": bad.error.removeprefix("gqa/1.jpg: ")}


def test_what_was_mended_is_no_longer_set_aside(there):
    folder = release(there / "arrays", "gqa/1.jpg", masks(2))
    photo(there / "data" / "gqa/1.jpg", 1)
    (folder / "mask_0.npy").unlink()
    assert run(there)[1].error == "gqa/1.jpg: mask_0.npy is missing, and there is a mask_1.npy"
    release(there / "arrays", "gqa/1.jpg", masks(2))
    assert [done.error for done in run(there)] == [None, None]
    assert set_aside(there / "store") == {}


def test_both_forms_at_once_are_no_answer(there):
    np.save(there / "arrays" / "partition_0" / NAME / "000000033471_masks.npy", masks(2))
    assert "holds its masks more than once" in str(run(there)[0].error)


def test_links_to_folders_are_not_followed(there):
    outside = there / "outside"
    release(outside, "gqa/1.jpg", masks(1))
    os.symlink(outside / "partition_0", there / "arrays" / "partition_9")
    os.symlink(outside / "partition_0" / "gqa", there / "arrays" / "partition_0" / "gqa")
    assert [folder.name for folder in folders(there / "arrays")] == [NAME]


def test_a_photo_that_is_none_or_not_there(there):
    release(there / "arrays", "gqa/1.jpg", masks(1))
    (there / "data" / "gqa").mkdir()
    assert "no such picture below" in str(run(there)[1].error)
    (there / "data" / "gqa" / "1.jpg").write_bytes(b"no photo")
    assert "its picture cannot be read" in str(run(there)[1].error)


def test_a_plan_reads_nothing_and_writes_nothing(there):
    release(there / "arrays", "gqa/1.jpg", masks(2))
    planned = plan(there / "arrays", there / "data", there / "store")
    size = sum(path.stat().st_size for path in (there / "arrays").rglob("*.npy"))
    assert planned == {
        "images": 2,
        "without_picture": 1,
        "unusable": 0,
        "files": 14,
        "bytes": size,
        "stored": 0,
    }
    assert not (there / "store").exists()
    run(there)
    assert plan(there / "arrays", there / "data", there / "store")["stored"] == 1
    json.dumps(planned)


def test_folders_that_hold_no_masks(tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        list(folders(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"no mask_<number>.npy and no <name>_masks.npy below it"):
        list(folders(tmp_path))
    (tmp_path / "arrays").mkdir()
    with pytest.raises(ValueError, match=r"--images .*: no such folder"):
        list(migrate(tmp_path / "arrays", tmp_path / "data", tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_an_array_of_no_mask(tmp_path):
    np.save(tmp_path / "a_masks.npy", np.zeros((0, 5, 6), bool))
    assert read_array(tmp_path / "a_masks.npy").shape == (0, 5, 6)
