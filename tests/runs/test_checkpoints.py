"""Checkpoints take their place at once, and old ones go."""

from __future__ import annotations

import pytest

from regiontok.runs.checkpoints import CheckpointFolder, damage_of
from regiontok.runs.errors import NoWholeCheckpoint


def publish(checkpoints: CheckpointFolder, step: int) -> None:
    staged = checkpoints.staging / f"checkpoint-{step}"
    staged.mkdir(parents=True)
    (staged / "weights").write_text(str(step))
    checkpoints.publish(staged, step)


def test_a_checkpoint_takes_its_place_at_once_and_old_ones_go(tmp_path):
    checkpoints = CheckpointFolder(tmp_path, "checkpoint", keep=2)
    for step in (1, 2, 10):
        publish(checkpoints, step)
    assert list(checkpoints.by_step()) == [2, 10]
    assert (tmp_path / "checkpoint-10" / "weights").read_text() == "10"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-2"]
    assert checkpoints.last_good() == f"the last good checkpoint is {tmp_path / 'checkpoint-10'}"


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path):
    checkpoints = CheckpointFolder(tmp_path, "checkpoint")
    for _ in range(2):
        publish(checkpoints, 3)
    assert list(checkpoints.by_step()) == [3]


def test_what_has_no_step_in_its_name_is_no_checkpoint(tmp_path):
    for name in ("checkpoint-", "checkpoint-3.old", "step-4", ".writing"):
        (tmp_path / name).mkdir()
    checkpoints = CheckpointFolder(tmp_path, "checkpoint")
    assert checkpoints.by_step() == {}
    assert checkpoints.last_good() == "there is no checkpoint before it"
    assert CheckpointFolder(tmp_path / "nowhere", "step").by_step() == {}


def test_damaged_checkpoints_are_set_aside_up_to_the_last_whole_one(tmp_path):
    checkpoints = CheckpointFolder(tmp_path, "checkpoint", keep=3)
    for step in (1, 2, 3):
        publish(checkpoints, step)
    (tmp_path / "checkpoint-1" / "weights").unlink()  # nobody asks for it
    (tmp_path / "checkpoint-3" / "weights").write_text("")
    (message,) = checkpoints.set_aside_damaged()
    assert message == (
        f"{tmp_path / 'checkpoint-3'} is no whole checkpoint: weights has 0 bytes instead of 1; "
        "it is now damaged-checkpoint-3"
    )
    assert list(checkpoints.by_step()) == [1, 2]
    assert checkpoints.set_aside_damaged() == []


def test_without_a_whole_checkpoint_the_error_names_all_and_says_what_to_do(tmp_path):
    checkpoints = CheckpointFolder(tmp_path, "checkpoint")
    for step in (1, 2):
        publish(checkpoints, step)
        (tmp_path / f"checkpoint-{step}" / "weights").unlink()
    with pytest.raises(
        NoWholeCheckpoint, match=r"checkpoint-2 is no .*checkpoint-1 is no .*--resume once more"
    ):
        checkpoints.set_aside_damaged()
    assert checkpoints.set_aside_damaged() == []


@pytest.mark.parametrize(
    ("text", "damage"),
    [
        ("[1]", "its files.json cannot be read"),
        ("{", "its files.json cannot be read"),
        ('{"weights": 3}', "its files.json cannot be read"),
        (None, "it has no files.json"),
    ],
)
def test_a_list_of_files_that_is_none_is_damage(tmp_path, text, damage):
    checkpoints = CheckpointFolder(tmp_path, "checkpoint")
    publish(checkpoints, 1)
    assert damage_of(tmp_path / "checkpoint-1") == ""
    manifest = tmp_path / "checkpoint-1" / "files.json"
    manifest.unlink() if text is None else manifest.write_text(text)
    assert damage_of(tmp_path / "checkpoint-1").startswith(damage)
