"""The page of a curation: its figures by hand, escaped, sealed off from the network."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from regiontok.jobs.curation_report.page import Findings, page
from regiontok.jobs.curation_report.rejects import Rejects
from regiontok.jobs.curation_report.samples import (
    ClusterSample,
    Sample,
    crop,
    sampled_clusters,
    small_jpeg,
)
from regiontok.jobs.curation_report.tables import LineTable, RegionTable

REGIONS = RegionTable(
    tar=np.zeros(5, int),
    image=np.array([0, 0, 0, 2, 2]),
    boxes=np.array([[0, 0, 10 * size, 40] for size in (1, 2, 3, 4, 5)], np.float32),
    labels=np.array([0, 0, 0, 2, -1]),
    cosines=np.array([0.9, 0.5, 0.7, 0.8, np.nan]),
    each_image=np.array([3, 0, 2]),
)
LINES = LineTable(
    tar=np.zeros(2, int),
    image=np.array([0, 1]),
    polygons=np.zeros((2, 4, 2)),
    scores=np.array([0.95, 0.2]),
    texts=["<b>OPEN</b>", "?"],
    each_image=np.array([1, 1, 0]),
)


class Greys:
    """Images of one grey; those of an odd number cannot be decoded."""

    def name(self, tar, image):
        return f"image{image}"

    def read(self, tar, image):
        return None if image % 2 else Image.new("RGB", (50, 40), (40 * image,) * 3)


@pytest.fixture
def findings():
    stages = [
        {"name": "filter", "state": "done", "tars": 1, "of_tars": 1, "images": 4, "seconds": 0.5},
        {"name": "keep", "state": "done"},
        {"name": "label", "state": "waits for cluster"},
    ]
    keep = {"kept": 3, "images": 4, "set_aside": {"duplicate": 1}}
    uri = small_jpeg(Image.new("RGB", (300, 20)))
    return Findings(
        status={
            "images": 4,
            "left_out": [
                {"tar": "b", "stage": "ocr", "reason": "b, images 0 to 9: <x>", "images": 9}
            ],
            "stages": stages,
            "keep": keep,
            "centroids": {"k": 3},
        },
        plan={"images": ["/a/b/laion & co"]},
        tars=(1, 1),
        score=0.7,
        regions=REGIONS,
        lines=LINES,
        clusters={"all": [ClusterSample(0, 3, [Sample(uri, note='a "name"')])]},
        texts=[Sample(uri, "<b>OPEN</b>", "0.95"), Sample(uri, "?", "0.20", is_used=False)],
        rejects=[Rejects("filter", "small", 1, [Sample("", "3 x 4 pixels", "name")])],
    )


def test_numbers_texts_and_reasons_are_on_the_page(findings):
    html = page(findings)
    tiles = dict(re.findall(r"<b>([\d,]+)</b><span>(.*?)</span>", html))
    assert tiles["3"] == "stay (75%)" or tiles["3"].startswith("clusters, 1 of them empty")
    assert "regions, 1.7 an image" in html
    assert "1 images that stay have none." in html
    assert "&lt;b&gt;OPEN&lt;/b&gt;<small>0.95</small>" in html
    assert html.count('class="unused"') + html.count("class=unused") == 1
    assert "3 x 4 pixels" in html
    assert "waits for cluster" in html
    assert "laion &amp; co" in html
    assert "<li>b, from ocr on: b, images 0 to 9: &lt;x&gt;</li>" in html
    assert "<td>125.0</td>" in html, "milliseconds an image"


def test_nothing_is_fetched_and_what_is_opened_is_closed(findings):
    html = page(findings)
    assert "default-src 'none'" in html
    assert not re.search(r"(src|href)=\"(?!data:|#)", html)
    for element in ("div", "figure", "h3", "table", "tr", "main", "p", "ul", "li"):
        assert html.count(f"<{element}>") + html.count(f"<{element} ") == html.count(
            f"</{element}>"
        ), element


def test_a_curation_that_has_only_begun_has_a_page(findings):
    none = np.zeros(0, int)
    empty = RegionTable(none, none, np.zeros((0, 4)), none, np.zeros(0), none)
    status = {**findings.status, "keep": None, "centroids": None}
    begun = replace(
        findings, status=status, regions=empty, lines=None, clusters={}, texts=[], rejects=[]
    )
    assert "No regions are proposed yet." in page(begun)


def test_crops_of_a_cluster_go_from_near_to_far():
    groups = sampled_clusters(Greys(), REGIONS, crops=2)
    (largest, other) = groups["all"]
    assert (largest.number, largest.size, other.number, other.size) == (0, 3, 2, 1)
    assert [sample.note for sample in largest.crops] == [
        "image0, cosine 0.900",
        "image0, cosine 0.500",
    ]


def test_a_crop_has_a_pixel_at_least():
    image = Image.new("RGB", (50, 40))
    assert crop(image, [-3, 5.5, 10.2, 60]).size == (11, 35)
    assert crop(image, [60, 60, 70, 70]).size == (1, 1)
