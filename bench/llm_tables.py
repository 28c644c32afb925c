"""The table, the plot and the verdict of bench/llm.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from regiontok.draw.plot import Line, Panel, draw_panels

PATCHES = 576
GOALS = {"prefill": 2.5, "kv": 4.6, "regions": 0.05}  # at 124 tokens on an H200; see `verdict`


def table(rows: dict[int, dict[str, Any]], batches: list[int]) -> str:
    """The table in Markdown; in brackets how many times less than with the most tokens."""
    most = max(rows)
    heads = ["visual tokens"]
    for batch in batches:
        heads += [
            f"{figure}, batch {batch}" for figure in ("prefill", "decode", "first token", "peak MB")
        ]
    heads += [
        "KV of an image, MB",
        *(
            stage
            for stage in ("stage 1", "stage 2")
            if f"{stage.replace(' ', '')}_ms" in rows[most]
        ),
    ]
    lines = ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    for count, row in rows.items():

        def cell(get: Callable[[dict[str, Any]], float], row: dict[str, Any] = row) -> str:
            return f"{get(row):.4g} ({get(rows[most]) / get(row):.2f}x)"

        cells = [str(count)]
        for batch in batches:
            key = f"batch_{batch}"
            cells += [
                cell(lambda r, n=n, o=key: r[o][n]) for n in ("prefill_ms", "decode_ms", "first_ms")
            ]
            cells.append(
                "-" if row[key]["peak_bytes"] is None else f"{row[key]['peak_bytes'] / 2**20:.0f}"
            )
        cells.append(cell(lambda r: r[f"batch_{batches[0]}"]["kv_bytes_image"] / 2**20))
        cells += [cell(lambda r, n=n: r[n]) for n in ("stage1_ms", "stage2_ms") if n in row]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(rows: dict[int, dict[str, Any]], batches: list[int], title: str) -> Image.Image:
    """The plot: each figure as a share of itself at the most tokens."""
    most = max(rows)

    def line(name: str, get: Callable[[dict[str, Any]], float]) -> Line:
        return Line(
            name,
            tuple(map(float, rows)),
            tuple(get(row) / get(rows[most]) for row in rows.values()),
        )

    def of(batch: int, key: str) -> Callable[[dict[str, Any]], float]:
        return lambda row: row[f"batch_{batch}"][key]

    time_lines = [line(f"prefill, batch {batch}", of(batch, "prefill_ms")) for batch in batches]
    time_lines += [
        line(f"image to first token, batch {batch}", of(batch, "first_ms")) for batch in batches[:1]
    ]
    time_lines += [line(f"decode, batch {batch}", of(batch, "decode_ms")) for batch in batches[-1:]]
    panels = [
        Panel(
            "Answering", "visual tokens", f"time, share of that at {most}", tuple(time_lines), low=0
        )
    ]
    if "stage1_ms" in rows[most]:
        steps = [line(f"stage {n}", lambda row, n=n: row[f"stage{n}_ms"]) for n in (1, 2)]
        panels.append(
            Panel(
                "A training step",
                "visual tokens",
                f"time, share of that at {most}",
                tuple(steps),
                low=0,
            )
        )
    memory = [line("KV cache of the image", of(batches[0], "kv_bytes_image"))]
    if rows[most][f"batch_{batches[-1]}"]["peak_bytes"]:
        memory.append(line(f"peak, batch {batches[-1]}", of(batches[-1], "peak_bytes")))
    panels.append(
        Panel("Memory", "visual tokens", f"bytes, share of those at {most}", tuple(memory), low=0)
    )
    return draw_panels(panels, title="What fewer visual tokens save", subtitle=title)


def verdict(rows: dict[int, dict[str, Any]], batch: int) -> list[str]:
    """The goals beside the figures; empty where 576, 124 or the batch were not measured."""
    most, few = (rows.get(count, {}).get(f"batch_{batch}") for count in (PATCHES, 124))
    if most is None or few is None:
        return []
    prefill = most["prefill_ms"] / few["prefill_ms"]
    memory = most["kv_bytes_image"] / few["kv_bytes_image"]
    return [
        f"prefill at 124 of 576 tokens, batch {batch}: {prefill:.2f}x faster "
        f"(goal: at least {GOALS['prefill']}x)",
        f"KV memory of the image: {memory:.2f}x smaller (goal: {GOALS['kv']}x)",
        f"regions add {few['adds']:.1%} to the encoder (goal: at most {GOALS['regions']:.0%})",
    ]


def save(path: Path, image: Image.Image) -> None:
    """Write the plot; WebP without loss is a third of PNG here."""
    image.save(path, **({"lossless": True} if path.suffix == ".webp" else {}))
