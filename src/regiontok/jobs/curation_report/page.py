"""The page of a curation: one file that needs no network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from regiontok.jobs.curation_report.charts import counted, doubling, histogram, shares
from regiontok.jobs.curation_report.rejects import Rejects
from regiontok.jobs.curation_report.samples import ClusterSample, Sample
from regiontok.jobs.curation_report.tables import LineTable, RegionTable
from regiontok.jobs.curation_report.template import STYLE
from regiontok.jobs.html_page import html_page


@dataclass(frozen=True, eq=False)
class Findings:
    """What the page shows.

    Attributes:
        status: how far each stage is, as `regiontok curate status` says it.
        plan: the settings of the curation.
        tars: how many tars were read, of all of them.
        score: lines of text above it are used.
        regions: the regions of the tars that were read.
        lines: their lines of text; None in a plan without text.
        clusters: sample crops, by groups of clusters.
        texts: sample lines.
        rejects: samples of what was left out.
    """

    status: Mapping[str, Any]
    plan: Mapping[str, Any]
    tars: tuple[int, int]
    score: float
    regions: RegionTable
    lines: LineTable | None
    clusters: Mapping[str, Sequence[ClusterSample]]
    texts: Sequence[Sample]
    rejects: Sequence[Rejects]


def page(findings: Findings) -> str:
    """The page."""
    body = [
        "<h1>What was curated</h1>",
        f'<p class="about">{escape(_about(findings))}</p>',
        _tiles(findings),
        "<h2>Regions</h2>",
        *_regions(findings),
        *_clusters(findings),
        *_texts(findings),
        "<h2>What was left out</h2>",
        *_left_out(findings.status["left_out"]),
        *_rejects(findings.rejects),
        "<h2>Stages</h2>",
        _stages(findings.status),
        f"<details><summary>settings</summary><pre>{escape(_settings(findings.plan))}</pre>"
        "</details>",
    ]
    return html_page("Curation", "\n".join(body), style=STYLE)


def _left_out(tars: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The tars without which the curation went on."""
    if tars:
        images = sum(tar["images"] for tar in tars)
        yield f"<p>Tars in which a piece failed: {len(tars)}, with {images:,} images.</p>"
        rows = [
            f"<li>{escape(tar['tar'])}, from {tar['stage']} on: {escape(tar['reason'])}</li>"
            for tar in tars
        ]
        yield f"<ul>{''.join(rows)}</ul>"


def _settings(plan: Mapping[str, Any]) -> str:
    return json.dumps(plan, indent=1)


def _about(findings: Findings) -> str:
    read, of_tars = findings.tars
    images = ", ".join(name.rsplit("/", 1)[-1] for name in findings.plan["images"])
    sample = "" if read == of_tars else f" Figures and samples are of {read} of {of_tars} tars."
    return f"{findings.status['images']:,} images of {images}.{sample}"


def _tiles(findings: Findings) -> str:
    """The numbers that one looks for first."""
    keep, centroids = findings.status["keep"], findings.status["centroids"]
    tiles = [(f"{findings.status['images']:,}", "images")]
    if keep:
        tiles.append((f"{keep['kept']:,}", f"stay ({keep['kept'] / max(keep['images'], 1):.0%})"))
    each = findings.regions.each_image
    if len(each):
        tiles.append((f"{len(findings.regions):,}", f"regions, {each.mean():.1f} an image"))
    if centroids:
        sizes = _cluster_sizes(findings)
        tiles.append(
            (f"{centroids['k']:,}", f"clusters, {int((sizes == 0).sum()):,} of them empty")
        )
    if findings.lines is not None and len(findings.lines.each_image):
        used = int((findings.lines.scores > findings.score).sum())
        tiles.append((f"{used:,}", f"lines of text above {findings.score:g}"))
    items = "".join(f"<li><b>{number}</b><span>{text}</span></li>" for number, text in tiles)
    return f'<ul class="tiles">{items}</ul>'


def _cluster_sizes(findings: Findings) -> np.ndarray:
    centroids, labels = findings.status["centroids"], findings.regions.labels
    return np.bincount(labels[labels >= 0], minlength=centroids["k"])


def _regions(findings: Findings) -> Iterator[str]:
    regions = findings.regions
    if not len(regions.each_image):
        yield '<p class="note">No regions are proposed yet.</p>'
        return
    edges = (regions.boxes[:, 2:] - regions.boxes[:, :2]).astype(float)
    without = int((regions.each_image == 0).sum())
    charts = [
        histogram(
            "Regions an image",
            counted(regions.each_image),
            f"{without:,} images that stay have none.",
        ),
        histogram(
            "Shorter edge of a region, pixels",
            doubling(edges.min(1, initial=1e9), 2),
            f"Median {np.median(edges.min(1)):.0f} pixels." if len(regions) else "",
        ),
    ]
    if findings.status["centroids"] and (regions.labels >= 0).any():
        sizes = _cluster_sizes(findings)
        labelled = regions.cosines[regions.labels >= 0]
        charts += [
            histogram(
                "Regions a cluster",
                doubling(sizes),
                f"Median {np.median(sizes):.0f}, largest {sizes.max():,}; bars are the clusters "
                "of so many regions up to the next number.",
            ),
            histogram(
                "Cosine with the nearest centre",
                shares(labelled),
                f"Median {np.median(labelled):.2f}.",
            ),
        ]
    yield f'<div class="histograms">{"".join(charts)}</div>'


def _clusters(findings: Findings) -> Iterator[str]:
    if not any(findings.clusters.values()):
        return
    yield "<h2>Clusters</h2>"
    yield (
        '<p class="note">Crops of some clusters, from the nearest to its centre to the farthest, '
        "evenly spread over the cluster.</p>"
    )
    for name, clusters in findings.clusters.items():
        figures = "".join(
            f"<figure><h3>{cluster.number} <small>{cluster.size:,} "
            f"{'region' if cluster.size == 1 else 'regions'}</small></h3>"
            f'<div class="crops">{"".join(_image(crop) for crop in cluster.crops)}</div></figure>'
            for cluster in clusters
        )
        yield f'<h3>{escape(name[0].upper() + name[1:])}</h3><div class="clusters">{figures}</div>'


def _texts(findings: Findings) -> Iterator[str]:
    lines = findings.lines
    if lines is None or not len(lines.each_image):
        return
    used = lines.scores > findings.score
    yield "<h2>Text</h2>"
    charts = histogram(
        "Lines an image", counted(lines.each_image), f"{len(lines):,} lines in all."
    ) + histogram(
        "Confidence of a line",
        shares(lines.scores, used_above=findings.score),
        f"{used.mean() if len(lines) else 0:.0%} are above {findings.score:g} and are used, "
        "unless a rule finds them misread.",
    )
    yield f'<div class="histograms">{charts}</div>'
    if findings.texts:
        figures = "".join(
            f"<figure{'' if line.is_used else ' class=unused'}>{_image(line)}"
            f"<p>{escape(line.text)}<small>{line.note}</small></p></figure>"
            for line in findings.texts
        )
        yield (
            '<p class="note">Lines from the surest on, with confidence; those in grey are not '
            f'used.</p><div class="lines">{figures}</div>'
        )


def _rejects(rejects: Sequence[Rejects]) -> Iterator[str]:
    if not rejects:
        yield '<p class="note">Nothing.</p>'
    for reason in rejects:
        figures = "".join(
            f"<figure>{_image(sample)}<figcaption>{escape(sample.text)}</figcaption></figure>"
            for sample in reason.samples
        )
        yield (
            f"<h3>{escape(reason.reason)} <small>{reason.count:,} "
            f"{'image' if reason.count == 1 else 'images'}, {escape(reason.stage)}</small></h3>"
            f'<div class="rejects">{figures}</div>'
        )


def _image(sample: Sample) -> str:
    if not sample.uri:
        return f'<b title="{escape(sample.note)}">no picture</b>'
    note = escape(sample.note)
    return f'<img src="{sample.uri}" alt="{note}" title="{note}" loading="lazy">'


def _stages(status: Mapping[str, Any]) -> str:
    """How far each stage is, and what it took."""
    heads = "".join(
        f"<th{' class=words' if place < 2 else ''}>{head}</th>"
        for place, head in enumerate(("stage", "", "images", "seconds", "ms an image"))
    )
    rows = []
    for stage in status["stages"]:
        seconds, images = stage.get("seconds"), stage.get("images")
        state = stage.get("words") or stage["state"]
        if "tars" in stage and stage["state"] == "begun":
            state = f"{stage['tars']:,} of {stage['of_tars']:,} tars"
        cells = [
            f"{images:,}" if images else "",
            f"{seconds:,.1f}" if seconds else "",
            f"{1000 * seconds / images:.1f}" if seconds and images else "",
        ]
        words = "".join(f'<td class="words">{text}</td>' for text in (stage["name"], state))
        rows.append(f"<tr>{words}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody>'
        "</table></div>"
        '<p class="note">Seconds of all processes together; ms an image count images that were '
        "left out before and cost nothing.</p>"
    )
