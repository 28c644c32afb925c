"""What a mask store says of itself, and that nothing stale or foreign is taken for it."""

from __future__ import annotations

import pytest

from regiontok.maskstore.layout import SegmenterRecord, is_store
from regiontok.maskstore.store import MaskStore
from regiontok.maskstore.writer import MaskWriter
from regiontok.segment.felzenszwalb import Felzenszwalb
from samples.mask_stores import OTHER, STRIPES, only_shard, write_store

CHANGED = SegmenterRecord("stripes(wide=3, version=1)", "weights 1")


def test_a_changed_parameter_is_refused(tmp_path):
    write_store(tmp_path, range(3))
    message = r"holds masks of stripes\(wide=2.*\(weights 1\), not of stripes\(wide=3"
    with pytest.raises(ValueError, match=message):
        MaskWriter(tmp_path, CHANGED)
    with pytest.raises(ValueError, match=message):
        MaskStore(tmp_path, segmenter=CHANGED)


def test_other_weights_are_refused(tmp_path):
    write_store(tmp_path, range(3))
    with pytest.raises(ValueError, match=r"not of stripes.*\(weights 2\)"):
        MaskWriter(tmp_path, SegmenterRecord(STRIPES.spec, "weights 2"))


def test_a_file_of_another_fingerprint_is_never_read(tmp_path):
    first, second = write_store(tmp_path / "a", range(3)), write_store(tmp_path / "b", [1], OTHER)
    only_shard(first).write_bytes(only_shard(second, OTHER).read_bytes())
    message = f"all.parquet: holds masks of fingerprint {OTHER.fingerprint}"
    with pytest.raises(ValueError, match=message):
        MaskStore(first)


def test_a_forged_marker_is_refused(tmp_path):
    write_store(tmp_path, range(3))
    marker = tmp_path / "store.json"
    marker.write_text(marker.read_text().replace("wide=2", "wide=3"))
    with pytest.raises(ValueError, match="its fingerprint is not that of the segmenter"):
        MaskStore(tmp_path)


def test_a_record_is_of_the_full_spec():
    assert SegmenterRecord.of(Felzenszwalb()).spec.startswith("felzenszwalb(scale=300.0, sigma=0.8")
    fingerprints = {
        SegmenterRecord.of(segmenter).fingerprint
        for segmenter in (Felzenszwalb(), Felzenszwalb(sigma=1.0))
    }
    assert len(fingerprints) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "store.json: cannot be read"),
        ("[]", "cannot be read"),
        (
            '{"format": "x", "segmenter": "a", "identity": "", "fingerprint": ""}',
            "of the format 'x'",
        ),
    ],
)
def test_bad_markers_are_refused(tmp_path, text, message):
    (tmp_path / "store.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        MaskStore(tmp_path)


def test_a_store_of_an_older_format_names_the_command_that_makes_it_anew(tmp_path):
    write_store(tmp_path, range(3))
    marker = tmp_path / "store.json"
    marker.write_text(marker.read_text().replace("mask store 2", "mask store 1"))
    message = r"of the format 'regiontok mask store 1', .*make it anew .* with `regiontok masks`"
    with pytest.raises(ValueError, match=message):
        MaskStore(tmp_path)
    with pytest.raises(ValueError, match=message):
        MaskWriter(tmp_path, STRIPES)


def test_a_folder_without_a_marker_is_no_store(tmp_path):
    assert not is_store(tmp_path)
    with pytest.raises(ValueError, match=r"no mask store \(it has no store.json\)"):
        MaskStore(tmp_path)


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(ValueError, match=r"has 'photo.jpg' in it and is no mask store"):
        MaskWriter(tmp_path, STRIPES)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]
