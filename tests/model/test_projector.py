"""LLaVA's mm_projector.bin: read as tensors, written so that LLaVA's own loader takes it."""

from __future__ import annotations

import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from regiontok.connect.linear import Linear
from regiontok.connect.mlp import Mlp
from regiontok.model.projector import projector_tensors, read_projector, write_projector


def llavas_own(depth: int) -> nn.Module:
    """`build_vision_projector` of LLaVA: mlp2x_gelu, or linear."""
    if depth == 1:
        return nn.Linear(4, 6)
    return nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 6))


def llavas_loader(projector: nn.Module, path) -> None:
    """As in LLaVA's `initialize_vision_modules`, word for word but for the path."""
    weights = torch.load(path, map_location="cpu")

    def get_w(weights, keyword):
        return {k.split(keyword + ".")[1]: v for k, v in weights.items() if keyword in k}

    projector.load_state_dict(get_w(weights, "mm_projector"))


def connector(depth: int) -> nn.Module:
    return Linear().build(4, 6) if depth == 1 else Mlp().build(4, 6)


def equal(first: nn.Module, second: nn.Module) -> bool:
    mine, theirs = first.state_dict(), second.state_dict()
    return mine.keys() == theirs.keys() and all(
        torch.equal(mine[name], theirs[name]) for name in mine
    )


@pytest.mark.parametrize("depth", [1, 2])
def test_llavas_own_loader_takes_what_is_written(tmp_path, depth):
    ours, theirs = connector(depth), llavas_own(depth)
    write_projector(ours, tmp_path / "mm_projector.bin")
    llavas_loader(theirs, tmp_path / "mm_projector.bin")
    assert equal(ours, theirs)
    x = torch.randn(3, 4)
    assert torch.equal(ours(x), theirs(x))


def test_the_keys_are_llavas(tmp_path):
    write_projector(connector(2), tmp_path / "mm_projector.safetensors")
    assert sorted(load_file(tmp_path / "mm_projector.safetensors")) == [
        "model.mm_projector.0.bias",
        "model.mm_projector.0.weight",
        "model.mm_projector.2.bias",
        "model.mm_projector.2.weight",
    ]


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_written_and_read(tmp_path, depth, suffix):
    written, read = connector(depth), connector(depth)
    write_projector(written, tmp_path / f"p{suffix}")
    read_projector(read, tmp_path / f"p{suffix}")
    assert equal(written, read)
    assert [path.name for path in tmp_path.iterdir()] == [f"p{suffix}"]


@pytest.mark.parametrize(
    "name",
    [
        "model.mm_projector.{at}.{kind}",
        "base_model.model.model.mm_projector.{at}.{kind}",
        "mm_projector.{at}.{kind}",
        "module.model.mm_projector.{at}.{kind}",
        "{at}.{kind}",
        "multi_modal_projector.linear_{layer}.{kind}",
        "model.multi_modal_projector.linear_{layer}.{kind}",
    ],
)
def test_other_prefixes(tmp_path, name):
    written, read = connector(2), connector(2)
    state = {
        name.format(at=index, layer=index // 2 + 1, kind=kind): written.state_dict()[
            f"{index}.{kind}"
        ]
        for index in (0, 2)
        for kind in ("weight", "bias")
    }
    save_file(state | {"model.image_newline": torch.zeros(6)}, tmp_path / "p.safetensors")
    read_projector(read, tmp_path / "p.safetensors")
    assert equal(written, read)


def test_half_precision_goes_into_the_connectors_own_type(tmp_path):
    state = {
        f"model.mm_projector.{name}": value.half()
        for name, value in connector(2).state_dict().items()
    }
    torch.save(state, tmp_path / "mm_projector.bin")
    other = connector(2)
    read_projector(other, tmp_path / "mm_projector.bin")
    assert other[0].weight.dtype == torch.float32
    assert torch.equal(other[0].weight, state["model.mm_projector.0.weight"].float())


def test_shapes_and_names_are_checked_before_anything_changes(tmp_path):
    write_projector(Mlp().build(5, 6), tmp_path / "p.bin")
    other = connector(2)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"0\.weight is \[6, 5\] in the file, \[6, 4\] in the connector"
    ):
        read_projector(other, tmp_path / "p.bin")
    write_projector(Mlp(depth=3).build(4, 6), tmp_path / "deep.bin")
    with pytest.raises(
        ValueError, match=r"4\.bias is \[6\] in the file, not there in the connector"
    ):
        read_projector(other, tmp_path / "deep.bin")
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


class Evil:
    def __reduce__(self):
        return (eval, ("1/0",))


def test_what_is_no_projector_is_refused(tmp_path):
    (tmp_path / "evil.bin").write_bytes(pickle.dumps({"model.mm_projector.0.weight": Evil()}))
    with pytest.raises(ValueError, match=r"evil\.bin was not read"):
        projector_tensors(tmp_path / "evil.bin")
    torch.save([1, 2], tmp_path / "list.bin")
    with pytest.raises(ValueError, match=r"holds list, expected tensors by name"):
        projector_tensors(tmp_path / "list.bin")
    torch.save({"lm_head.weight": torch.zeros(2)}, tmp_path / "other.bin")
    with pytest.raises(
        ValueError,
        match=r"holds no projector \(model\.mm_projector\.0\.weight \.\.\.\), but lm_head\.weight",
    ):
        projector_tensors(tmp_path / "other.bin")
    (tmp_path / "broken.safetensors").write_bytes(b"12345678")
    with pytest.raises(ValueError, match=r"broken\.safetensors is damaged"):
        projector_tensors(tmp_path / "broken.safetensors")
    with pytest.raises(ValueError, match=r"missing\.bin was not read"):
        projector_tensors(tmp_path / "missing.bin")


def test_what_llava_could_not_load_is_not_written(tmp_path):
    with pytest.raises(
        ValueError,
        match=r"only the connectors linear and mlp are LLaVA's; this one has norm\.weight",
    ):
        write_projector(nn.ModuleDict({"norm": nn.LayerNorm(4)}), tmp_path / "p.bin")
    with pytest.raises(ValueError, match="no tensor at all"):
        write_projector(nn.Identity(), tmp_path / "p.bin")
    with pytest.raises(ValueError, match=r"ends in \.bin or \.safetensors"):
        write_projector(connector(2), tmp_path / "p.pt")
    assert not list(tmp_path.iterdir())
