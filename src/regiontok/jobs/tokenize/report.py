"""What `tokenize` reports of an image: sizes, counts after every step, milliseconds by stage."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.jobs.tokenize.tokenizer_set import SpecResult
from regiontok.methods import RegionStep
from regiontok.settings import registry
from regiontok.tokenizer.clock import STAGES

REPORT = "report.json"


def read_report(folder: Path) -> Any:
    """What an image's report holds; None if there is none that can be read."""
    try:
        return json.loads((folder / REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def is_report(content: Any) -> bool:
    """True if a file's content is a report that `tokenize` wrote, of this or an older release."""
    if not isinstance(content, dict) or not isinstance(content.get("settings"), list):
        return False
    types = {"spec": str, "made_by": dict, "extras": list}
    if "made_by" not in content:  # an older release did not say what made it
        types = {"spec": str}
    elif not all(isinstance(content.get(key), dict) for key in ("made_by", "files")):
        return False
    return "key" in content and all(
        isinstance(entry, dict) and all(isinstance(entry.get(k), t) for k, t in types.items())
        for entry in content["settings"]
    )


def only_specs(report: dict[str, Any], specs: Sequence[str]) -> dict[str, Any]:
    """The report with the entries of some region specs alone, in their order."""
    by_spec = {entry["spec"]: entry for entry in report["settings"]}
    return {**report, "settings": [by_spec[spec] for spec in specs]}


_SIZES = ("size", "grid", "views", "patches")


def image_sizes(results: Sequence[SpecResult], index: int) -> dict[str, Any]:
    """The sizes of one image, which are the same for all region specs of an encoder.

    Args:
        results: one result a region spec, over the same batch of pictures.
        index: place of the image in the batch.
    """
    run = results[0].run
    grids = [run.grids[view] for view in run.views(index)]
    views = {"views": [list(grid.grid) for grid in grids]} if len(grids) > 1 else {}
    return {
        "size": list(grids[0].frame.image),
        "grid": list(grids[0].grid),
        **views,
        "patches": sum(grid.patches for grid in grids),
    }


def sizes_of(report: dict[str, Any]) -> dict[str, Any]:
    """The sizes of an image that was done before."""
    return {key: report[key] for key in _SIZES if key in report}


def spec_entry(result: SpecResult, index: int, decode_seconds: float = 0.0) -> dict[str, Any]:
    """The counts of one region spec on one image, and its times.

    Args:
        result: the result of the spec on a batch.
        index: place of the image in the batch.
        decode_seconds: seconds that decoding this image took. Those of other stages are shared
            evenly among the images of the batch.
    """
    run, views = result.run, result.run.views(index)
    grids = [run.grids[view] for view in views]
    trails = [run.trails[view] for view in views]
    regions_by_step = list(zip(*trails, strict=True))
    patches, tokens = sum(grid.patches for grid in grids), len(run.tokens[index])
    seconds = {stage: run.seconds[stage] / len(run.pictures) for stage in STAGES}
    seconds["decode"] = decode_seconds
    return {
        "spec": result.spec,
        "steps": [
            _step_entry(step, regions_by_step[place], regions_by_step[max(place - 1, 0)], grids)
            for place, step in enumerate((None, *result.steps))
        ],
        "regions": sum(len(regions) for regions in regions_by_step[-1]),
        "tokens": tokens,
        "kept": round(tokens / patches, 4),
        "ms": {stage: round(1000 * value, 3) for stage, value in seconds.items()},
    }


def _step_entry(
    step: RegionStep | None,
    regions: Sequence[Regions],
    previous: Sequence[Regions],
    grids: Sequence[PatchGrid],
) -> dict[str, Any]:
    """Counts after one step, over all views of an image.

    "uncovered" are valid patches in no region, "vanished" masks without a region in any view, and
    "left_out" the regions, and the rows (patches of regions), that a step with a budget dropped.

    Args:
        step: the step; None for what stands before the first.
        regions: the regions of each view after the step.
        previous: the regions of each view before it.
        grids: the grid of each view.
    """
    uncovered = sum(
        int((grid.valid & (view.counts == 0)).sum())
        for view, grid in zip(regions, grids, strict=True)
    )
    entry: dict[str, Any] = {
        "step": registry.render(step) if step else "patches",
        "regions": sum(map(len, regions)),
        "uncovered": uncovered,
    }
    masks = grids[0].masks
    if step is not None and step.reads_masks and masks is not None:
        with_region = torch.cat([view.source for view in regions]).unique()
        entry |= {"masks": len(masks), "vanished": len(masks) - len(with_region)}
    if step is not None and step.leaves_out:
        entry["left_out"] = {
            "rows": _rows(previous) - _rows(regions),
            "regions": sum(map(len, previous)) - sum(map(len, regions)),
        }
    return entry


def _rows(regions: Sequence[Regions]) -> int:
    return sum(len(view.patch) for view in regions)


def summarise(reports: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry a region spec over all images: mean counts, and median milliseconds by stage."""
    summary = []
    for entries in zip(*(report["settings"] for report in reports), strict=True):
        ms = {stage: median(entry["ms"][stage] for entry in entries) for stage in STAGES}
        summary.append(
            {
                "spec": entries[0]["spec"],
                "images": len(entries),
                "patches": round(mean(report["patches"] for report in reports), 1),
                "regions": round(mean(entry["regions"] for entry in entries), 1),
                "tokens": round(mean(entry["tokens"] for entry in entries), 1),
                "kept": round(mean(entry["kept"] for entry in entries), 4),
                "ms": {stage: round(value, 2) for stage, value in ms.items()},
            }
        )
    return summary
