"""GGUF files: every encoding, and files that lie about their lengths."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from regiontok.system.gguf import GGUFError, read_gguf
from samples.gguf_files import CODES, plain, text, write_gguf

FIELDS = {"name": "né", "count": 7, "rate": 0.5, "flag": True, "words": ["a", "b c"], "ids": [3, 1]}


def nibbles(values: np.ndarray) -> bytes:
    """Numbers 0..15 of a block of 32, packed as ggml packs them."""
    return (values[:16] | values[16:] << 4).astype(np.uint8).tobytes()


def test_metadata(tmp_path):
    file = read_gguf(write_gguf(tmp_path / "a.gguf", FIELDS, {}))
    assert dict(file.fields) == FIELDS
    assert file.field("words", list) == ["a", "b c"]
    for name, kind in (("absent", int), ("name", int), ("flag", int)):
        with pytest.raises(GGUFError, match=f"no {name} of type int"):
            file.field(name, kind)


def test_tensors_of_every_encoding(tmp_path):
    rng = np.random.default_rng(0)
    quants = rng.integers(0, 16, (2, 32))
    signed = rng.integers(-128, 128, (2, 32)).astype(np.int8)
    scales, least = np.float16([0.5, 3.0]), np.float16([-1.0, 0.25])
    shape = (2, 32)
    raw = {
        "f32": rng.standard_normal(shape).astype("<f4").tobytes(),
        "f16": rng.standard_normal(shape).astype("<f2").tobytes(),
        "q4_0": b"".join(scales[i].tobytes() + nibbles(quants[i]) for i in range(2)),
        "q4_1": b"".join(
            scales[i].tobytes() + least[i].tobytes() + nibbles(quants[i]) for i in range(2)
        ),
        "q8_0": b"".join(scales[i].tobytes() + signed[i].tobytes() for i in range(2)),
    }
    tensors = {name: (shape, CODES[name], content) for name, content in raw.items()}
    file = read_gguf(write_gguf(tmp_path / "a.gguf", {}, tensors))
    assert file.names == tuple(raw)
    factor, shift = scales.astype(np.float32)[:, None], least.astype(np.float32)[:, None]
    expected = {
        "f32": np.frombuffer(raw["f32"], "<f4").reshape(shape),
        "f16": np.frombuffer(raw["f16"], "<f2").reshape(shape).astype(np.float32),
        "q4_0": factor * (quants - 8).astype(np.float32),
        "q4_1": factor * quants.astype(np.float32) + shift,
        "q8_0": factor * signed.astype(np.float32),
    }
    for name, values in expected.items():
        got = file.tensor(name)
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, values, err_msg=name)
    with pytest.raises(GGUFError, match="no tensor other"):
        file.tensor("other")


def test_a_file_cut_anywhere_is_refused(tmp_path):
    path = write_gguf(tmp_path / "a.gguf", FIELDS, {"t": plain(np.ones((2, 3), np.float32))})
    content = path.read_bytes()
    padding = 8  # behind the last tensor's 24 bytes
    for end in (*range(60), *range(60, len(content) - padding, 7)):
        path.write_bytes(content[:end])
        with pytest.raises(GGUFError, match=r"a\.gguf"):
            read_gguf(path)


def test_counts_that_the_file_cannot_hold(tmp_path):
    path = tmp_path / "a.gguf"
    huge = 2**62
    for content, message in (
        (struct.pack("<IQQ", 3, 0, huge), "entries do not fit"),
        (struct.pack("<IQQ", 3, huge, 0), "entries do not fit"),
        (struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", huge) + bytes(9), "ends at"),
        (
            struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 4, huge),
            "entries do not fit",
        ),
        (struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 9, 1), "array of the"),
        (struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<I", 77), "unknown type 77"),
        (struct.pack("<IQQ", 9, 0, 0), "no GGUF file"),
    ):
        path.write_bytes(b"GGUF" + content)
        with pytest.raises(GGUFError, match=message):
            read_gguf(path)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (((2**40, 2**40), 0, b""), "does not lie within"),
        (((2, 33), CODES["q8_0"], bytes(68)), "does not lie within"),
        (((2, 32), 14, bytes(68)), "type 14"),
        (((1, 1, 1, 1, 1), 0, bytes(4)), "5 dimensions"),
    ],
)
def test_tensors_that_cannot_be_read(tmp_path, tensor, message):
    path = write_gguf(tmp_path / "a.gguf", {}, {"t": tensor})
    with pytest.raises(GGUFError, match=message):
        read_gguf(path)


def test_names_that_are_there_twice(tmp_path):
    path = tmp_path / "a.gguf"
    field = text("a") + struct.pack("<II", 4, 1)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + 2 * field)
    with pytest.raises(GGUFError, match="a is there twice"):
        read_gguf(path)


def test_files_that_are_not_there(tmp_path):
    (tmp_path / "empty.gguf").touch()
    for name in ("empty.gguf", "none.gguf"):
        with pytest.raises(GGUFError, match="cannot be read"):
            read_gguf(tmp_path / name)
