"""A diagnosis as one HTML page that needs no network: tables, curves, maps and definitions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from regiontok.jobs.diagnose.columns import COLUMNS, HEADLINES, Column, formatted, subject_of, value
from regiontok.jobs.diagnose.page_curves import curve_figures
from regiontok.jobs.diagnose.pictures import heat
from regiontok.jobs.diagnose.template import SCRIPT, STYLE
from regiontok.jobs.html_page import data_uri, html_page

COLOURS = 8  # a ninth curve has the first colour again, dashed


def page(results: Mapping[str, Any]) -> str:
    """The page of one `results.json`."""
    rows = results["rows"]
    raw = [row for row in rows if row["variant"] == rows[0]["variant"]]
    styles = [_style(i, row) for i, row in enumerate(raw)]
    names = ", ".join(dict.fromkeys(row["encoder"] for row in rows))
    body = [
        "<h1>How coherent are these features?</h1>",
        f"<p>{escape(names)}</p>",
        f'<p class="about">{escape(_about(results))}</p>',
        "<h2>The numbers</h2>",
        '<p class="note">A row is an encoder at a layer with a remedy: <em>raw</em> is features '
        "as they come. Means over photos; the best of the raw rows stands out. Click a heading to "
        "sort; ? leads to its definition.</p>",
        '<label class="pick"><input type="checkbox" id="plain"> only features as they come</label>',
        _table(rows, HEADLINES),
        "<h2>Curves</h2>",
        _legend(raw, styles),
        f'<div class="plots">{"".join(curve_figures(raw, styles))}</div>',
        *_outlier_maps(raw),
        *_pca(results),
        "<h2>Everything else</h2>",
        _table(rows, [column for column in COLUMNS if not column.headline]),
        *_definitions(),
        *_photos(results),
    ]
    series = "\n".join(
        f".s{i} polyline {{ stroke: var(--s{i}); }} .s{i} circle {{ fill: var(--s{i}); }}"
        for i in range(COLOURS)
    )
    style = STYLE.substitute(series=series, examples=max(1, len(results["pictures"])))
    return html_page(f"Diagnosis: {names}", "\n".join(body), style=style, script=SCRIPT)


def _about(results: Mapping[str, Any]) -> str:
    """Date, photos and versions of a diagnosis in one line."""
    photos = results["photos"]
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    date = f"{results['date']} · " if results["date"] else ""
    description = f": {photos['about']}" if photos["about"] else ""
    aside = f", {len(results['failed'])} set aside" if results["failed"] else ""
    return (
        f"{date}{photos['count']} photos{description} (set {photos['hash'][:12]}){aside}, "
        f"{photos['with_humans']} with human segmentations; position read out of "
        f"{photos['position_sample']} · {versions}"
    )


def _style(i: int, row: Mapping[str, Any]) -> str:
    """The CSS classes of curve i."""
    return f"s{i % COLOURS}" + (" control" if row["control"] else " dash" if i >= COLOURS else "")


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> str:
    best = {column.key: _best(rows, column) for column in columns}
    heads = [_head("encoder", "words"), _head("remedy", "words")]
    heads += [_head("grid", "number"), _head("width", "number")]
    heads += [_head(column.head, "number", column) for column in columns]
    lines, name_above = [], ""
    for row in rows:
        name = subject_of(row)
        raw = row["variant"] == rows[0]["variant"]
        classes = ["remedy" * (not raw), "again" if name == name_above else "start"]
        grid, (height, width) = " × ".join(map(str, row["grid"])), row["grid"]
        cells = [
            f'<td class="words"><span>{escape(name)}</span></td>',
            f'<td class="words">{escape(row["variant"])}</td>',
            f'<td data-v="{height * width}">{grid}</td>',
            f'<td data-v="{row["width"]}">{row["width"]}</td>',
            *(_cell(row, column, best[column.key] if raw else None) for column in columns),
        ]
        lines.append(f'<tr class="{" ".join(classes).strip()}">{"".join(cells)}</tr>')
        name_above = name
    head, body = f"<thead><tr>{''.join(heads)}</tr></thead>", "\n".join(lines)
    table = f'<table class="sortable">{head}<tbody>\n{body}\n</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def _cell(row: Mapping[str, Any], column: Column, best: float | None) -> str:
    """One number of a row; it stands out if it is the best."""
    number, spread = value(row, column.key), row["spread"].get(column.key)
    emphasis = ' class="best"' if number is not None and number == best else ""
    tooltip = f' title="± {spread:.3g} over photos"' if spread is not None else ""
    sort_key = "" if number is None else number
    return f'<td{emphasis}{tooltip} data-v="{sort_key}">{formatted(row, column)}</td>'


def _head(text: str, kind: str, column: Column | None = None) -> str:
    """The head of a column of "words" or "number", with a link to its definition."""
    tooltip = f' title="{escape(column.definition)}"' if column else ""
    order = ' data-first="down"' if column and column.better == "high" else ""
    link = (
        f'<a href="#{column.key}" aria-label="definition of {escape(text)}">?</a>' if column else ""
    )
    words = ' class="words"' if kind == "words" else ""
    button = f'<button type="button">{escape(text)}</button>'
    return f'<th{words}{tooltip}{order} data-kind="{kind}" scope="col">{button}{link}</th>'


def _best(rows: Sequence[Mapping[str, Any]], column: Column) -> float | None:
    """The best number among features as they come that are no control.

    None where there are not two numbers, or none is better than the other.
    """
    raw = [row for row in rows if row["variant"] == rows[0]["variant"] and not row["control"]]
    numbers = [number for row in raw if (number := value(row, column.key)) is not None]
    if len(numbers) < 2 or not column.better:
        return None
    return max(numbers) if column.better == "high" else min(numbers)


def _legend(rows: Sequence[Mapping[str, Any]], styles: Sequence[str]) -> str:
    line = '<polyline points="1,5 25,5"/>'
    swatches = [
        f'<svg viewBox="0 0 26 10" aria-hidden="true"><g class="curve {style}">{line}</g></svg>'
        for style in styles
    ]
    items = [
        f"<li>{swatch}{escape(subject_of(row))}</li>"
        for row, swatch in zip(rows, swatches, strict=True)
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def _outlier_maps(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    rows_with_outliers = [row for row in rows if max(map(max, row["outlier_map"])) > 0]
    yield "<h2>Where outliers sit</h2>"
    if not rows_with_outliers:
        yield (
            '<p class="note">No patch of any photo is an outlier in the features as they come.</p>'
        )
        return
    yield (
        '<p class="note">Share of photos in which each position is an outlier, dark to light, each '
        "map up to its own largest. Few bright places that stay are position artifacts; an even "
        "glow moves with the content. Encoders without outliers are left out.</p>"
    )
    figures = []
    for row in rows_with_outliers:
        most = max(map(max, row["outlier_map"]))
        uri = data_uri(heat([[share / most for share in line] for line in row["outlier_map"]]))
        name = escape(subject_of(row))
        caption = f"<figcaption>{name}: up to {100 * most:.0f} %</figcaption>"
        image = f'<img src="{uri}" alt="outlier positions of {name}">'
        figures.append(f"<figure>{image}{caption}</figure>")
    yield f'<div class="maps">{"".join(figures)}</div>'


def _pca(results: Mapping[str, Any]) -> Iterator[str]:
    if not results["pictures"]:
        return
    yield "<h2>Features as colours</h2>"
    yield (
        '<p class="note">The three directions of largest variance as red, green and blue, the same '
        "for all photos of one encoder; photos are squeezed into a square.</p>"
    )
    photos = "".join(
        f'<img src="{picture["photo"]}" alt="{escape(picture["name"])}">'
        for picture in results["pictures"]
    )
    groups = [f"<figure><div>{photos}</div><figcaption>the photos</figcaption></figure>"]
    for encoder in results["shown"]:
        name = escape(encoder["subject"])
        pictures = "".join(
            f'<img class="patches" src="{uri}" alt="features of {name}">' for uri in encoder["pca"]
        )
        groups.append(f"<figure><div>{pictures}</div><figcaption>{name}</figcaption></figure>")
    yield f'<div class="pca">{"".join(groups)}</div>'


def _definitions() -> Iterator[str]:
    better = {"high": " Higher is better.", "low": " Lower is better.", "": ""}
    yield "<h2>Definitions</h2><dl>"
    for column in COLUMNS:
        definition = escape(column.definition + better[column.better])
        yield f'<dt id="{column.key}">{escape(column.head)}</dt><dd>{definition}</dd>'
    yield "</dl>"
    yield (
        '<p class="note">Remedies: <em>rms</em> divides each patch by its root mean square; '
        "<em>outliers filled</em> gives a patch of outlying norm the mean of its neighbours; "
        "<em>global filter</em> replaces patches that resemble their surroundings hardly more "
        "than the rest; <em>denoise</em> subtracts the mean positional artifact, estimated on the "
        "half of the photos that the measured photo is not in. Hover over a number for its "
        "standard deviation over photos.</p>"
    )


def _photos(results: Mapping[str, Any]) -> Iterator[str]:
    names = escape(", ".join(results["photos"]["names"]))
    yield f"<details><summary>{results['photos']['count']} photos</summary>{names}</details>"
    failed = results["failed"]
    if failed:
        errors = "".join(f"<li>{escape(failure['error'])}</li>" for failure in failed)
        summary = f"<summary>{len(failed)} set aside</summary>"
        yield f"<details open>{summary}<ul>{errors}</ul></details>"
