"""`migrate og_llava`: mask folders into a store, and what strangers' files may hold."""

from __future__ import annotations

import io
import json
import os
import pickle
import re

import numpy as np
import pytest
from PIL import Image, ImageOps

from regiontok.core.picture import Picture
from regiontok.jobs.masks.store_state import read_set_aside, store_info
from regiontok.jobs.migrate.mask_folders import mask_folders
from regiontok.jobs.migrate.og_llava import migrate_og_llava, plan_og_llava
from regiontok.maskstore.store import MaskStore
from regiontok.tokenizer.region_tokenizer import RegionTokenizer

pytest.importorskip("pyarrow")
NAME = "coco/train2017/000000033471.jpg"


def save_photo(path, seed=0, size=(30, 40), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def random_masks(count, seed=0, size=(30, 40)):
    return np.random.default_rng(seed).random((count, *size)) < 0.4


def release_masks(root, name, arrays, partition=0):
    """What the released generator writes: one file a mask."""
    folder = root / f"partition_{partition}" / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, array in enumerate(arrays):
        np.save(folder / f"mask_{number}.npy", array)
    return folder


@pytest.fixture
def root(tmp_path):
    """One image with 12 masks, and its photo."""
    save_photo(tmp_path / "data" / NAME)
    release_masks(tmp_path / "arrays", NAME, random_masks(12))
    return tmp_path


def run(root, out="store", **options):
    """The outcome of each image, when the store is whole."""
    return list(migrate_og_llava(root / "arrays", root / "data", root / out, **options))


def stored(root, name, out="store"):
    """The masks that the store keeps for a photo, dense."""
    return MaskStore(root / out).get(Picture.of(root / "data" / name).key).dense().numpy()


def test_masks_come_by_number_and_are_found_by_the_bytes_of_their_photo(root):
    (outcome,) = run(root)
    assert (outcome.masks, outcome.error, outcome.resumed) == (12, None, False)
    assert outcome.size == sum(path.stat().st_size for path in (root / "arrays").rglob("*.npy"))
    assert np.array_equal(stored(root, NAME), random_masks(12))
    tokenizer = RegionTokenizer(
        "filters",
        "segments(0.5, unit='pixels', compare='>=')",
        segmenter=f"stored({str(root / 'store')!r})",
        pool="select",
    )
    assert len(tokenizer(root / "data" / NAME)) > 576


def test_the_order_of_the_release_is_that_of_names_as_text(root):
    run(root, order="name")
    as_text = sorted(range(12), key=lambda number: f"mask_{number}.npy")
    assert as_text[:4] == [0, 1, 10, 11]
    assert np.array_equal(stored(root, NAME), random_masks(12)[as_text])
    with pytest.raises(ValueError, match="holds masks of og_llava"):
        run(root)  # another order is another store


def test_one_array_of_all_masks_and_an_image_without_any(tmp_path):
    for number, array in enumerate((random_masks(3), np.array([]))):
        name = f"gqa/{number}.png"
        save_photo(tmp_path / "data" / name, number)
        folder = tmp_path / "arrays" / "partition_2" / name
        folder.mkdir(parents=True)
        np.save(folder / f"{number}_masks.npy", array)
    assert [outcome.masks for outcome in run(tmp_path)] == [3, 0]
    assert np.array_equal(stored(tmp_path, "gqa/0.png"), random_masks(3))
    assert stored(tmp_path, "gqa/1.png").shape == (0, 30, 40)


@pytest.mark.parametrize("form", ["one by one", "together"])
def test_arrays_may_hold_columns_as_those_of_sam_do(tmp_path, form):
    """SAM decodes run lengths by column and transposes; `np.save` writes the array as it lies."""
    save_photo(tmp_path / "data" / "a.jpg")
    columns = [np.ascontiguousarray(mask.T).T for mask in random_masks(3)]
    if form == "one by one":
        folder = release_masks(tmp_path / "arrays", "a.jpg", columns)
        assert b"'fortran_order': True" in (folder / "mask_0.npy").read_bytes()[:128]
    else:
        folder = release_masks(tmp_path / "arrays", "a.jpg", [])
        np.save(folder / "a_masks.npy", np.asfortranarray(random_masks(3)))
    assert run(tmp_path)[0].error is None
    assert np.array_equal(stored(tmp_path, "a.jpg"), random_masks(3))


def test_a_second_run_goes_on_where_the_first_was_stopped(root):
    save_photo(root / "data" / "gqa/7.jpg", 7)
    release_masks(root / "arrays", "gqa/7.jpg", random_masks(2, 7), partition=10)
    running = migrate_og_llava(root / "arrays", root / "data", root / "store")
    next(running)
    running.close()
    again = run(root)
    assert [(outcome.folder.name, outcome.resumed) for outcome in again] == [
        (NAME, True),
        ("gqa/7.jpg", False),
    ]
    run(root, "other")
    files = [sorted((root / out).rglob("*.parquet")) for out in ("store", "other")]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
    assert len(files[0]) == 1


def test_a_partition_may_be_named_by_itself(root):
    partition = root / "arrays" / "partition_0"
    (outcome,) = migrate_og_llava(partition, root / "data", root / "store")
    assert outcome.folder.name == NAME


def test_an_image_in_two_partitions_counts_once(root):
    release_masks(root / "arrays", NAME, random_masks(3, 1), partition=3)
    first, second = run(root)
    assert first.masks == 12
    assert second.error == f"{NAME}: is in partition_0 too, which is taken"
    assert np.array_equal(stored(root, NAME), random_masks(12))


def test_names_whose_first_letters_the_release_stripped_off(tmp_path):
    """`str.strip` takes letters, not a prefix: "ocr_vqa" loses its o, "textvqa" its te."""
    for name, cut in (
        ("ocr_vqa/images/a.jpg", "cr_vqa/images/a.jpg"),
        ("textvqa/b.jpg", "xtvqa/b.jpg"),
    ):
        # as the release strips it
        assert name.strip("/mnt/nushare2/data/baliao/multimodal/data/") == cut  # noqa: B005
        save_photo(tmp_path / "data" / name, len(name))
        release_masks(tmp_path / "arrays", cut, random_masks(2))
    assert [outcome.error for outcome in run(tmp_path)] == [None, None]
    save_photo(tmp_path / "data" / "o/xtvqa/b.jpg")
    save_photo(tmp_path / "data" / "c/qa/b.jpg")
    # strip takes neither the c of "c/qa" nor the x of "textvqa"
    release_masks(tmp_path / "arrays", "qa/b.jpg", random_masks(2))
    release_masks(tmp_path / "arrays", "vqa/b.jpg", random_masks(2))
    errors = {outcome.folder.name: outcome.error for outcome in run(tmp_path, "other")}
    assert "2 pictures may be meant (" in errors["xtvqa/b.jpg"]
    assert "no such picture below" in errors["qa/b.jpg"]
    assert "no such picture below" in errors["vqa/b.jpg"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_are_turned_with_a_photo_that_exif_turns(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    save_photo(tmp_path / "data" / "a.jpg", exif=exif)
    release_masks(tmp_path / "arrays", "a.jpg", random_masks(2))
    run(tmp_path)
    for upright, mask in zip(stored(tmp_path, "a.jpg"), random_masks(2), strict=True):
        image = Image.fromarray(mask.astype(np.uint8))
        image.getexif()[0x0112] = orientation
        assert np.array_equal(upright, np.asarray(ImageOps.exif_transpose(image)) > 0)
    assert stored(tmp_path, "a.jpg").shape[1:] == Picture.of(tmp_path / "data" / "a.jpg").size


class Attack:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def save_objects(path, tmp_path):
    np.save(path, np.array([Attack(tmp_path / "pwned")], dtype=object), allow_pickle=True)


def write_header(path, text, data=b""):
    text = text.encode().ljust(117) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data)


BAD = {
    "an array of objects": (save_objects, r"expected bool \[H W\] or \[k H W\], got object \[1\]"),
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
        lambda path, tmp: write_header(
            path, "{'descr': '|b1', 'fortran_order': False, 'shape': (100000000, 10000000), }"
        ),
        "are more than 16384 of 268435456 pixels",
    ),
    "a header of code": (
        lambda path, tmp: write_header(path, f"__import__('os').mkdir({str(tmp / 'pwned')!r})"),
        "no array that can be read",
    ),
    "negative sizes": (
        lambda path, tmp: write_header(
            path, "{'descr': '|b1', 'fortran_order': False, 'shape': (-1, -1200), }", bytes(1200)
        ),
        r"no array that can be read \(its shape is \[-1, -1200\]\)",
    ),
    "a link": (lambda path, tmp: path.symlink_to(tmp / "data" / NAME), "not a plain file"),
}


def npy():
    """The bytes of a good file of one mask."""
    file = io.BytesIO()
    np.save(file, random_masks(1)[0])
    return file.getvalue()


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_will_not_do_sets_its_image_aside_and_nothing_is_run(root, kind):
    write, message = BAD[kind]
    folder = release_masks(root / "arrays", "gqa/1.jpg", random_masks(2))
    save_photo(root / "data" / "gqa/1.jpg", 1)
    (folder / "mask_1.npy").unlink()
    write(folder / "mask_1.npy", root)
    good, bad = run(root)
    assert (good.error, good.masks) == (None, 12)
    assert bad.error is not None
    assert bad.error.startswith("gqa/1.jpg: mask_1.npy: ")
    assert re.search(message, bad.error)
    assert not (root / "pwned").exists()
    assert store_info(root / "store")["images"] == 1
    assert read_set_aside(root / "store") == {"gqa/1.jpg": bad.error.removeprefix("gqa/1.jpg: ")}


def test_what_was_mended_is_no_longer_set_aside(root):
    folder = release_masks(root / "arrays", "gqa/1.jpg", random_masks(2))
    save_photo(root / "data" / "gqa/1.jpg", 1)
    (folder / "mask_0.npy").unlink()
    assert run(root)[1].error == "gqa/1.jpg: mask_0.npy is missing, and there is a mask_1.npy"
    release_masks(root / "arrays", "gqa/1.jpg", random_masks(2))
    assert [outcome.error for outcome in run(root)] == [None, None]
    assert read_set_aside(root / "store") == {}


def test_both_forms_at_once_are_no_answer(root):
    np.save(root / "arrays" / "partition_0" / NAME / "000000033471_masks.npy", random_masks(2))
    assert "holds its masks more than once" in str(run(root)[0].error)


def test_links_to_folders_are_not_followed(root):
    outside = root / "outside"
    release_masks(outside, "gqa/1.jpg", random_masks(1))
    os.symlink(outside / "partition_0", root / "arrays" / "partition_9")
    os.symlink(outside / "partition_0" / "gqa", root / "arrays" / "partition_0" / "gqa")
    assert [folder.name for folder in mask_folders(root / "arrays")] == [NAME]


def test_a_photo_that_is_none_or_not_there(root):
    release_masks(root / "arrays", "gqa/1.jpg", random_masks(1))
    (root / "data" / "gqa").mkdir()
    assert "no such picture below" in str(run(root)[1].error)
    (root / "data" / "gqa" / "1.jpg").write_bytes(b"no photo")
    assert "its picture cannot be read" in str(run(root)[1].error)


def test_a_plan_reads_nothing_and_writes_nothing(root):
    release_masks(root / "arrays", "gqa/1.jpg", random_masks(2))
    planned = plan_og_llava(root / "arrays", root / "data", root / "store")
    size = sum(path.stat().st_size for path in (root / "arrays").rglob("*.npy"))
    assert planned == {
        "images": 2,
        "without_picture": 1,
        "unusable": 0,
        "files": 14,
        "bytes": size,
        "stored": 0,
    }
    assert not (root / "store").exists()
    run(root)
    assert plan_og_llava(root / "arrays", root / "data", root / "store")["stored"] == 1
    json.dumps(planned)


def test_folders_that_hold_no_masks(tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        list(mask_folders(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"no mask_<number>.npy and no <name>_masks.npy below it"):
        list(mask_folders(tmp_path))
    (tmp_path / "arrays").mkdir()
    with pytest.raises(ValueError, match=r"--images .*: no such folder"):
        list(migrate_og_llava(tmp_path / "arrays", tmp_path / "data", tmp_path / "store"))
    assert not (tmp_path / "store").exists()
