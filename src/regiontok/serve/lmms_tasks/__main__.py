"""Prints the folder of the task files, for lmms-eval's `--include_path`."""

from __future__ import annotations

from pathlib import Path

if __name__ == "__main__":
    print(Path(__file__).parent)
