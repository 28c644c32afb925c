"""Tables of results on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from regiontok.jobs.check.machine import Finding
    from regiontok.jobs.check.weights import Verdict

MOST_IMAGE_TABLES = 12  # up to so many images have a table each; more are summed up in one
STATE_COLOURS = {
    "ok": "green",
    "absent": "yellow",
    "broken": "red",
    "holds": "green",
    "fails": "red",
    "not here": "yellow",
}


def _table(title: str, **settings: Any) -> Table:
    settings = {"title_style": "bold", "header_style": "dim", **settings}
    return Table(title=title, title_justify="left", box=None, **settings)


def tokenize_tables(reports: Sequence[dict[str, Any]]) -> Iterator[Table]:
    """Regions, tokens, share kept and milliseconds by stage: a table an image, or one for many."""
    from regiontok.jobs.tokenize.report import summarise

    if len(reports) > MOST_IMAGE_TABLES:
        yield _spec_table(f"{len(reports)} images: means; median ms", summarise(reports))
        return
    for report in reports:
        height, width = report["size"]
        grid = " × ".join(map(str, report["grid"]))
        title = f"{width} × {height} px, grid {grid}, {report['patches']} patches"
        yield _spec_table(f"{report['name']}: {title}", report["settings"])


def _spec_table(title: str, entries: Sequence[dict[str, Any]]) -> Table:
    """One row a region spec."""
    from regiontok.tokenizer.clock import STAGES

    table = _table(title, padding=(0, 1, 0, 0))
    table.add_column("regions from", overflow="fold", min_width=19, max_width=60)
    for head in ("regions", "tokens", "kept", *STAGES):
        table.add_column(head, justify="right", no_wrap=True)
    for entry in entries:
        table.add_row(
            entry["spec"],
            f"{entry['regions']:.0f}",
            f"{entry['tokens']:.0f}",
            f"{100 * entry['kept']:.0f} %",
            *(f"{entry['ms'][stage]:.1f}" for stage in STAGES),
        )
    table.columns[-1].header = f"{STAGES[-1]} ms"
    return table


def set_aside_tables(failed: Sequence[dict[str, str]]) -> Iterator[Table]:
    """Why images were set aside; no table if none was."""
    if failed:
        table = _table(f"set aside: {len(failed)}", title_style="bold red", show_header=False)
        for image in failed:
            name, error = image["image"], image["error"]
            table.add_row(error if name in error else f"{name}: {error}")
        yield table


def priors_table(priors: Sequence[Mapping[str, Any]]) -> Table:
    """What can be guessed of each kind of question about the generated world."""
    table = _table("percent right without looking")
    table.add_column("kind")
    for head in ("questions", "chance", "blind", "by"):
        table.add_column(head, justify="right", no_wrap=True)
    for prior in priors:
        shares = (f"{prior[name]:.1f}" for name in ("chance", "blind"))
        table.add_row(prior["kind"], str(prior["questions"]), *shares, prior["guesser"])
    return table


WIDE = 110  # columns of a terminal in which long specs have room


def frontier_table(rows: Sequence[dict[str, Any]]) -> Table:
    """One row a source and budget; a star marks a budget that not every image met exactly."""
    number = rows[0]["images"]
    table = _table(f"{number} {'image' if number == 1 else 'images'}: means; median ms")
    if any(_is_inexact(row) for row in rows):
        table.caption = "* not every image has exactly the budget's number of tokens"
    table.add_column("source")
    for head in ("budget", "tokens", "explained", "covering", "ms", "encode ms"):
        table.add_column(head, justify="right", no_wrap=True)
    previous = ""
    for row in rows:
        table.add_row(
            "" if row["source"] == previous else row["source"],
            str(row["budget"] or "free"),
            f"{row['tokens']:g}{' *' if _is_inexact(row) else ''}",
            "-" if row["explained"] is None else f"{row['explained']:.3f}",
            "-" if row["covering"] is None else f"{row['covering']:.3f}",
            f"{row['ms']:.1f}",
            f"{row['encode_ms']:.1f}",
        )
        previous = row["source"]
    return table


def _is_inexact(row: dict[str, Any]) -> bool:
    return row["budget"] is not None and not row["exact"]


def name_tables(groups: Mapping[str, Mapping[str, str]]) -> Iterator[Table]:
    """A table for each group of names, with one line of what each name is."""
    for title, lines in groups.items():
        table = _table(title, show_header=False, pad_edge=False)
        table.add_column(no_wrap=True, style="cyan")
        table.add_column(overflow="fold")
        for name, line in lines.items():
            table.add_row(name, line)
        yield table


def encoder_table(rows: Sequence[dict[str, Any]], cache: str, width: int = WIDE) -> Table:
    """The encoders that have a short name.

    Args:
        rows: what is known of each.
        cache: where their weights are looked for.
        width: columns of the terminal; what a name stands for is left out where it has no room.
    """
    table = _table(f"encoders by name (here: in {cache})", pad_edge=False)
    table.add_column("name", no_wrap=True, style="cyan")
    for head in ("grid", "width", "tokens"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("here", no_wrap=True)
    table.add_column("weights' licence", overflow="fold", max_width=22)
    if width >= WIDE:
        table.add_column("stands for", overflow="fold")
    else:
        table.caption = "regiontok show NAME says what a name stands for"
    for row in rows:
        grid, tokens = row["grid"], row["tokens"]
        patches = f"{grid[0] * grid[1]}+" if grid else "-"
        table.add_row(
            row["name"],
            "×".join(map(str, grid)) if grid else "photo's",
            str(row["width"]),
            str(tokens or patches),
            row["here"],
            row["licence"],
            *([row["spec"]] if width >= WIDE else []),
        )
    return table


def model_table(rows: Sequence[dict[str, Any]]) -> Table:
    """The models that come with the package."""
    table = _table(f"models (right: percent of {rows[0]['bench']})", pad_edge=False)
    table.add_column("name", no_wrap=True, style="cyan")
    for head in ("right", "parameters", "MB"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("what", overflow="fold")
    for row in rows:
        names = " = ".join(filter(None, (row["alias"], row["name"])))
        size = f"{row['bytes'] / 1e6:.1f}"
        table.add_row(names, f"{row['score']:.1f}", f"{row['parameters']:,}", size, row["what"])
    return table


def finding_tables(findings: Sequence[Finding]) -> Iterator[Table]:
    """What was looked at on this machine, a table a group."""
    for group in dict.fromkeys(finding.group for finding in findings):
        table = _table(group, show_header=False, pad_edge=False)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, style="cyan")
        table.add_column(overflow="fold")
        for finding in findings:
            if finding.group == group:
                text = " ".join(filter(None, [finding.value, finding.hint]))
                table.add_row(_coloured(finding.state), finding.name, text)
        yield table


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """One row for each slice of published outputs."""
    table = _table("published output slices")
    for head in ("model", "outputs", "verdict", "off by", "allowed", "why"):
        table.add_column(head, overflow="fold")
    for verdict in verdicts:
        published = verdict.slice
        relative = f" + {published.rtol:g} x" if published.rtol else ""
        table.add_row(
            published.model,
            ", ".join(published.expected),
            _coloured(verdict.state),
            "" if verdict.off is None else f"{verdict.off:.2g}",
            f"{published.atol:g}{relative}",
            verdict.why,
        )
    return table


def _coloured(state: str) -> Text:
    return Text(state, style=STATE_COLOURS[state])
