"""The files of several ranks are read as one state, whoever wrote them; nothing is unpickled."""

from __future__ import annotations

import pytest
import torch

from regiontok.pretrain.state_files import OtherCheckpoint, local_share, read_state, write_share

STATE = {"centres": torch.arange(10.0).view(5, 2), "step": torch.tensor(7.0)}


def write_in_two(folder, cut=3):
    """What two ranks write of `STATE`: the first holds `cut` rows and what is not divided."""
    write_share(folder, 0, {"centres": (STATE["centres"][:cut], 0), "step": (STATE["step"], 0)})
    write_share(folder, 1, {"centres": (STATE["centres"][cut:].clone(), cut)})


@pytest.mark.parametrize("cut", [0, 1, 3, 5])
def test_rows_of_two_ranks_are_one_tensor(tmp_path, cut):
    write_in_two(tmp_path, cut)
    values = {name: torch.zeros_like(value) for name, value in STATE.items()}
    read_state(tmp_path, values)
    assert all(torch.equal(values[name], STATE[name]) for name in STATE)


def test_a_share_is_a_copy_that_training_does_not_change(tmp_path):
    value = torch.ones(3)
    share = local_share({"weight": value}, is_first=True)
    value.zero_()
    assert share["weight"][0].tolist() == [1, 1, 1]
    assert local_share({"weight": value}, is_first=False) == {}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"centres": torch.zeros(5, 2)}, "holds step, which this run does not have"),
        ({**STATE, "more": torch.zeros(2)}, "0 of the 2 rows of more"),
        ({**STATE, "centres": torch.zeros(6, 2)}, "5 of the 6 rows of centres"),
        ({**STATE, "centres": torch.zeros(5, 3)}, r"shape \[2\] in the checkpoint, \[3\]"),
        ({**STATE, "centres": torch.zeros(5, 2).int()}, r"float32 in the checkpoint, torch.int32"),
    ],
)
def test_another_state_is_refused(tmp_path, state, message):
    write_in_two(tmp_path)
    with pytest.raises(OtherCheckpoint, match=message):
        read_state(tmp_path, {name: value.clone() for name, value in state.items()})


def test_a_file_of_a_rank_that_is_missing_or_no_safetensors_is_refused(tmp_path):
    write_in_two(tmp_path)
    (tmp_path / "rank-1.safetensors").unlink()
    with pytest.raises(OtherCheckpoint, match="3 of the 5 rows of centres: it is not complete"):
        read_state(tmp_path, dict(STATE))
    (tmp_path / "rank-1.safetensors").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(OtherCheckpoint, match=r"rank-1\.safetensors cannot be read"):
        read_state(tmp_path, dict(STATE))
