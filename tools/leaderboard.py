"""Write the page of encoders from many saved diagnoses; the page is never edited by hand.

    python tools/leaderboard.py runs/here runs/hub --out docs/measurements/encoders.md

Each argument is a `results.json` that `regiontok diagnose measure` wrote, or a folder that holds
one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from regiontok.jobs.diagnose.columns import COLUMNS, HEADLINES, Column, shown, subject_of, value
from regiontok.system.files import replacing

HUB_ENCODERS = (
    "openai/clip-vit-large-patch14-336",
    "google/siglip2-so400m-patch14-384",
    "facebook/dinov2-large",
    "facebook/dinov2-with-registers-large",
)
TITLE = """# Encoders, diagnosed

Generated from saved results by `tools/leaderboard.py`; do not edit. What each column means stands
at the end.
"""
MORE_ROWS = f"""## More rows

A random-weight control (`--control`) needs an encoder with the field `weights='random'`. On a
machine with a model hub, one command measures more encoders, on the photos that the section above
names, and one writes this page anew:

```bash
regiontok diagnose measure {" ".join(HUB_ENCODERS[:2])} \\
    {" ".join(HUB_ENCODERS[2:])} \\
    --layers -1,-2 --images PHOTOS --humans DATA/bsds500/groundTruth/train --out runs/hub --resume
python tools/leaderboard.py runs/here runs/hub --out docs/measurements/encoders.md
```
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="+", type=Path, help="results.json, or its folder")
    parser.add_argument("--out", type=Path, required=True, help="the page to write")
    words = parser.parse_args(arguments)
    try:
        rows = write_leaderboard(read_results(words.results), words.out)
    except ValueError as error:
        parser.error(str(error))
    print(f"{rows} rows in {words.out}")


def read_results(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Saved `results.json` files, or those in folders.

    Raises:
        ValueError: If a file was not written by `regiontok diagnose measure`.
    """
    return [_read(path / "results.json" if path.is_dir() else path) for path in paths]


def _read(path: Path) -> dict[str, Any]:
    refusal = f"{path} holds no results of `regiontok diagnose measure`"
    try:
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if results["command"] == "diagnose" and results["rows"] and results["photos"]["count"]:
            return results
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{refusal} ({type(error).__name__}: {error})") from None
    raise ValueError(refusal)


def write_leaderboard(results: Sequence[Mapping[str, Any]], out: Path) -> int:
    """Write the page; return how many rows it has.

    Rows of one photo set, measured with the same settings, stand together: others cannot be
    compared with them. Of the same encoder, layer and variant on the same photos, measured twice,
    the row of the later date stays.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for result in sorted(results, key=lambda result: result["date"]):
        settings = json.dumps(result["settings"], sort_keys=True)
        groups.setdefault(f"{result['photos']['hash']} {settings}", []).append(result)
    sections, count = [], 0
    for group in groups.values():
        latest = {
            (row["fingerprint"], row["variant"]): row for result in group for row in result["rows"]
        }
        sections.append(_section(group, list(latest.values())))
        count += len(latest)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as path:
        text = "\n".join([TITLE, *sections, _definitions(), MORE_ROWS])
        path.write_text(text, encoding="utf-8")
    return count


def _section(group: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> str:
    """The section of one photo set: the features as they come, then what remedies change.

    Args:
        group: the results on these photos, the latest last.
        rows: their rows.
    """
    photos, latest = group[-1]["photos"], group[-1]
    versions = ", ".join(f"{name} {number}" for name, number in latest["versions"].items())
    dates = " to ".join(dict.fromkeys((group[0]["date"], latest["date"])))
    about = f": {photos['about']}" if photos["about"] else ""
    summary = (
        f"{dates}; {photos['count']} photos{about} (set `{photos['hash'][:12]}`), "
        f"{photos['with_humans']} of them with human segmentations; position read out of "
        f"{photos['position_sample']}. {versions}."
    )
    raw = sorted((row for row in rows if row["variant"] == "raw"), key=_rank)
    lines = [f"## {photos['count']} photos\n", summary, "", *_raw_table(raw), ""]
    remedies = list(_remedy_table(rows))
    if remedies:
        intro = ["### What remedies change\n", "Differences from the features as they come.", ""]
        lines += [*intro, *remedies, ""]
    return "\n".join(lines)


def _rank(row: Mapping[str, Any]) -> tuple[bool, float, str]:
    """The order of rows: controls last; by covering at one budget, then by border AUC."""
    score = value(row, "covering_at_budget")
    if score is None:
        score = value(row, "border_auc") or 0.0
    return bool(row["control"]), -score, subject_of(row)


def _raw_table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield _line(["encoder", "grid", "width", *(column.head for column in HEADLINES)])
    yield _line(["---"] + ["---:"] * (len(HEADLINES) + 2))
    for row in rows:
        grid = " × ".join(map(str, row["grid"]))
        numbers = (shown(row, column) for column in HEADLINES)
        yield _line([_code(subject_of(row)), grid, str(row["width"]), *numbers])


def _remedy_table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What remedies change; no line if there is none."""
    raw = {row["fingerprint"]: row for row in rows if row["variant"] == "raw"}
    remedied = [row for row in rows if row["variant"] != "raw" and row["fingerprint"] in raw]
    if not remedied:
        return
    yield _line(["encoder", "remedy", *(column.head for column in HEADLINES)])
    yield _line(["---", "---", *["---:"] * len(HEADLINES)])
    for row in sorted(remedied, key=lambda row: (_rank(raw[row["fingerprint"]]), row["variant"])):
        changes = (_change(row, raw[row["fingerprint"]], column) for column in HEADLINES)
        yield _line([_code(subject_of(row)), row["variant"], *changes])


def _change(row: Mapping[str, Any], raw: Mapping[str, Any], column: Column) -> str:
    """The difference that a remedy makes in one column; a dash where it has no number."""
    number, raw_number = value(row, column.key), value(raw, column.key)
    if number is None or raw_number is None:
        return "–"
    text = f"{number - raw_number:+.{column.digits}f}"
    return "0" if float(text) == 0 else text.replace("-", "−")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _code(text: str) -> str:
    """Text as code that stays in its cell."""
    return f"`{text.replace('|', '/').replace('`', '')}`"


def _definitions() -> str:
    """What each column means."""
    direction = {"high": " Higher is better.", "low": " Lower is better.", "": ""}
    lines = [
        f"- **{column.head}**: {column.what}{direction[column.better]}"
        for column in COLUMNS
        if column.headline
    ]
    return "\n".join(["## Columns\n", *lines, ""])


if __name__ == "__main__":
    main()
