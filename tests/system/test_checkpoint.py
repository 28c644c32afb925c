"""Where the files of a checkpoint lie."""

from __future__ import annotations

import pytest

from regiontok.system.checkpoint import locate


@pytest.mark.parametrize(("held", "said"), [(["2_tuning"], "2_tuning"), ([], "no model (yet)")])
def test_a_model_missing_from_a_run_is_looked_for_there(tmp_path, monkeypatch, held, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "run").mkdir()
    for name in held:
        (tmp_path / "run" / name).mkdir()
        (tmp_path / "run" / name / "config.json").write_text("{}")
    with pytest.raises(ValueError) as caught:
        locate("run/1_colour")
    assert f"run/1_colour: no such folder, though run is one and holds {said};" in str(caught.value)
