"""Safetensors files: the same content is the same bytes, and safetensors reads them."""

from __future__ import annotations

import torch
from safetensors import safe_open

from regiontok.system.tensor_files import read_metadata, save_file

TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor([1, -2]), "é": torch.ones(0, 4)}
METADATA = {"format": "pt", "key": "é", "made_by": "x", "other": ""}


def test_the_bytes_are_the_same_and_are_read_back(tmp_path):
    written = set()
    for turn in range(8):  # the library sorts four entries in 24 ways
        path = tmp_path / f"{turn}.safetensors"
        save_file(TENSORS, path, METADATA)
        written.add(path.read_bytes())
    assert len(written) == 1
    with safe_open(path, "pt") as file:
        assert file.metadata() == METADATA
        for name, tensor in TENSORS.items():
            assert torch.equal(file.get_tensor(name), tensor)
    assert read_metadata(path) == METADATA


def test_a_file_without_texts_and_files_that_are_none(tmp_path):
    save_file(TENSORS, tmp_path / "plain.safetensors")
    assert read_metadata(tmp_path / "plain.safetensors") == {}
    whole = (tmp_path / "plain.safetensors").read_bytes()
    for name, content in (("cut", whole[:20]), ("text", b"no tensors at all"), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
        assert read_metadata(tmp_path / name) is None
    assert read_metadata(tmp_path / "gone") is None
