"""The code blocks of a page: found, and run as a reader would run them from top to bottom.

Words behind a fence's language say how a block is treated; the site does not show them:

- `notest`: it needs a hub, a GPU or many minutes, and is only shown;
- `slow`: it is run with the slow tests;
- `run`: of a bash block, that its commands are executed and not only parsed.

A block ```` ```text ```` that follows a block directly is what that block prints; `...` in it
stands for anything, as in a doctest.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FENCE = re.compile(r"^( *)```(\w+)((?: \w+)*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        language: python, bash, text, ...
        words: what stands behind the language.
        code: its lines, without the indentation of the fence.
        line: the line of the page on which the code begins.
        prints: what the page says that it prints; None if it says nothing.
    """

    language: str
    words: frozenset[str]
    code: str
    line: int
    prints: str | None = None


def blocks_of(text: str) -> list[Block]:
    """All fenced blocks of a page, in their order; an output belongs to the block before it."""
    blocks: list[Block] = []
    end = 0
    for fence in FENCE.finditer(text):
        indent, language, words, code = fence.groups()
        code = re.sub(rf"^{indent}", "", code, flags=re.MULTILINE)
        follows = blocks and not text[end : fence.start()].strip()
        if language == "text" and follows and blocks[-1].language in ("python", "bash"):
            last = blocks.pop()
            blocks.append(Block(last.language, last.words, last.code, last.line, code))
        else:
            line = text.count("\n", 0, fence.start()) + 2
            blocks.append(Block(language, frozenset(words.split()), code, line))
        end = fence.end()
    return blocks


def run_page(path: Path, folder: Path, *, slow: bool) -> Iterator[tuple[Block, str]]:
    """Run a page's blocks in `folder`, all Python blocks in one namespace; yield what each printed.

    Args:
        path: the page.
        folder: where the blocks run and write.
        slow: also run the blocks that are marked so.

    Raises:
        AssertionError: If a block prints something else than the page says.
    """
    namespace: dict[str, Any] = {"__name__": "page"}
    for block in blocks_of(path.read_text(encoding="utf-8")):
        if "notest" in block.words or ("slow" in block.words and not slow):
            continue
        with contextlib.chdir(folder):
            if block.language == "python":
                printed = _run_python(block, path, namespace)
            elif block.language == "bash" and "run" in block.words:
                printed = _run_bash(block)
            else:
                continue
        if block.prints is not None:
            message = f"{path.name}, line {block.line} prints\n{printed}\nand not\n{block.prints}"
            assert doctest.OutputChecker().check_output(block.prints, printed, FLAGS), message
        yield block, printed


def _run_python(block: Block, path: Path, namespace: dict[str, Any]) -> str:
    printed = io.StringIO()
    code = "\n" * (block.line - 1) + block.code  # so that a traceback names the page's line
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(path), "exec"), namespace)
    return printed.getvalue()


def _run_bash(block: Block) -> str:
    """Run commands with `regiontok` as this interpreter has it."""
    script = f'set -e\nregiontok() {{ "{sys.executable}" -m regiontok.cli.app "$@"; }}\n{block.code}'
    source = str(Path(__file__).parents[2] / "src")
    paths = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "100"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{block.code}\nended with {done.returncode}\n{done.stderr}"
    return done.stdout
