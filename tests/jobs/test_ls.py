"""ls: methods, recipes, and the encoders by name."""

from __future__ import annotations

import subprocess
import sys

from rich.console import Console

from regiontok.jobs.ls import encoder_table, encoders, methods
from regiontok.settings.registry import names, summary


def test_rows_of_the_catalogue(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    rows = {row["name"]: row for row in encoders()}
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
    assert {name for name, row in rows.items() if row["here"] == "yes"} == {"lite", "filters"}


def test_a_model_in_the_cache_is_here(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    root = tmp_path / "models--facebook--dinov2-large"
    for file in ("refs/main", "snapshots/c0/config.json", "snapshots/c0/model.safetensors"):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("c0")
    here = {row["name"]: row["here"] for row in encoders()}
    assert (here["dinov2-l"], here["dinov2-b"]) == ("yes", "no")


def test_the_table(capsys):
    Console(width=160).print(encoder_table())
    text = capsys.readouterr().out
    line = next(line for line in text.splitlines() if line.startswith("clip-l14-336 "))
    assert line.split()[1:4] == ["24×24", "1024", "577"]
    assert "transformers('openai/clip-vit-large-patch14-336')" in line
    assert next(line for line in text.splitlines() if line.startswith("radio-l-384 ")).split()[
        1:4
    ] == ["24×24", "1024", "576+"]
    assert next(line for line in text.splitlines() if line.startswith("lite ")).split()[4] == "yes"
    assert "photo's" in next(
        line for line in text.splitlines() if line.startswith("siglip2-so400m-naflex ")
    )


def test_methods_are_listed_as_before():
    assert methods("encoder") == {
        "encoder": {name: summary("encoder", name) for name in names("encoder")}
    }
    assert set(methods()) > {"encoder", "step", "pool"}


def test_nothing_heavy_is_loaded_and_no_network_asked():
    code = "from regiontok.jobs.ls import encoder_table; encoder_table(); import sys"
    heavy = {"torch", "transformers", "timm", "huggingface_hub", "requests", "httpx"}
    code += f"; print({heavy} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
