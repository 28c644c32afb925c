"""`ls`: methods by kind, and the encoders that have a short name."""

from __future__ import annotations

from regiontok.jobs.ls import encoder_rows, methods_by_kind
from regiontok.settings.registry import names, summary


def test_rows_of_the_catalogue(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    rows = {row["name"]: row for row in encoder_rows()}
    assert rows["clip-l14-336"] == {
        "name": "clip-l14-336",
        "grid": (24, 24),
        "width": 1024,
        "tokens": 577,
        "licence": "none stated",
        "threshold": 0.7,
        "here": "no",
        "hub": "openai/clip-vit-large-patch14-336",
        "spec": "transformers('openai/clip-vit-large-patch14-336')",
        "note": "layer=-2 is LLaVA's choice",
    }
    here = {name for name, row in rows.items() if row["here"] == "yes"}
    assert here == {"lite", "filters", "mini-rice", "mini-whole"}


def test_a_model_in_the_cache_is_here(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    root = tmp_path / "models--facebook--dinov2-large"
    for file in ("refs/main", "snapshots/c0/config.json", "snapshots/c0/model.safetensors"):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("c0")
    here = {row["name"]: row["here"] for row in encoder_rows()}
    assert (here["dinov2-l"], here["dinov2-b"]) == ("yes", "no")


def test_methods_stand_under_their_kind_with_their_first_line():
    first_lines = {name: summary("encoder", name) for name in names("encoder")}
    assert methods_by_kind("encoder") == {"encoder": first_lines}
    assert set(methods_by_kind()) > {"encoder", "step", "pool"}
