"""`regiontok diagnose --leaderboard`: one page of many saved diagnoses, generated and never edited
by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from regiontok.jobs.diagnose.columns import COLUMNS, HEADLINES, Column, shown, subject_of, value
from regiontok.system.files import replacing

HUB = (
    "openai/clip-vit-large-patch14-336",
    "google/siglip2-so400m-patch14-384",
    "facebook/dinov2-large",
    "facebook/dinov2-with-registers-large",
)


def read_results(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Saved `results.json` files, or folders that hold one.

    Raises:
        ValueError: none was named, or one that `regiontok diagnose` did not write.
    """
    if not paths:
        raise ValueError(
            "name the results.json files, or the folders, that `regiontok diagnose` wrote"
        )
    return [_read(path / "results.json" if path.is_dir() else path) for path in paths]


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["command"] == "diagnose" and found["rows"] and found["photos"]["count"]:
            return found
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} holds no results of `regiontok diagnose` ({type(error).__name__}: {error})"
        ) from None
    raise ValueError(f"{path} holds no results of `regiontok diagnose`")


def write_leaderboard(results: Sequence[Mapping[str, Any]], out: Path) -> int:
    """Write the page; return how many rows it has. Rows of one photo set stand together: others
    cannot be compared with them.

    Of the same encoder, layer and variant on the same photos, measured twice, the row of the later
    date stays.
    """
    sets: dict[str, list[Mapping[str, Any]]] = {}
    for one in sorted(results, key=lambda one: one["date"]):
        sets.setdefault(
            f"{one['photos']['hash']} {json.dumps(one['settings'], sort_keys=True)}", []
        ).append(one)
    parts, count = [], 0
    for group in sets.values():
        rows = {(row["fingerprint"], row["variant"]): row for one in group for row in one["rows"]}
        parts.append(_set(group, list(rows.values())))
        count += len(rows)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as part:
        part.write_text("\n".join([_HEAD, *parts, _definitions(), _more()]), encoding="utf-8")
    return count


_HEAD = """# Encoders, diagnosed

Generated from saved results by `regiontok diagnose --leaderboard`; do not edit. What each column means stands at the end.
"""


def _set(group: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> str:
    photos, last = group[-1]["photos"], group[-1]
    versions = ", ".join(f"{name} {number}" for name, number in last["versions"].items())
    dates = " to ".join(dict.fromkeys((group[0]["date"], last["date"])))
    which = f": {photos['about']}" if photos["about"] else ""
    about = (
        f"{dates}; {photos['count']} photos{which} (set `{photos['hash'][:12]}`), {photos['with_humans']} of them with human "
        f"segmentations; position read out of {photos['position_sample']}. {versions}."
    )
    first = [row for row in rows if row["variant"] == "raw"]
    remedies = list(_remedies(rows))
    lines = [
        f"## {photos['count']} photos\n",
        about,
        "",
        *_table(sorted(first, key=_rank), HEADLINES, variant=False),
        "",
    ]
    if remedies:
        lines += [
            "### What remedies change\n",
            "Differences from the features as they come.",
            "",
            *remedies,
            "",
        ]
    return "\n".join(lines)


def _rank(row: Mapping[str, Any]) -> tuple[bool, float, str]:
    """Controls last; by covering at one budget, then by border AUC."""
    best = value(row, "covering_at_budget")
    return (
        bool(row["control"]),
        -(best if best is not None else value(row, "border_auc") or 0.0),
        subject_of(row),
    )


def _table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, variant: bool
) -> Iterator[str]:
    heads = [
        "encoder",
        *(["variant"] if variant else []),
        "grid",
        "width",
        *(column.head for column in columns),
    ]
    yield _line(heads)
    yield _line(["---"] * (2 if variant else 1) + ["---:"] * (len(columns) + 2))
    for row in rows:
        grid = " × ".join(map(str, row["grid"]))
        cells = [
            _cell(subject_of(row)),
            *([row["variant"]] if variant else []),
            grid,
            str(row["width"]),
        ]
        yield _line([*cells, *(shown(row, column) for column in columns)])


def _remedies(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    raw = {row["fingerprint"]: row for row in rows if row["variant"] == "raw"}
    others = [row for row in rows if row["variant"] != "raw" and row["fingerprint"] in raw]
    if not others:
        return
    yield _line(["encoder", "remedy", *(column.head for column in HEADLINES)])
    yield _line(["---", "---", *["---:"] * len(HEADLINES)])
    for row in sorted(others, key=lambda row: (_rank(raw[row["fingerprint"]]), row["variant"])):
        yield _line(
            [
                _cell(subject_of(row)),
                row["variant"],
                *(_change(row, raw[row["fingerprint"]], one) for one in HEADLINES),
            ]
        )


def _change(row: Mapping[str, Any], raw: Mapping[str, Any], column: Column) -> str:
    after, before = value(row, column.key), value(raw, column.key)
    if after is None or before is None:
        return "–"
    text = f"{after - before:+.{column.digits}f}"
    return "0" if float(text) == 0 else text.replace("-", "−")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """Text that stays in its cell, as code."""
    return f"`{text.replace('|', '/').replace('`', '')}`"


def _definitions() -> str:
    direction = {"high": " Higher is better.", "low": " Lower is better.", "": ""}
    lines = [
        f"- **{column.head}**: {column.what}{direction[column.better]}"
        for column in COLUMNS
        if column.headline
    ]
    return "\n".join(["## Columns\n", *lines, ""])


def _more() -> str:
    return f"""## More rows

A random-weight control (`--control`) needs an encoder with the field `weights='random'`. On a machine with a model hub, one command
measures more encoders, on the photos that the section above names, and one writes this page anew:

```bash
regiontok diagnose {" ".join(HUB)} \\
    --layers -1,-2 --images PHOTOS --humans DATA/bsds500/groundTruth/train --out runs/hub --resume
regiontok diagnose --leaderboard runs/here --leaderboard runs/hub --out docs/measurements/encoders.md
```
"""
