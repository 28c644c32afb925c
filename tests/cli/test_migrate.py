"""`regiontok migrate` as it is typed."""

from __future__ import annotations

import numpy as np
import pytest

from samples.command_line import regiontok

pytest.importorskip("pyarrow")


def test_mask_folders_become_a_store(photos, tmp_path):
    folder = tmp_path / "arrays" / "partition_0" / "a.png"
    folder.mkdir(parents=True)
    for number in range(2):
        np.save(folder / f"mask_{number}.npy", np.eye(80, 100, dtype=bool))
    (tmp_path / "arrays" / "partition_0" / "gone.png").mkdir()
    np.save(tmp_path / "arrays" / "partition_0" / "gone.png" / "mask_0.npy", np.ones((2, 2), bool))
    store = tmp_path / "store"
    words = ["migrate", "og_llava", tmp_path / "arrays", "--images", photos, "--out", store]
    plan = regiontok(*words, "--dry-run").report
    assert (plan["images"], plan["without_picture"], plan["files"]) == (2, 1, 3)
    assert not store.exists()
    result = regiontok(*words)
    assert (result.exit_code, result.report["done"], result.report["set_aside"]) == (1, 1, 1)
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert (result.report["images"], result.report["bytes_before"]) == (1, size)
    assert "no such picture" in " ".join(result.stdout.split())
    assert regiontok(*words).report["resumed"] == 1
