"""The table of shipped models in the docs is that of their files."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_table_of_the_docs_is_that_of_the_files():
    script = ROOT / "tools" / "shipped_table.py"
    spec = importlib.util.spec_from_file_location("tools_shipped_table", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    lines = module.table_lines()
    assert len(lines) > 20
    page = (ROOT / "docs" / "how-to" / "shipped_models.md").read_text(encoding="utf-8")
    assert "\n".join(lines) in page, "python tools/shipped_table.py prints the table anew"
