"""A diagnosis as one HTML page that asks nothing of the network: tables, curves, maps, and what
every number means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from regiontok.jobs.diagnose.columns import COLUMNS, HEADLINES, Column, shown, subject_of, value
from regiontok.jobs.diagnose.pictures import data_uri, heat
from regiontok.jobs.diagnose.plots import Axis, Curve, even_ticks, line_plot
from regiontok.jobs.diagnose.rows import OCTAVES
from regiontok.jobs.diagnose.template import PAGE

COLOURS = 8  # then they come again, dashed
RAREST = 1e-4  # share of patches at the foot of the norm plot


def page(results: Mapping[str, Any]) -> str:
    """The page of one `results.json`."""
    rows, photos = results["rows"], results["photos"]
    plain = [row for row in rows if row["variant"] == rows[0]["variant"]]
    styles = [_style(at, row) for at, row in enumerate(plain)]
    names = ", ".join(dict.fromkeys(row["encoder"] for row in rows))
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    aside = f", {len(results['failed'])} set aside" if results["failed"] else ""
    dated = f"{results['date']} · " if results["date"] else ""
    which = f": {photos['about']}" if photos["about"] else ""
    about = (
        f"{dated}{photos['count']} photos{which} (set {photos['hash'][:12]}){aside}, {photos['with_humans']} with human "
        f"segmentations; position read out of {photos['position_sample']} · {versions}"
    )
    body = [
        "<h1>How coherent are these features?</h1>",
        f"<p>{escape(names)}</p>",
        f'<p class="about">{escape(about)}</p>',
        "<h2>The numbers</h2>",
        '<p class="note">A row is an encoder at a layer with a remedy: <em>raw</em> is features as they come. Means over photos; the '
        "best of the raw rows stands out. Click a heading to sort; ? leads to its definition.</p>",
        '<label class="pick"><input type="checkbox" id="plain"> only features as they come</label>',
        _table(rows, HEADLINES),
        "<h2>Curves</h2>",
        _legend(plain, styles),
        f'<div class="plots">{"".join(_plots(plain, styles))}</div>',
        *_maps(plain),
        *_pca(results),
        "<h2>Everything else</h2>",
        _table(rows, [column for column in COLUMNS if not column.headline]),
        *_definitions(),
        *_photos(results),
    ]
    series = "\n".join(
        f".s{at} polyline {{ stroke: var(--s{at}); }} .s{at} circle {{ fill: var(--s{at}); }}"
        for at in range(COLOURS)
    )
    examples = str(max(1, len(results["pictures"])))
    return PAGE.substitute(
        title=escape(f"Diagnosis: {names}"), body="\n".join(body), series=series, examples=examples
    )


def _style(at: int, row: Mapping[str, Any]) -> str:
    return f"s{at % COLOURS}" + (" control" if row["control"] else " dash" if at >= COLOURS else "")


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> str:
    best = {column.key: _best(rows, column) for column in columns}
    heads = [
        _head("encoder", "words"),
        _head("remedy", "words"),
        _head("grid", "number"),
        _head("width", "number"),
    ]
    heads += [_head(column.head, "number", column) for column in columns]
    lines, before = [], ""
    for row in rows:
        name = subject_of(row)
        plain = row["variant"] == rows[0]["variant"]
        kinds = " ".join(["remedy" * (not plain), "again" if name == before else "start"]).strip()
        grid = " × ".join(map(str, row["grid"]))
        cells = [
            f'<td class="words"><span>{escape(name)}</span></td><td class="words">{escape(row["variant"])}</td>',
            f'<td data-v="{row["grid"][0] * row["grid"][1]}">{grid}</td><td data-v="{row["width"]}">{row["width"]}</td>',
        ]
        for column in columns:
            number = value(row, column.key)
            top = (
                ' class="best"'
                if plain and number is not None and number == best[column.key]
                else ""
            )
            spread = row["spread"].get(column.key)
            told = f' title="± {spread:.3g} over photos"' if spread is not None else ""
            cells.append(
                f'<td{top}{told} data-v="{"" if number is None else number}">{shown(row, column)}</td>'
            )
        lines.append(f'<tr class="{kinds}">{"".join(cells)}</tr>')
        before = name
    head, body = "".join(heads), "\n".join(lines)
    return f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _head(text: str, kind: str, column: Column | None = None) -> str:
    told = f' title="{escape(column.what)}"' if column else ""
    first = ' data-first="down"' if column and column.better == "high" else ""
    more = (
        f'<a href="#{column.key}" aria-label="definition of {escape(text)}">?</a>' if column else ""
    )
    words = ' class="words"' if kind == "words" else ""
    return f'<th{words}{told}{first} data-kind="{kind}" scope="col"><button type="button">{escape(text)}</button>{more}</th>'


def _best(rows: Sequence[Mapping[str, Any]], column: Column) -> float | None:
    """The best number among features as they come that are no control; none where there is nothing
    to choose from."""
    plain = [row for row in rows if row["variant"] == rows[0]["variant"] and not row["control"]]
    numbers = [number for row in plain if (number := value(row, column.key)) is not None]
    if len(numbers) < 2 or not column.better:
        return None
    return max(numbers) if column.better == "high" else min(numbers)


def _legend(rows: Sequence[Mapping[str, Any]], styles: Sequence[str]) -> str:
    swatch = '<svg viewBox="0 0 26 10" aria-hidden="true"><g class="curve {}"><polyline points="1,5 25,5"/></g></svg>'
    items = [
        f"<li>{swatch.format(style)}{escape(subject_of(row))}</li>"
        for row, style in zip(rows, styles, strict=True)
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def _plots(rows: Sequence[Mapping[str, Any]], styles: Sequence[str]) -> Iterator[str]:
    decay = _curves(rows, styles, lambda row: [(int(r), c) for r, c in row["decay"].items()])
    reach = Axis(
        "distance in patches (the larger of rows and columns)",
        even_ticks(0, max((x for one in decay for x, _ in one.points), default=1)),
    )
    cosine = Axis("", _range(decay, 0.0))
    yield _figure(
        "Similarity with distance",
        "Mean cosine of all pairs of patches at a distance.",
        line_plot("cosine with distance", reach, cosine, decay),
    )
    left = _curves(
        rows,
        styles,
        lambda row: [(float(at), 100 * n / _patches(row)) for at, n in row["regions"].items()],
    )
    at = Axis("threshold of merging", tuple((x / 10, f"0.{x}") for x in range(5, 10)))
    share = Axis("", tuple((x, f"{x} %") for x in (0, 25, 50, 75, 100)))
    yield _figure(
        "Tokens that merging leaves",
        "Share of the patches that are left as regions at each threshold.",
        line_plot("tokens left", at, share, left),
    )
    if any(row["covering"] for row in rows):
        covered = _curves(
            rows,
            styles,
            lambda row: [
                (n, row["covering"][at]) for at, n in row["regions"].items() if row["covering"]
            ],
        )
        counts = Axis(
            "regions a photo", tuple((x, str(x)) for x in (1, 3, 10, 30, 100, 300, 1000)), log=True
        )
        text = "Covering of what people drew, at each threshold’s number of regions."
        yield _figure(
            "Covering", text, line_plot("covering", counts, Axis("", _range(covered, 0.0)), covered)
        )
    middle = (OCTAVES[1:] + OCTAVES[:-1]) / 2
    norms = _curves(
        rows,
        styles,
        lambda row: [
            (x, max(y, RAREST))
            for x, y in zip(middle.tolist(), row["norm_histogram"], strict=False)
        ],
    )
    octaves = Axis(
        "norm / median of its photo",
        tuple(
            (x, label)
            for x, label in zip(range(-2, 5), ("¼", "½", "1", "2", "4", "8", "16"), strict=True)
        ),
    )
    shares = Axis(
        "",
        ((1e-4, "0.01 %"), (1e-3, "0.1 %"), (1e-2, "1 %"), (1e-1, "10 %"), (1, "100 %")),
        log=True,
    )
    yield _figure(
        "Norms",
        "Share of patches by norm, an eighth of an octave a step; a tail to the right are outliers.",
        line_plot("norms", octaves, shares, norms),
    )


def _patches(row: Mapping[str, Any]) -> int:
    return row["grid"][0] * row["grid"][1]


def _curves(rows: Sequence[Mapping[str, Any]], styles: Sequence[str], points: Any) -> list[Curve]:
    found = [
        Curve(subject_of(row), style, tuple(p for p in points(row) if p[1] is not None))
        for row, style in zip(rows, styles, strict=True)
    ]
    return [curve for curve in found if curve.points]


def _range(curves: Sequence[Curve], low: float) -> tuple[tuple[float, str], ...]:
    heights = [y for curve in curves for _, y in curve.points]
    return even_ticks(
        min([low, *heights]), max([low + 0.1, *heights]), lambda tick: f"{tick:g}".replace("-", "−")
    )


def _figure(title: str, text: str, drawing: str) -> str:
    return (
        f"<figure><h3>{escape(title)}</h3><figcaption>{escape(text)}</figcaption>{drawing}</figure>"
    )


def _maps(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    lit = [row for row in rows if max(map(max, row["outlier_map"])) > 0]
    yield "<h2>Where outliers sit</h2>"
    if not lit:
        yield '<p class="note">No patch of any photo is an outlier in the features as they come.</p>'
        return
    yield (
        '<p class="note">Share of photos in which each position is an outlier, dark to light, each map up to its own largest. Few bright '
        "places that stay are position artifacts; an even glow moves with the content. Encoders without outliers are left out.</p>"
    )
    shown_maps = []
    for row in lit:
        most = max(map(max, row["outlier_map"]))
        uri = data_uri(heat([[share / most for share in line] for line in row["outlier_map"]]))
        name = escape(subject_of(row))
        shown_maps.append(
            f'<figure><img src="{uri}" alt="outlier positions of {name}"><figcaption>{name}: up to {100 * most:.0f} %</figcaption></figure>'
        )
    yield f'<div class="maps">{"".join(shown_maps)}</div>'


def _pca(results: Mapping[str, Any]) -> Iterator[str]:
    if not results["pictures"]:
        return
    yield "<h2>Features as colours</h2>"
    yield (
        '<p class="note">The three directions of largest variance as red, green and blue, the same for all photos of one encoder; '
        "photos are squeezed into a square.</p>"
    )
    photos = "".join(
        f'<img src="{one["photo"]}" alt="{escape(one["name"])}">' for one in results["pictures"]
    )
    groups = [f"<figure><div>{photos}</div><figcaption>the photos</figcaption></figure>"]
    for one in results["shown"]:
        name = escape(one["subject"])
        pictures = "".join(
            f'<img class="patches" src="{uri}" alt="features of {name}">' for uri in one["pca"]
        )
        groups.append(f"<figure><div>{pictures}</div><figcaption>{name}</figcaption></figure>")
    yield f'<div class="pca">{"".join(groups)}</div>'


def _definitions() -> Iterator[str]:
    better = {"high": " Higher is better.", "low": " Lower is better.", "": ""}
    yield "<h2>Definitions</h2><dl>"
    for column in COLUMNS:
        yield f'<dt id="{column.key}">{escape(column.head)}</dt><dd>{escape(column.what + better[column.better])}</dd>'
    yield "</dl>"
    yield (
        '<p class="note">Remedies: <em>rms</em> divides each patch by its root mean square; <em>outliers filled</em> gives a patch of '
        "outlying norm the mean of its neighbours; <em>global filter</em> replaces patches that resemble their surroundings hardly more "
        "than the rest; <em>denoise</em> subtracts the mean positional artifact, estimated on the half of the photos that the measured "
        "photo is not in. Hover over a number for its standard deviation over photos.</p>"
    )


def _photos(results: Mapping[str, Any]) -> Iterator[str]:
    names = escape(", ".join(results["photos"]["names"]))
    yield f"<details><summary>{results['photos']['count']} photos</summary>{names}</details>"
    if results["failed"]:
        errors = "".join(f"<li>{escape(one['error'])}</li>" for one in results["failed"])
        yield f"<details open><summary>{len(results['failed'])} set aside</summary><ul>{errors}</ul></details>"
