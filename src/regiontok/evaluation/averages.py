"""Averages over benchmarks as the papers make them: by items, or plain.

After: OG-LLaVA, Tables 1 and 3 (row O11): averages weighted by numbers of items, which were
recovered from the printed figures. RICE, Table 1 (row R9): two plain averages, for which MME's
cognition score is divided by 6, as the printed averages have it. OG-LLaVA's 61.0 and 69
(compositional, 8B and 3B) and 63 (vision-centric, 3B) follow from the rows of its tables.
Differs: which of POPE's figures RICE prints is not said: F1 is taken. OG-LLaVA's text says 6,000
captions for Flickr-Order, its averages say 5,000; its general-purpose average is left out, since
neither MME's scale in it nor which part of MMBench is said. RICE's caption says that cognition is
divided by 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ARO_ITEMS = {
    "relation": 23_937,
    "attribution": 28_748,
    "coco_order": 25_010,
    "flickr_order": 5_000,
}
# ARO and ConMe in the average that OG-LLaVA calls compositional
COMPOSITIONAL_ITEMS = {"aro": 23_937, "conme": 24_347}
# MMVP by single questions, and CV-Bench, in the average that it calls vision-centric
VISION_ITEMS = {"mmvp": 300, "cvbench": 2_638}
RICE_TEXT = "infovqa docvqa chartqa textvqa ocrbench ocrbench_v2 livexiv_vqa".split()
RICE_GENERAL = "ai2d mmbench mme_cognition mme_perception pope_f1 realworldqa mmstar".split()
_RICE_DIVISORS = {"ocrbench": 10.0, "mme_cognition": 6.0, "mme_perception": 20.0}


def weighted_by_items(scores: Mapping[str, Any], items: Mapping[str, int]) -> Any:
    """The average of scores, each weighted by its number of items.

    Args:
        scores: a score, or an array of resampled ones, for each name of `items`.
        items: the numbers of items.

    >>> weighted_by_items({"aro": 50.0, "conme": 100.0}, {"aro": 1, "conme": 3})
    87.5
    """
    total = sum(items[name] * scores[name] for name in items)
    return total / sum(items.values())


def averages_of(scores: Mapping[str, float]) -> dict[str, float]:
    """The averages of all papers whose scores are all there, by name.

    >>> averages = averages_of({"aro": 56.6, "conme": 65.2, "mmvp": 37.0})
    >>> {name: round(value, 2) for name, value in averages.items()}
    {'compositional': 60.94}
    """
    items = {"compositional": COMPOSITIONAL_ITEMS, "vision": VISION_ITEMS}
    weighted = {
        name: float(weighted_by_items(scores, counts))
        for name, counts in items.items()
        if counts.keys() <= scores.keys()
    }
    return weighted | rice_averages(scores)


def rice_averages(scores: Mapping[str, float]) -> dict[str, float]:
    """RICE's two averages, of text-rich and of general benchmarks, where all their scores are.

    >>> rice_averages(dict.fromkeys(RICE_TEXT, 50.0) | {"ocrbench": 500.0})
    {'rice_text': 50.0}
    """
    averages = {}
    for name, members in (("rice_text", RICE_TEXT), ("rice_general", RICE_GENERAL)):
        if all(member in scores for member in members):
            shares = [scores[member] / _RICE_DIVISORS.get(member, 1.0) for member in members]
            averages[name] = sum(shares) / len(shares)
    return averages
