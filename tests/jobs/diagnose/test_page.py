"""The page of a diagnosis: whole, escaped, sealed off from the network."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from regiontok.data.collect import collect
from regiontok.jobs.diagnose.columns import COLUMNS, HEADLINES
from regiontok.jobs.diagnose.diagnosis import Diagnosis, Options
from regiontok.jobs.diagnose.page import page
from regiontok.jobs.diagnose.plots import Axis, Curve, even_ticks, line_plot
from regiontok.jobs.diagnose.subjects import subjects
from regiontok.miniworld.scenes import make_scene

VOID = {"meta", "img", "input", "br", "line", "polyline"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished diagnosis of two scenes."""
    root = tmp_path_factory.mktemp("page")
    for seed in range(2):
        scene = make_scene(seed, (96, 128))
        Image.fromarray(scene.pixels).save(root / f"{seed}.png")
        Image.fromarray(scene.labels.astype(np.uint8)).save(root / f"human{seed}.png")
        (root / "humans").mkdir(exist_ok=True)
        (root / f"human{seed}.png").rename(root / "humans" / f"{seed}.png")
    encoders = subjects(["filters(size=112, fourier=0)", "filters(size=112, fourier=16)"])
    items = collect([str(root / "0.png"), str(root / "1.png")])
    options = Options(
        root / "run", humans=root / "humans", date="2026-01-02", variants=("raw", "rms")
    )
    Diagnosis(encoders, items, options).run()
    return root / "run"


@pytest.fixture(scope="module")
def results(folder):
    return json.loads((folder / "results.json").read_text())


class Reader(HTMLParser):
    """Checks that elements close in order; collects ids, attributes and table rows."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.cells = [], [], [], []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [
            (name, values[name]) for name in ("src", "href", "data-v") if values.get(name)
        ]
        if tag == "tr":
            self.cells.append(0)
        if tag in ("td", "th"):
            self.cells[-1] += 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in VOID

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(text):
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def outside(text):
    """Everything that would make a browser ask the network for something."""
    links = re.findall(r"""(?:src|href|srcset|poster|action|data)\s*=\s*["']?([^"'\s>]*)""", text)
    links += re.findall(r"url\(([^)]*)\)", text) + re.findall(r"@import[^;]*", text)
    return [link for link in links if not link.startswith(("data:", "#"))]


def test_page_is_whole_and_asks_nothing_of_the_network(results):
    text = page(results)
    reader = parsed(text)
    assert outside(text) == []
    assert "http://" not in text.replace("http-equiv", "")
    assert "https://" not in text
    anchors = [value[1:] for name, value in reader.links if name == "href"]
    assert set(anchors) == {column.key for column in COLUMNS} <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids))
    assert reader.cells == [4 + len(HEADLINES)] * 5 + [4 + len(COLUMNS) - len(HEADLINES)] * 5
    assert text.count('<svg class="plot"') == 4
    assert text.count("data:image/png") >= 4
    assert "2026-01-02 · 2 photos" in text


def test_a_request_would_be_found():
    assert outside('<img src="https://a.b/c.png">') == ["https://a.b/c.png"]
    assert outside("<style>a { background: url(//a.b/c) }</style>") == ["//a.b/c"]


def test_names_are_escaped(results):
    evil = copy.deepcopy(results)
    for row in evil["rows"]:
        row["encoder"] = "<script>\"&'</script>"
    evil["photos"]["names"] = ["<b>.png"]
    evil["failed"] = [{"image": "x", "error": "<i>bad</i>"}]
    text = page(evil)
    parsed(text)
    assert "<script>&quot;" not in text
    assert "<b>.png" not in text
    assert "&lt;i&gt;bad" in text
    assert text.count("<script>") == 1


def test_page_without_humans_outliers_or_pictures(results):
    bare = copy.deepcopy(results) | {"pictures": [], "shown": []}
    for row in bare["rows"]:
        row.update(
            covering={},
            covering_at_budget=None,
            threshold=None,
            outlier_map=[[0.0]],
            norm_histogram=[],
        )
    text = page(bare)
    parsed(text)
    assert text.count('<svg class="plot"') == 3
    assert "No patch of any photo is an outlier" in text
    assert "Features as colours" not in text


def test_controls_are_never_the_best(results):
    changed = copy.deepcopy(results)
    _, second = (row for row in changed["rows"] if row["variant"] == "raw")
    second["control"], second["metrics"]["border_auc"] = True, 1.0
    assert 'class="best"' not in page(changed)  # one row is left, and nothing to choose from
    second["control"] = False
    assert '<td class="best"' in page(changed)
    assert 'data-v="1.0">1.000</td>' in page(changed)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_chromium_draws_it_and_no_request_leaves(results, tmp_path):
    (tmp_path / "page.html").write_text(page(results), encoding="utf-8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,2000"]
    more = [
        f"--screenshot={tmp_path / 'page.png'}",
        f"--log-net-log={tmp_path / 'net.json'}",
        f"--user-data-dir={tmp_path / 'user'}",
    ]
    quiet = [
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "--disable-sync",
    ]
    subprocess.run(
        [*command, *more, *quiet, (tmp_path / "page.html").as_uri()],
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert len(np.unique(np.asarray(Image.open(tmp_path / "page.png")).reshape(-1, 3), axis=0)) > 50
    log = json.loads((tmp_path / "net.json").read_text())
    started = [event["params"] for event in log["events"] if "url" in event.get("params", {})]
    page_own = [
        request["url"]
        for request in started
        if str(request.get("initiator", "")).startswith("file:") or "page.html" in request["url"]
    ]
    assert {url.split(":")[0] for url in page_own} <= {"file", "data"}


def test_plots():
    axis = Axis("x", ((1, "1"), (100, "100")), log=True)
    drawn = line_plot(
        "t", axis, Axis("y", ((0, "0"), (2, "2"))), [Curve("c", "s0", ((10, 1), (1000, 5)))]
    )
    # the middle of both axes; what lies beyond is drawn at the end
    assert 'points="299.0,149.0 546.0,12.0"' in drawn
    assert [value for value, _ in even_ticks(0, 16)] == [0, 5, 10, 15, 20]
    assert len(even_ticks(0.3, 0.3)) >= 2


def test_options_are_frozen(tmp_path):
    options = Options(tmp_path)
    assert replace(options, seed=3).seed == 3
    with pytest.raises(AttributeError):
        options.seed = 3
