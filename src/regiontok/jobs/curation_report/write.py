"""The job of `regiontok curate report`: what a curation has found, as one page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regiontok.jobs.curate import CurationJob
from regiontok.jobs.curation_report.page import Findings, page
from regiontok.jobs.curation_report.rejects import sampled_rejects
from regiontok.jobs.curation_report.samples import Images, sampled_clusters, sampled_lines
from regiontok.jobs.curation_report.tables import line_table, read_tars, region_table
from regiontok.system.files import replacing

LINES = 24  # lines of text that are shown


def write_report(job: CurationJob, path: Path, *, crops: int = 8) -> dict[str, Any]:
    """Write the page of a curation, as far as that has come.

    Args:
        job: the curation.
        path: the page.
        crops: sample crops of a cluster.

    Returns:
        How many regions and lines of text the figures are of, and of how many tars.

    Raises:
        CurationError: If a stage's file is damaged.
        ShardError: If a tar is missing.
    """
    status, pipeline = job.status(), job.pipeline
    tars = read_tars(job.curation.tars)
    images = Images(job.curation, tars)
    regions, lines = region_table(pipeline, tars), line_table(pipeline, tars)
    score = job.plan.ocr.score
    findings = Findings(
        status=status,
        plan=job.plan.model_dump(),
        tars=(len(tars), len(job.curation.tars)),
        score=score,
        regions=regions,
        lines=lines,
        clusters=sampled_clusters(images, regions, crops),
        texts=sampled_lines(images, lines, score, LINES) if lines else [],
        rejects=sampled_rejects(pipeline, images, tars, _reasons(status)),
    )
    with replacing(path) as temporary:
        temporary.write_text(page(findings), encoding="utf-8")
    return {"tars": len(tars), "regions": len(regions), "lines": len(lines) if lines else 0}


def _reasons(status: Mapping[str, Any]) -> dict[str, Mapping[str, int]]:
    """How many images each stage sets aside, by reason."""
    counts = {stage["name"]: stage.get("set_aside", {}) for stage in status["stages"]}
    if status["keep"]:
        duplicates = status["keep"]["set_aside"].get("duplicate", 0)
        counts["keep"] = {"duplicate": duplicates}  # the other reasons are the filter's
    return counts
