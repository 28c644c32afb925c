"""Readers answer changed files with what they hold or one clear error; nothing hangs."""

from __future__ import annotations

import pytest

from fuzz.harness import MOST_BYTES, fuzz, peak_bytes


@pytest.mark.slow
def test_changed_files_are_taken_or_refused(tmp_path):
    before = peak_bytes()
    counts, failures = fuzz(tmp_path, range(330))
    assert failures == []
    assert counts["taken"] > 20
    assert counts["refused"] > 100
    assert peak_bytes() - before < MOST_BYTES
