"""Near-duplicates among all images, and the list of those that stay.

After: the pigeonhole principle: two hashes that differ in at most 3 of 64 bits agree in one of four
bands of 16.
Differs: nothing is left out: within a band's bucket every hash meets every other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from regiontok.curate.plan import FilterPlan
from regiontok.curate.stage_files import Stage, read_rows
from regiontok.curate.tars import Curation
from regiontok.shards.report import config_hash
from regiontok.system.files import replacing_shared
from regiontok.system.need import need
from regiontok.system.parquet import ParquetError, open_parquet, write_parquet
from regiontok.system.strict_json import parse_json

if TYPE_CHECKING:
    from jaxtyping import Int, UInt64

FORM = 1
FORMAT = "regiontok keep 1"
BANDS, BITS = 4, 16


@dataclass(frozen=True)
class KeepReport:
    """What stays, and why the rest does not.

    Attributes:
        images: number of images.
        kept: how many stay.
        set_aside: how many do not, by reason.
        settings: the hash of the settings and of what was read.
        hash: the hash of the list itself, which later stages read.
    """

    images: int
    kept: int
    set_aside: Mapping[str, int]
    settings: str
    hash: str


def write_keep_list(curation: Curation, stage: Stage, plan: FilterPlan) -> KeepReport:
    """Write which images stay: those that the filter lets through, and the first of duplicates.

    One that is there, of these settings, is not made again.

    Raises:
        CurationError: If the filter's file of a tar is missing or damaged.
    """
    settings = keep_settings(curation, stage, plan)
    if (report := read_keep_report(curation.out)) and report.settings == settings:
        return report
    tables = [
        read_rows(stage, curation.out, tar, ["index", "phash", "reason"]) for tar in curation.tars
    ]
    shard = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    index, phash = (
        np.concatenate([table.column(name).to_numpy() for table in tables])
        for name in ("index", "phash")
    )
    reasons = [text for table in tables for text in table.column("reason").to_pylist()]
    usable = np.flatnonzero([not reason for reason in reasons])
    first = usable[first_of_duplicates(phash[usable], plan.duplicates)]
    is_kept = first == usable
    counts = _counts(reasons) | {"duplicate": int((~is_kept).sum())}
    pa = need("pyarrow", extra="store")
    names = [tar.name for tar in curation.tars]
    table = pa.table(
        {
            "shard": [names[number] for number in shard[usable]],
            "index": index[usable],
            "first_shard": [names[number] for number in shard[first]],
            "first_index": index[first],
        },
        keep_schema(),
    )
    digest = _digest(shard[usable], index[usable], shard[first], index[first])
    report = KeepReport(len(reasons), int(is_kept.sum()), counts, settings, digest)
    path = curation.out / "keep.json"
    path.unlink(missing_ok=True)  # it would speak for another list
    write_parquet(
        table,
        curation.out / "keep.parquet",
        FORMAT,
        group_rows=1 << 16,
        metadata={"hash": report.hash},
        shared=True,
    )
    with replacing_shared(path) as temporary:
        temporary.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    return report


def keep_settings(curation: Curation, stage: Stage, plan: FilterPlan) -> str:
    """The hash of the list's settings, over that of the filter which it reads."""
    settings = {"stage": "keep", "form": FORM, "duplicates": plan.duplicates, "reads": stage.hash}
    return config_hash(settings | curation.left_out_settings)


def keep_schema() -> Any:
    """The columns of the list: an image that the filter let through, and its first duplicate."""
    pa = need("pyarrow", extra="store")
    places = {"shard": pa.string(), "index": pa.int32()}
    firsts = {f"first_{name}": kind for name, kind in places.items()}
    return pa.schema(list((places | firsts).items()))


def read_keep_report(out: Path) -> KeepReport | None:
    """The report of the list; None where there is no whole list."""
    try:
        report = KeepReport(**parse_json((out / "keep.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return report if (out / "keep.parquet").is_file() else None


def keep_list_problem(curation: Curation, report: KeepReport) -> str | None:
    """What is wrong with the list, compared with its report; None if nothing is."""
    path = curation.out / "keep.parquet"
    numbers = {tar.name: number for number, tar in enumerate(curation.tars)}
    try:
        with open_parquet(path, keep_schema(), FORMAT) as file:
            table = file.read(use_threads=False)
    except (FileNotFoundError, ParquetError) as error:
        return str(error).removeprefix(f"{path}: ")
    shard, first = (
        np.array([numbers.get(name, -1) for name in table[column].to_pylist()], np.int64)
        for column in ("shard", "first_shard")
    )
    index, first_index = (table[column].to_numpy() for column in ("index", "first_index"))
    if _digest(shard, index, first, first_index) != report.hash:
        return "another list than its report's"
    return None


def _digest(*columns: np.ndarray) -> str:
    """The hash of the list's columns, with tars by their numbers."""
    digest = hashlib.sha256()
    for values in columns:
        digest.update(np.ascontiguousarray(values, np.int64).tobytes())
    return digest.hexdigest()[:32]


def _counts(reasons: list[str]) -> dict[str, int]:
    words, numbers = np.unique([text.split(":")[0] for text in reasons if text], return_counts=True)
    return dict(zip(words.tolist(), numbers.tolist(), strict=True))


def first_of_duplicates(hashes: UInt64[np.ndarray, "n"], most: int) -> Int[np.ndarray, "n"]:
    """For each hash the place of the first one in its group.

    Groups are joined by pairs that differ in at most `most` bits, so that of a chain the ends may
    differ in more.

    Args:
        hashes: the hashes, in the order by which the first of a group is the first.
        most: bits, at most 3; -1 joins nothing.

    >>> hashes = np.array([0b111 << 40, 0, 1 << 63, 0xFFFF << 20], np.uint64)
    >>> first_of_duplicates(hashes, 3).tolist()
    [0, 0, 0, 3]
    """
    if most < 0 or not len(hashes):
        return np.arange(len(hashes))
    # equal hashes are one: blank pictures by the thousand would fill a bucket
    unique, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    order = first.argsort(kind="stable")
    rank = order.argsort(kind="stable")
    parents = np.arange(len(unique))
    in_order = unique[order]
    for band in range(BANDS):
        keys = (in_order >> np.uint64(BITS * band)) & np.uint64((1 << BITS) - 1)
        by_key = keys.argsort(kind="stable")
        _join(in_order[by_key], keys[by_key], by_key, parents, most)
    roots = _roots(parents)
    return first[order[roots[rank[group]]]]


@njit(cache=True)
def _join(
    hashes: np.ndarray, keys: np.ndarray, places: np.ndarray, parents: np.ndarray, most: int
) -> None:
    """Join the places of hashes that are near; equal keys stand together."""
    start = 0
    for stop in range(1, len(keys) + 1):
        if stop < len(keys) and keys[stop] == keys[start]:
            continue
        for one in range(start, stop):
            for other in range(one + 1, stop):
                bits = hashes[one] ^ hashes[other]
                count = 0
                while bits and count <= most:
                    bits &= bits - np.uint64(1)
                    count += 1
                if count <= most:
                    _union(parents, places[one], places[other])
        start = stop


@njit(cache=True)
def _union(parents: np.ndarray, one: int, other: int) -> None:
    """Join two groups; the smaller root stays the root."""
    while parents[one] != one:
        parents[one] = parents[parents[one]]
        one = parents[one]
    while parents[other] != other:
        parents[other] = parents[parents[other]]
        other = parents[other]
    if one < other:
        parents[other] = one
    else:
        parents[one] = other


@njit(cache=True)
def _roots(parents: np.ndarray) -> Any:
    """The root of each place; a root stands before all of its group."""
    roots = parents.copy()
    for place in range(len(roots)):
        roots[place] = roots[parents[place]]
    return roots
