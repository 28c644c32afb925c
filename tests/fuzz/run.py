"""Many changed inputs over all readers: `PYTHONPATH=tests python tests/fuzz/run.py 10000`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from fuzz.harness import MOST_BYTES, fuzz, peak_bytes


def main() -> int:
    """Print what failed; the status is 0 if nothing did."""
    count, first = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as folder:
        counts, failures = fuzz(Path(folder), range(first, first + count))
    for failure in failures:
        print(f"--- {failure.reader}, number {failure.number}\n{failure.what}")
    print(f"{dict(counts)}, {len(failures)} failed, {peak_bytes() / 2**30:.2f} GB at most")
    return int(bool(failures) or peak_bytes() > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())
