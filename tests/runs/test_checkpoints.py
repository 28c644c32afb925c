"""Checkpoints take their place at once, and old ones go."""

from __future__ import annotations

from regiontok.runs.checkpoints import CheckpointFolder


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
