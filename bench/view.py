"""How fast the viewer's slider answers, in a real Chromium: 2,304 patches, five settings.

    python bench/view.py

The page in one file is opened, so that no server takes part. For each place of the slider, "answer"
is the time from the event to the end of the frame in which all panels are drawn: five cuts of five
trees, their statistics and covering, and five canvases. "work" is the part before the frame begins:
the cuts without the drawing. "cpu" is the mean processor time of the page's main thread for one
answer, which other processes on the machine do not change. Frames come every 16.7 ms, so that an
answer is never much faster than that. With "fixed", a region is fixed, and every region of every
panel is compared with it anew by cosine. Needs chromium, chromedriver and Selenium. The last line
is JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from skimage.data import chelsea

from regiontok.core.picture import Picture
from regiontok.draw.sheet import save_image
from regiontok.view.collection import Collection
from regiontok.view.library import Library
from regiontok.view.page import whole_page
from regiontok.view.panels import PanelMaker
from regiontok.view.settings import settings_of

SPECS = ("merge(0.5)", "merge(0.7)", "merge(0.9)", "merge(k=144)", "merge(k=400) | sort('area')")
GOAL = 50  # milliseconds
# Moves the slider to each place, and times the event alone and the event with its frame.
SCRIPT = """
const [places, done] = arguments;
const slider = document.getElementById("slider");
(async () => {
  const times = [];
  for (const place of places) {
    await new Promise((next) => requestAnimationFrame(() => setTimeout(next, 0)));
    const start = performance.now();
    slider.value = place;
    slider.dispatchEvent(new Event("input"));
    const worked = performance.now() - start;
    await new Promise((next) => requestAnimationFrame(next));
    times.push([worked, performance.now() - start]);
  }
  done(times);
})();
"""


def write_page(folder: Path, side: int) -> Path:
    """Write the page of a photo of `side` x `side` patches under all specs."""
    photo = folder / "cat.png"
    save_image(Picture.of(chelsea()).pil, photo)
    encoder = f"lite(size={16 * side})"
    maker = PanelMaker(settings_of([encoder], list(SPECS)))
    page = folder / "page.html"
    collection = Collection(Library([photo]), maker)
    page.write_text(whole_page(collection, title="bench"), encoding="utf-8")
    return page


def measure(page: Path, places: list[int]) -> dict[str, list[list[float]]]:
    """The times of each place of the slider, without and with a fixed region."""
    from selenium import webdriver
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1600,1000"):
        options.add_argument(flag)
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with webdriver.Chrome(options=options, service=service) as driver:
        driver.set_script_timeout(600)
        driver.get(page.as_uri())
        is_ready = "return document.documentElement.dataset.ready === 'true'"
        WebDriverWait(driver, 300).until(lambda _: driver.execute_script(is_ready))
        driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        driver.execute_async_script(SCRIPT, places[:5])  # compiles what the first would pay for
        times = {"plain": _timed(driver, places)}
        driver.find_elements("css selector", ".stage canvas")[0].click()
        has_cosines = "return document.querySelector('.readout').textContent.includes('cosine')"
        WebDriverWait(driver, 300).until(lambda _: driver.execute_script(has_cosines))
        return times | {"fixed": _timed(driver, places)}


def _timed(driver: Any, places: list[int]) -> list[list[float]]:
    """Milliseconds of work, of the answer, and of the main thread's processor, place by place."""
    before = _processor_seconds(driver)
    times = driver.execute_async_script(SCRIPT, places)
    cpu = 1000 * (_processor_seconds(driver) - before) / len(places)
    return [[*pair, cpu] for pair in times]


def _processor_seconds(driver: Any) -> float:
    metrics = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")


def main() -> None:
    """Measure, and print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=48, help="patches along a side")
    parser.add_argument("--places", type=int, default=60, help="places of the slider")
    options = parser.parse_args()
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        sys.exit("this needs chromium and chromedriver: apt-get install chromium chromium-driver")
    places = np.random.default_rng(0).integers(0, 1001, options.places).tolist()
    with tempfile.TemporaryDirectory() as name:
        page = write_page(Path(name), options.side)
        megabytes = page.stat().st_size / 1e6
        times = measure(page, places)
    print(f"{options.side**2} patches, {len(SPECS)} settings; the page has {megabytes:.1f} MB")
    report: dict[str, float] = {"patches": options.side**2, "settings": len(SPECS)}
    for name, pairs in times.items():
        for part, column in zip(("work", "answer", "cpu"), np.array(pairs).T, strict=True):
            median, high, worst = np.percentile(column, [50, 95, 100])
            print(
                f"{name:6} {part:7} median {median:6.1f} ms, 95 % {high:6.1f} ms, "
                f"worst {worst:6.1f} ms"
            )
            report |= {
                f"{name}_{part}_ms": round(median, 2),
                f"{name}_{part}_95_ms": round(high, 2),
                f"{name}_{part}_worst_ms": round(worst, 2),
            }
    print(f"goal: {GOAL} ms")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
