"""The viewer's own scripts, run outside a browser."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from regiontok.view.page import static_files

NODE = shutil.which("node")


def in_node(folder: Path, script: str, content: Any) -> Any:
    """What a script prints that imports the page's modules, as JSON."""
    if NODE is None:
        pytest.skip("node is not installed; the tests in a browser try the same code")
    for name, data in static_files().items():
        (folder / name).write_bytes(data)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "script.js").write_text(script)
    (folder / "content.json").write_text(json.dumps(content))
    done = subprocess.run(
        [NODE, "script.js", "content.json"], cwd=folder, capture_output=True, check=True, text=True
    )
    return json.loads(done.stdout)
