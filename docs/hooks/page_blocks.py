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
import shlex
import subprocess
import sys
import types
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
    module = types.ModuleType(f"page_{path.stem}")  # dataclasses look their module up by its name
    sys.modules[module.__name__] = module
    for block in blocks_of(path.read_text(encoding="utf-8")):
        if "notest" in block.words or ("slow" in block.words and not slow):
            continue
        with contextlib.chdir(folder):
            if block.language == "python":
                printed = _run_python(block, path, vars(module))
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
        exec(compile(code, str(path), "exec", dont_inherit=True), namespace)
    return printed.getvalue()


def _run_bash(block: Block) -> str:
    """Run each line's `regiontok ...`, and return what all of them print."""
    printed = []
    for line in block.code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            assert words[0] == "regiontok", f"only regiontok's own commands are run, not {line!r}"
            run = _run_apart if "slow" in block.words else _run_here
            status, output, messages = run(words[1:])
            assert not status, f"{line}\nended with {status}\n{messages}"
            printed.append(output)
    return "".join(printed)


def _run_here(arguments: list[str]) -> tuple[Any, str, str]:
    """Run a command in this process, because a new one would import torch each time."""
    from regiontok.cli.app import app

    output, messages = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(messages):
        try:
            status = app(arguments, standalone_mode=False)
        except SystemExit as stop:
            status = stop.code
    return status, output.getvalue(), messages.getvalue()


def _run_apart(arguments: list[str]) -> tuple[Any, str, str]:
    """Run a command in a process of its own, because training leaves traces in one."""
    source = str(Path(__file__).parents[2] / "src")
    paths = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-m", "regiontok.cli.app", *arguments],
        env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "100"},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr
