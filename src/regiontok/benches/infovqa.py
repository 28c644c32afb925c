"""InfographicVQA: questions about infographics, scored by ANLS.

After: Mathew et al., InfographicVQA, WACV 2022.
Differs: nothing known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from regiontok.benches.docvqa import Docvqa


@dataclass(frozen=True)
class Infovqa(Docvqa):
    """2,801 questions of the validation set; files and rule are those of DocVQA."""

    files: ClassVar[tuple[str, ...]] = ("infographics*val*.json", "*infovqa*.json*", "*.parquet")
    headline: ClassVar[str] = "infovqa"
