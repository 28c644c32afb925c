"""What README and docs show is run; what they name exists."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.settings import registry, spec

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language, without their indentation."""
    found = re.findall(
        rf"^( *)```{language}\n(.*?)^\1```", path.read_text(encoding="utf-8"), re.M | re.S
    )
    return [re.sub(rf"^{indent}", "", block, flags=re.M) for indent, block in found]


@pytest.mark.parametrize("code", blocks(ROOT / "README.md", "python"))
def test_readme_python_runs(code, capsys):
    exec(compile(code, "README.md", "exec"), {})
    assert "torch.Size([64, " in capsys.readouterr().out


def test_the_method_of_contributing_works_as_it_stands_there(tmp_path, monkeypatch):
    (code,) = blocks(ROOT / "CONTRIBUTING.md", "python")
    (tmp_path / "largest_example.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(registry._REGISTERED["step"], "largest", "largest_example:Largest")
    step = registry.build("step", "largest(2)")
    regions = Regions.from_labels(torch.tensor([[0, 1, 1], [2, 2, 2]]))
    kept = step.one(regions, PatchGrid(torch.zeros(2, 3, 1), Frame.stretch((2, 3), (2, 3), (1, 1))))
    assert kept.sizes.tolist() == [2, 3]
    assert registry.render(step) == "largest(2)"
    with pytest.raises(spec.SpecError, match="needs at least one region, got k=0"):
        registry.build("step", "largest(0)")
    sys.modules.pop("largest_example", None)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_specs_in_the_docs_can_be_built():
    text = "\n".join(path.read_text(encoding="utf-8") for path in PAGES).replace("\\|", "|")
    found = set(re.findall(r"`((?:segments|merge|windows)\([^`]*\))`", text)) | set(
        re.findall(r'--regions "([^"]+)"', text)
    )
    assert len(found) >= 6
    for one in found - {"merge(0.5) | largest(20)"}:
        registry.build_pipeline("step", one)


def test_every_method_has_its_paragraph():
    text = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    for kind in ("encoder", "segmenter", "transform", "step", "pool", "place", "connector"):
        for name in registry.names(kind):
            assert f"`{name}`" in text, f"docs/methods.md has no paragraph on {kind} {name}"


def test_every_command_of_the_readme_exists():
    from regiontok.cli.app import app

    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    known |= {group.name for group in app.registered_groups}
    used = set(re.findall(r"^regiontok (\w+)", "\n".join(blocks(ROOT / "README.md", "bash")), re.M))
    assert used
    assert used <= known
