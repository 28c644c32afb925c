"""What goes wrong while a model is loaded is one clear error; absurd configs are refused."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from regiontok.system.loading import check_folder, check_layers, clear_model_errors
from regiontok.system.need import MissingPackage


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyError("banana"), r"\(KeyError: 'banana'\)$"),
        (ValueError("no such\nkey"), r"\(no such key\)$"),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
        (RecursionError("too deep"), "RecursionError: too deep"),
        (KeyError("a" * 400), r"KeyError: 'a{289} \.\.\.\)$"),
    ],
)
def test_whatever_fails_is_one_error_that_names_the_model(error, reason):
    message = f"^a/model cannot be loaded: .*{reason}"
    with pytest.raises(ValueError, match=message), clear_model_errors("a/model"):
        raise error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError("no network"), r"^a/model cannot be read \(no network\)$"),
        (MemoryError(), "^a/model: not enough memory to load it"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough memory to load"),
    ],
)
def test_no_network_and_no_memory_are_not_called_damage(error, message):
    with pytest.raises(ValueError, match=message) as caught, clear_model_errors("a/model"):
        raise error
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("error", [ValueError("a/model: other"), MissingPackage("peft is not")])
def test_what_is_clear_already_passes_as_it_is(error):
    with pytest.raises(type(error), match=f"^{error}$"), clear_model_errors("a/model"):
        raise error


@pytest.fixture
def folder(tmp_path):
    """A function that makes a checkpoint of two tensors, 20 numbers, with a config."""

    def make(**config):
        (tmp_path / "config.json").write_text(json.dumps(config))
        tensors = {"a": torch.zeros(4, 4), "b": torch.zeros(4)}
        save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
        return tmp_path

    return make


def test_a_config_that_its_weights_bear_out_passes(folder):
    check_folder(
        folder(num_hidden_layers=2, hidden_size=20, rope_theta=10**9, text={"n_layer": 1}), "m"
    )
    composed = folder(vocab_size=257_152, text_config={"vocab_size": 12})
    check_folder(composed, "m")  # as PaliGemma's: the text's own size counts


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_hidden_layers": 3}, "num_hidden_layers = 3, but the weights hold 2 tensors"),
        ({"text_config": {"n_layer": 3}}, "n_layer = 3, but the weights hold 2 tensors"),
        ({"vocab_size": 21}, "vocab_size = 21, but the weights hold 20 numbers"),
        ({"a": {"b": {"head_dim": 10**30}}}, "head_dim = 10{30}, but the weights hold 20 numbers"),
        ({"n_layers": 10**9}, "n_layers = 1000000000, and no model has more than 10000"),
    ],
)
def test_a_config_of_a_larger_model_is_refused(folder, config, message):
    with pytest.raises(ValueError, match=f"^m: config.json says {message}"):
        check_folder(folder(**config), "m")


def test_a_config_alone_says_no_absurd_number_of_layers():
    check_layers({"num_hidden_layers": 126, "depth": 32}, "m")
    with pytest.raises(ValueError, match=r"m: config\.json says depth = 10001"):
        check_layers({"vision": {"depth": 10_001}}, "m")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\n", "is a Git LFS pointer"),
        (b"", r"damaged, or of other shapes than config\.json says \(model\.safetensors, "),
        (None, r"damaged, or of other shapes .* copy or download it again"),
    ],
)
def test_weights_that_are_cut_off_or_a_pointer_are_refused(folder, content, message):
    file = folder() / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-8] if content is None else content)
    with pytest.raises(ValueError, match=f"^m: .*{message}"):
        check_folder(file.parent, "m")
